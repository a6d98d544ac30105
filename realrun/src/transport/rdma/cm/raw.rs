//! librdmacm's types and functions, as `rdma/rdma_cma.h` of rdma-core has them.
//!
//! The crates that this program takes verbs' types from have none of the connection manager's, and the
//! others that do link its library. It is little that is needed, and the layouts are part of the
//! binary interface `librdmacm.so.1`; a test compares them with the header. The library is loaded when
//! the first connection is set up by it, as libibverbs is.

use std::ffi::{c_int, c_uint, c_void};
use std::sync::OnceLock;

use ibverbs_sys as sys;

use super::super::failure::Failure;
use super::super::library::Library;

/// The file name of the library, with the version of its binary interface.
const LIBRARY: &str = "librdmacm.so.1";

/// `RDMA_PS_TCP`: reliable connections.
pub(super) const PS_TCP: c_int = 0x0106;

/// `enum rdma_cm_event_type`, of which these are waited for.
pub(super) const ADDR_RESOLVED: c_uint = 0;
pub(super) const ADDR_ERROR: c_uint = 1;
pub(super) const ROUTE_RESOLVED: c_uint = 2;
pub(super) const ROUTE_ERROR: c_uint = 3;
pub(super) const CONNECT_REQUEST: c_uint = 4;
pub(super) const CONNECT_RESPONSE: c_uint = 5;
pub(super) const CONNECT_ERROR: c_uint = 6;
pub(super) const UNREACHABLE: c_uint = 7;
pub(super) const REJECTED: c_uint = 8;

/// `struct rdma_event_channel`.
#[repr(C)]
pub(super) struct EventChannel {
    pub(super) fd: c_int,
}

/// The beginning of `struct rdma_cm_id`, which the library makes; nothing else of it is looked at.
#[repr(C)]
pub(super) struct CmId {
    /// Null until the identifier is bound to a device.
    pub(super) verbs: *mut sys::ibv_context,
}

/// `struct rdma_conn_param`.
#[repr(C)]
pub(super) struct ConnParam {
    pub(super) private_data: *const c_void,
    pub(super) private_data_len: u8,
    pub(super) responder_resources: u8,
    pub(super) initiator_depth: u8,
    pub(super) flow_control: u8,
    pub(super) retry_count: u8,
    pub(super) rnr_retry_count: u8,
    pub(super) srq: u8,
    pub(super) qp_num: u32,
}

/// The beginning of `struct rdma_cm_event`, which the library makes. `conn` is one of a union, the one
/// of connections.
#[repr(C)]
pub(super) struct CmEvent {
    pub(super) id: *mut CmId,
    pub(super) listen_id: *mut CmId,
    pub(super) event: c_uint,
    pub(super) status: c_int,
    pub(super) conn: ConnParam,
}

/// Declares [`Functions`].
macro_rules! functions {
    ($($field:ident = $symbol:ident($($argument:ty),*) -> $result:ty;)*) => {
        /// The functions of librdmacm that are used.
        pub(super) struct Functions {
            $(pub(super) $field: unsafe extern "C" fn($($argument),*) -> $result,)*
        }

        fn find_all(library: &Library) -> Result<Functions, String> {
            Ok(Functions { $($field: library.find(stringify!($symbol))?,)* })
        }
    };
}

functions! {
    create_event_channel = rdma_create_event_channel() -> *mut EventChannel;
    destroy_event_channel = rdma_destroy_event_channel(*mut EventChannel) -> ();
    get_cm_event = rdma_get_cm_event(*mut EventChannel, *mut *mut CmEvent) -> c_int;
    ack_cm_event = rdma_ack_cm_event(*mut CmEvent) -> c_int;
    create_id = rdma_create_id(*mut EventChannel, *mut *mut CmId, *mut c_void, c_int) -> c_int;
    destroy_id = rdma_destroy_id(*mut CmId) -> c_int;
    bind_addr = rdma_bind_addr(*mut CmId, *mut libc::sockaddr) -> c_int;
    resolve_addr = rdma_resolve_addr(
        *mut CmId, *mut libc::sockaddr, *mut libc::sockaddr, c_int
    ) -> c_int;
    resolve_route = rdma_resolve_route(*mut CmId, c_int) -> c_int;
    init_qp_attr = rdma_init_qp_attr(*mut CmId, *mut sys::ibv_qp_attr, *mut c_int) -> c_int;
    listen = rdma_listen(*mut CmId, c_int) -> c_int;
    get_src_port = rdma_get_src_port(*mut CmId) -> u16;
    connect = rdma_connect(*mut CmId, *mut ConnParam) -> c_int;
    accept = rdma_accept(*mut CmId, *mut ConnParam) -> c_int;
    reject = rdma_reject(*mut CmId, *const c_void, u8) -> c_int;
    establish = rdma_establish(*mut CmId) -> c_int;
}

/// The library; loaded by the first call.
pub(super) fn library() -> Result<&'static Functions, Failure> {
    static LOADED: OnceLock<Result<Functions, String>> = OnceLock::new();
    let loaded = LOADED.get_or_init(|| find_all(&Library::load(LIBRARY)?));
    loaded.as_ref().map_err(|problem| {
        Failure::new("dlopen", problem).because(format!(
            "install the library {LIBRARY} (Debian: librdmacm1; Red Hat: librdmacm), or leave \
             connections to be set up over TCP, without `setup = \"rdma-cm\"`"
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;
    use std::process::Command;

    use super::*;

    /// What the compiler makes of the header on this machine.
    #[test]
    #[ignore = "needs a C compiler and rdma/rdma_cma.h: tests/rdma/run"]
    fn layouts_and_numbers_are_the_header_s() {
        let program = r#"
            #include <rdma/rdma_cma.h>
            #include <stddef.h>
            #include <stdio.h>
            #define AT(type, field) offsetof(struct type, field)
            int main(void) {
                size_t all[] = {
                    AT(rdma_event_channel, fd), AT(rdma_cm_id, verbs),
                    sizeof(struct rdma_conn_param), AT(rdma_conn_param, private_data),
                    AT(rdma_conn_param, private_data_len), AT(rdma_conn_param, responder_resources),
                    AT(rdma_conn_param, initiator_depth), AT(rdma_conn_param, flow_control),
                    AT(rdma_conn_param, retry_count), AT(rdma_conn_param, rnr_retry_count),
                    AT(rdma_conn_param, srq), AT(rdma_conn_param, qp_num),
                    AT(rdma_cm_event, id), AT(rdma_cm_event, listen_id), AT(rdma_cm_event, event),
                    AT(rdma_cm_event, status), AT(rdma_cm_event, param.conn), RDMA_PS_TCP,
                    RDMA_CM_EVENT_ADDR_RESOLVED, RDMA_CM_EVENT_ADDR_ERROR,
                    RDMA_CM_EVENT_ROUTE_RESOLVED, RDMA_CM_EVENT_ROUTE_ERROR,
                    RDMA_CM_EVENT_CONNECT_REQUEST, RDMA_CM_EVENT_CONNECT_RESPONSE,
                    RDMA_CM_EVENT_CONNECT_ERROR, RDMA_CM_EVENT_UNREACHABLE, RDMA_CM_EVENT_REJECTED,
                };
                for (size_t i = 0; i < sizeof all / sizeof *all; i++) printf("%zu ", all[i]);
                return 0;
            }"#;
        let dir = tempfile::tempdir().unwrap();
        let (source, built) = (dir.path().join("layout.c"), dir.path().join("layout"));
        std::fs::write(&source, program).unwrap();
        let compiler = Command::new("cc")
            .arg(&source)
            .arg("-o")
            .arg(&built)
            .status();
        assert!(compiler.unwrap().success());
        let said = Command::new(&built).output().unwrap().stdout;
        let own = [
            offset_of!(EventChannel, fd),
            offset_of!(CmId, verbs),
            size_of::<ConnParam>(),
            offset_of!(ConnParam, private_data),
            offset_of!(ConnParam, private_data_len),
            offset_of!(ConnParam, responder_resources),
            offset_of!(ConnParam, initiator_depth),
            offset_of!(ConnParam, flow_control),
            offset_of!(ConnParam, retry_count),
            offset_of!(ConnParam, rnr_retry_count),
            offset_of!(ConnParam, srq),
            offset_of!(ConnParam, qp_num),
            offset_of!(CmEvent, id),
            offset_of!(CmEvent, listen_id),
            offset_of!(CmEvent, event),
            offset_of!(CmEvent, status),
            offset_of!(CmEvent, conn),
            PS_TCP as usize,
        ];
        let numbers = [
            ADDR_RESOLVED,
            ADDR_ERROR,
            ROUTE_RESOLVED,
            ROUTE_ERROR,
            CONNECT_REQUEST,
            CONNECT_RESPONSE,
            CONNECT_ERROR,
            UNREACHABLE,
            REJECTED,
        ];
        let own = own.into_iter().chain(numbers.map(|number| number as usize));
        let own: String = own.map(|value| format!("{value} ")).collect();
        assert_eq!(String::from_utf8(said).unwrap(), own);
    }
}
