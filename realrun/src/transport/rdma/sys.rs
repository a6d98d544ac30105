//! Structures and constants of libibverbs, as its public header `infiniband/verbs.h` has them.
//!
//! They are written here rather than generated, so that a build needs neither that header nor a C
//! compiler. The library has kept this interface (`IBVERBS_1.1`) since 2006; a test compares every
//! size and offset with the header where there is one, as the rig has.

use std::ffi::{c_int, c_uint, c_void};

/// `union ibv_gid`.
pub(super) type Gid = [u8; 16];

/// `struct ibv_device`: only its address is used.
#[repr(C)]
pub(super) struct Device {
    _private: [u8; 0],
}

/// `struct ibv_context`, up to the last of its fields that is used.
#[repr(C)]
pub(super) struct Context {
    pub(super) device: *mut Device,
    pub(super) ops: ContextOps,
}

/// `struct ibv_context_ops`: what the device's driver does. Slots that old programs use, and those
/// of verbs that are not used here, are addresses without a type.
#[repr(C)]
pub(super) struct ContextOps {
    _before_poll_cq: [*mut c_void; 11],
    pub(super) poll_cq: Option<unsafe extern "C" fn(*mut Cq, c_int, *mut Wc) -> c_int>,
    pub(super) req_notify_cq: Option<unsafe extern "C" fn(*mut Cq, c_int) -> c_int>,
    _before_post_send: [*mut c_void; 12],
    pub(super) post_send:
        Option<unsafe extern "C" fn(*mut Qp, *mut SendWr, *mut *mut SendWr) -> c_int>,
    pub(super) post_recv:
        Option<unsafe extern "C" fn(*mut Qp, *mut RecvWr, *mut *mut RecvWr) -> c_int>,
    _after_post_recv: [*mut c_void; 5],
}

/// `struct ibv_pd`: only its address is used.
#[repr(C)]
pub(super) struct Pd {
    _private: [u8; 0],
}

/// `struct ibv_mr`.
#[repr(C)]
pub(super) struct Mr {
    pub(super) context: *mut Context,
    pub(super) pd: *mut Pd,
    pub(super) addr: *mut c_void,
    pub(super) length: usize,
    pub(super) handle: u32,
    pub(super) lkey: u32,
    pub(super) rkey: u32,
}

/// `struct ibv_comp_channel`.
#[repr(C)]
pub(super) struct CompChannel {
    pub(super) context: *mut Context,
    pub(super) fd: c_int,
    pub(super) refcnt: c_int,
}

/// `struct ibv_cq`, up to the last of its fields that is used.
#[repr(C)]
pub(super) struct Cq {
    pub(super) context: *mut Context,
}

/// `struct ibv_qp`, up to the last of its fields that is used.
#[repr(C)]
pub(super) struct Qp {
    pub(super) context: *mut Context,
    pub(super) qp_context: *mut c_void,
    pub(super) pd: *mut Pd,
    pub(super) send_cq: *mut Cq,
    pub(super) recv_cq: *mut Cq,
    pub(super) srq: *mut c_void,
    pub(super) handle: u32,
    pub(super) qp_num: u32,
}

/// `struct ibv_port_attr`.
#[repr(C)]
#[derive(Default)]
pub(super) struct PortAttr {
    pub(super) state: c_uint,
    pub(super) max_mtu: c_uint,
    pub(super) active_mtu: c_uint,
    pub(super) gid_tbl_len: c_int,
    pub(super) port_cap_flags: u32,
    pub(super) max_msg_sz: u32,
    pub(super) bad_pkey_cntr: u32,
    pub(super) qkey_viol_cntr: u32,
    pub(super) pkey_tbl_len: u16,
    pub(super) lid: u16,
    pub(super) sm_lid: u16,
    pub(super) lmc: u8,
    pub(super) max_vl_num: u8,
    pub(super) sm_sl: u8,
    pub(super) subnet_timeout: u8,
    pub(super) init_type_reply: u8,
    pub(super) active_width: u8,
    pub(super) active_speed: u8,
    pub(super) phys_state: u8,
    pub(super) link_layer: u8,
    pub(super) flags: u8,
    pub(super) port_cap_flags2: u16,
}

/// `struct ibv_qp_cap`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct QpCap {
    pub(super) max_send_wr: u32,
    pub(super) max_recv_wr: u32,
    pub(super) max_send_sge: u32,
    pub(super) max_recv_sge: u32,
    pub(super) max_inline_data: u32,
}

/// `struct ibv_qp_init_attr`.
#[repr(C)]
pub(super) struct QpInitAttr {
    pub(super) qp_context: *mut c_void,
    pub(super) send_cq: *mut Cq,
    pub(super) recv_cq: *mut Cq,
    pub(super) srq: *mut c_void,
    pub(super) cap: QpCap,
    pub(super) qp_type: c_uint,
    pub(super) sq_sig_all: c_int,
}

/// `struct ibv_global_route`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct GlobalRoute {
    /// Aligned as the union of it and two integers is.
    pub(super) dgid: [u64; 2],
    pub(super) flow_label: u32,
    pub(super) sgid_index: u8,
    pub(super) hop_limit: u8,
    pub(super) traffic_class: u8,
}

/// `struct ibv_ah_attr`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct AhAttr {
    pub(super) grh: GlobalRoute,
    pub(super) dlid: u16,
    pub(super) sl: u8,
    pub(super) src_path_bits: u8,
    pub(super) static_rate: u8,
    pub(super) is_global: u8,
    pub(super) port_num: u8,
}

/// `struct ibv_qp_attr`.
#[repr(C)]
#[derive(Default)]
pub(super) struct QpAttr {
    pub(super) qp_state: c_uint,
    pub(super) cur_qp_state: c_uint,
    pub(super) path_mtu: c_uint,
    pub(super) path_mig_state: c_uint,
    pub(super) qkey: u32,
    pub(super) rq_psn: u32,
    pub(super) sq_psn: u32,
    pub(super) dest_qp_num: u32,
    pub(super) qp_access_flags: c_uint,
    pub(super) cap: QpCap,
    pub(super) ah_attr: AhAttr,
    pub(super) alt_ah_attr: AhAttr,
    pub(super) pkey_index: u16,
    pub(super) alt_pkey_index: u16,
    pub(super) en_sqd_async_notify: u8,
    pub(super) sq_draining: u8,
    pub(super) max_rd_atomic: u8,
    pub(super) max_dest_rd_atomic: u8,
    pub(super) min_rnr_timer: u8,
    pub(super) port_num: u8,
    pub(super) timeout: u8,
    pub(super) retry_cnt: u8,
    pub(super) rnr_retry: u8,
    pub(super) alt_port_num: u8,
    pub(super) alt_timeout: u8,
    pub(super) rate_limit: u32,
}

/// `struct ibv_sge`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Sge {
    pub(super) addr: u64,
    pub(super) length: u32,
    pub(super) lkey: u32,
}

/// `struct ibv_send_wr`; of its unions only what RC queue pairs use.
#[repr(C)]
pub(super) struct SendWr {
    pub(super) wr_id: u64,
    pub(super) next: *mut SendWr,
    pub(super) sg_list: *mut Sge,
    pub(super) num_sge: c_int,
    pub(super) opcode: c_uint,
    pub(super) send_flags: c_uint,
    /// In network byte order.
    pub(super) imm_data: u32,
    pub(super) remote_addr: u64,
    pub(super) rkey: u32,
    _rest: [u64; 9],
}

impl SendWr {
    /// A work request of which the fields of other queue pairs' types are zero.
    pub(super) fn new(wr_id: u64, opcode: c_uint, send_flags: c_uint) -> SendWr {
        SendWr {
            wr_id,
            next: std::ptr::null_mut(),
            sg_list: std::ptr::null_mut(),
            num_sge: 0,
            opcode,
            send_flags,
            imm_data: 0,
            remote_addr: 0,
            rkey: 0,
            _rest: [0; 9],
        }
    }
}

/// `struct ibv_recv_wr`.
#[repr(C)]
pub(super) struct RecvWr {
    pub(super) wr_id: u64,
    pub(super) next: *mut RecvWr,
    pub(super) sg_list: *mut Sge,
    pub(super) num_sge: c_int,
}

/// `struct ibv_wc`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Wc {
    pub(super) wr_id: u64,
    pub(super) status: c_uint,
    pub(super) opcode: c_uint,
    pub(super) vendor_err: u32,
    pub(super) byte_len: u32,
    /// In network byte order.
    pub(super) imm_data: u32,
    pub(super) qp_num: u32,
    pub(super) src_qp: u32,
    pub(super) wc_flags: c_uint,
    pub(super) pkey_index: u16,
    pub(super) slid: u16,
    pub(super) sl: u8,
    pub(super) dlid_path_bits: u8,
}

/// `enum ibv_port_state`.
pub(super) const PORT_ACTIVE: c_uint = 4;
/// `enum ibv_qp_type`.
pub(super) const QPT_RC: c_uint = 2;

/// `enum ibv_qp_state`.
pub(super) const QPS_INIT: c_uint = 1;
pub(super) const QPS_RTR: c_uint = 2;
pub(super) const QPS_RTS: c_uint = 3;

/// `enum ibv_qp_attr_mask`.
pub(super) const QP_STATE: c_int = 1 << 0;
pub(super) const QP_ACCESS_FLAGS: c_int = 1 << 3;
pub(super) const QP_PKEY_INDEX: c_int = 1 << 4;
pub(super) const QP_PORT: c_int = 1 << 5;
pub(super) const QP_AV: c_int = 1 << 7;
pub(super) const QP_PATH_MTU: c_int = 1 << 8;
pub(super) const QP_TIMEOUT: c_int = 1 << 9;
pub(super) const QP_RETRY_CNT: c_int = 1 << 10;
pub(super) const QP_RNR_RETRY: c_int = 1 << 11;
pub(super) const QP_RQ_PSN: c_int = 1 << 12;
pub(super) const QP_MAX_QP_RD_ATOMIC: c_int = 1 << 13;
pub(super) const QP_MIN_RNR_TIMER: c_int = 1 << 15;
pub(super) const QP_SQ_PSN: c_int = 1 << 16;
pub(super) const QP_MAX_DEST_RD_ATOMIC: c_int = 1 << 17;
pub(super) const QP_DEST_QPN: c_int = 1 << 20;

/// `enum ibv_access_flags`.
pub(super) const ACCESS_LOCAL_WRITE: c_int = 1;
pub(super) const ACCESS_REMOTE_WRITE: c_int = 1 << 1;
pub(super) const ACCESS_REMOTE_READ: c_int = 1 << 2;

/// `enum ibv_wr_opcode`.
pub(super) const WR_RDMA_WRITE: c_uint = 0;
pub(super) const WR_RDMA_WRITE_WITH_IMM: c_uint = 1;
pub(super) const WR_SEND_WITH_IMM: c_uint = 3;
pub(super) const WR_RDMA_READ: c_uint = 4;

/// `enum ibv_send_flags`.
pub(super) const SEND_SIGNALED: c_uint = 1 << 1;
pub(super) const SEND_SOLICITED: c_uint = 1 << 2;
pub(super) const SEND_INLINE: c_uint = 1 << 3;

/// `enum ibv_wc_status`.
pub(super) const WC_SUCCESS: c_uint = 0;
pub(super) const WC_LOC_LEN_ERR: c_uint = 1;
pub(super) const WC_LOC_PROT_ERR: c_uint = 4;
pub(super) const WC_WR_FLUSH_ERR: c_uint = 5;
pub(super) const WC_REM_INV_REQ_ERR: c_uint = 9;
pub(super) const WC_REM_ACCESS_ERR: c_uint = 10;
pub(super) const WC_RETRY_EXC_ERR: c_uint = 12;
pub(super) const WC_RNR_RETRY_EXC_ERR: c_uint = 13;

/// `enum ibv_wc_opcode`: set in the opcode of every completed receive.
pub(super) const WC_RECV: c_uint = 1 << 7;
/// A receive that a write with immediate data took.
pub(super) const WC_RECV_RDMA_WITH_IMM: c_uint = WC_RECV + 1;

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::io::Write as _;
    use std::mem::offset_of;
    use std::process::{Command, Stdio};

    use super::*;

    /// Lines of C that compile if fields are where they are here.
    macro_rules! fields {
        ($text:ident, $ours:ident, $theirs:literal, $($field:ident = $path:literal),*) => {
            $(writeln!(
                $text,
                "_Static_assert(offsetof({0}, {1}) == {2}, \"{0}.{1}\");",
                $theirs, $path, offset_of!($ours, $field)
            ).unwrap();)*
        };
    }

    /// Lines of C that compile if a structure is as large as it is here.
    macro_rules! sizes {
        ($text:ident, $($ours:ident = $theirs:literal),*) => {
            $(writeln!(
                $text,
                "_Static_assert(sizeof({0}) == {1}, \"{0}\");",
                $theirs, size_of::<$ours>()
            ).unwrap();)*
        };
    }

    /// Lines of C that compile if constants are what they are here.
    macro_rules! constants {
        ($text:ident, $($name:ident),*) => {
            $(writeln!(
                $text,
                "_Static_assert(IBV_{0} == {1}, \"{0}\");",
                stringify!($name), $name
            ).unwrap();)*
        };
    }

    #[test]
    #[ignore = "needs libibverbs' header and a C compiler: tests/rdma/run"]
    fn structures_and_constants_are_those_of_the_header() {
        let mut text = "#include <stddef.h>\n#include <infiniband/verbs.h>\n".to_owned();
        sizes!(
            text,
            ContextOps = "struct ibv_context_ops",
            Mr = "struct ibv_mr",
            CompChannel = "struct ibv_comp_channel",
            PortAttr = "struct ibv_port_attr",
            QpCap = "struct ibv_qp_cap",
            QpInitAttr = "struct ibv_qp_init_attr",
            GlobalRoute = "struct ibv_global_route",
            AhAttr = "struct ibv_ah_attr",
            QpAttr = "struct ibv_qp_attr",
            Sge = "struct ibv_sge",
            SendWr = "struct ibv_send_wr",
            RecvWr = "struct ibv_recv_wr",
            Wc = "struct ibv_wc",
            Gid = "union ibv_gid"
        );
        fields!(text, Context, "struct ibv_context", ops = "ops");
        fields!(
            text,
            ContextOps,
            "struct ibv_context_ops",
            poll_cq = "poll_cq",
            req_notify_cq = "req_notify_cq",
            post_send = "post_send",
            post_recv = "post_recv"
        );
        fields!(text, Mr, "struct ibv_mr", lkey = "lkey", rkey = "rkey");
        fields!(text, CompChannel, "struct ibv_comp_channel", fd = "fd");
        fields!(text, Cq, "struct ibv_cq", context = "context");
        fields!(
            text,
            Qp,
            "struct ibv_qp",
            context = "context",
            qp_num = "qp_num"
        );
        fields!(
            text,
            PortAttr,
            "struct ibv_port_attr",
            state = "state",
            active_mtu = "active_mtu",
            max_msg_sz = "max_msg_sz",
            link_layer = "link_layer"
        );
        fields!(
            text,
            QpInitAttr,
            "struct ibv_qp_init_attr",
            send_cq = "send_cq",
            recv_cq = "recv_cq",
            srq = "srq",
            cap = "cap",
            qp_type = "qp_type",
            sq_sig_all = "sq_sig_all"
        );
        fields!(
            text,
            QpAttr,
            "struct ibv_qp_attr",
            qp_state = "qp_state",
            path_mtu = "path_mtu",
            rq_psn = "rq_psn",
            sq_psn = "sq_psn",
            dest_qp_num = "dest_qp_num",
            qp_access_flags = "qp_access_flags",
            ah_attr = "ah_attr",
            pkey_index = "pkey_index",
            max_rd_atomic = "max_rd_atomic",
            max_dest_rd_atomic = "max_dest_rd_atomic",
            min_rnr_timer = "min_rnr_timer",
            port_num = "port_num",
            timeout = "timeout",
            retry_cnt = "retry_cnt",
            rnr_retry = "rnr_retry"
        );
        fields!(
            text,
            AhAttr,
            "struct ibv_ah_attr",
            grh = "grh",
            is_global = "is_global",
            port_num = "port_num"
        );
        fields!(
            text,
            GlobalRoute,
            "struct ibv_global_route",
            dgid = "dgid",
            sgid_index = "sgid_index",
            hop_limit = "hop_limit"
        );
        fields!(
            text,
            SendWr,
            "struct ibv_send_wr",
            wr_id = "wr_id",
            next = "next",
            sg_list = "sg_list",
            num_sge = "num_sge",
            opcode = "opcode",
            send_flags = "send_flags",
            imm_data = "imm_data",
            remote_addr = "wr.rdma.remote_addr",
            rkey = "wr.rdma.rkey"
        );
        fields!(
            text,
            RecvWr,
            "struct ibv_recv_wr",
            wr_id = "wr_id",
            next = "next",
            sg_list = "sg_list",
            num_sge = "num_sge"
        );
        fields!(
            text,
            Sge,
            "struct ibv_sge",
            addr = "addr",
            length = "length",
            lkey = "lkey"
        );
        fields!(
            text,
            Wc,
            "struct ibv_wc",
            status = "status",
            opcode = "opcode",
            vendor_err = "vendor_err",
            byte_len = "byte_len",
            imm_data = "imm_data"
        );
        constants!(
            text,
            PORT_ACTIVE,
            QPT_RC,
            QPS_INIT,
            QPS_RTR,
            QPS_RTS,
            QP_STATE,
            QP_ACCESS_FLAGS,
            QP_PKEY_INDEX,
            QP_PORT,
            QP_AV,
            QP_PATH_MTU,
            QP_TIMEOUT,
            QP_RETRY_CNT,
            QP_RNR_RETRY,
            QP_RQ_PSN,
            QP_MAX_QP_RD_ATOMIC,
            QP_MIN_RNR_TIMER,
            QP_SQ_PSN,
            QP_MAX_DEST_RD_ATOMIC,
            QP_DEST_QPN,
            ACCESS_LOCAL_WRITE,
            ACCESS_REMOTE_WRITE,
            ACCESS_REMOTE_READ,
            WR_RDMA_WRITE,
            WR_RDMA_WRITE_WITH_IMM,
            WR_SEND_WITH_IMM,
            WR_RDMA_READ,
            SEND_SIGNALED,
            SEND_SOLICITED,
            SEND_INLINE,
            WC_SUCCESS,
            WC_LOC_LEN_ERR,
            WC_LOC_PROT_ERR,
            WC_WR_FLUSH_ERR,
            WC_REM_INV_REQ_ERR,
            WC_REM_ACCESS_ERR,
            WC_RETRY_EXC_ERR,
            WC_RNR_RETRY_EXC_ERR,
            WC_RECV,
            WC_RECV_RDMA_WITH_IMM
        );
        let mut compiler = Command::new("cc")
            .args(["-fsyntax-only", "-x", "c", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        compiler
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        assert!(compiler.wait().unwrap().success(), "{text}");
    }
}
