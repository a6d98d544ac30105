//! The names of costs and of parameters.

/// The keys of costs, all in seconds.
pub mod cost {
    use crate::scenario::{CompletionBy, Hop, Peers, Transport};

    /// Time from when a sleeping client is to send until it runs, without any core time: timer and
    /// wake-up. By requests; none if the profile does not have it.
    pub const WAKEUP: &str = "wakeup";
    /// Core time of a client to make a request, by bytes.
    pub const PREPARE: &str = "prepare";
    /// Core time of a client to take a reply, by bytes.
    pub const POSTPROCESS: &str = "postprocess";
    /// Core time of a proxy to move a message between its two sides, by bytes.
    pub const TRANSLATE: &str = "translate";
    /// Core time to hand a request to an idle inference context, by requests.
    pub const DISPATCH: &str = "dispatch";
    /// Core time to hand its output back to the thread that replies, by requests.
    pub const NOTIFY: &str = "notify";
    /// Core time of a client for a request beside all else: to ask for the next, to sleep, to keep
    /// records. By requests; none if not given.
    pub const BOOKKEEPING_CLIENT: &str = "bookkeeping/client";
    /// The same of a proxy.
    pub const BOOKKEEPING_PROXY: &str = "bookkeeping/proxy";
    /// The same of a stage that serves. What it takes to hand a request to an idle inference context
    /// is part of it.
    pub const BOOKKEEPING_SERVER: &str = "bookkeeping/server";
    /// Copy from host to device, by bytes.
    pub const H2D: &str = "h2d";
    /// Copy from device to host, by bytes.
    pub const D2H: &str = "d2h";
    /// Core time of a host to launch kernels on a GPU, by kernels; none if not given.
    pub const LAUNCH: &str = "launch";
    /// Core time of a host to copy between pageable memory and the locked buffers of a GPU's
    /// driver, by bytes; none if not given.
    pub const STAGING: &str = "staging";
    /// Core time of a proxy to hand a message on that it need not copy, by requests; none if not
    /// given.
    pub const FORWARD: &str = "forward";
    /// Core time to post a message to a network adapter, by bytes or requests.
    pub const POST: &str = "post/rdma";
    /// Core time to make packets of what is sent over TCP, by packets, where the adapter does not
    /// (neither TSO nor GSO); none if not given.
    pub const SEGMENT: &str = "segment";
    /// Core time to take what comes over TCP packet by packet, where nothing puts packets together
    /// before (neither LRO nor GRO); none if not given.
    pub const REASSEMBLE: &str = "reassemble";
    /// Core time of a messaging library, at each end of a hop over TCP, by requests; none if not given.
    pub const FRAME: &str = "frame";
    /// Of a GPU: the net that makes tensors of raw pixels, among its `nets`.
    pub const PREPROCESS: &str = "preprocess";

    /// Of a GPU: a copy to another GPU of its host, by bytes.
    pub fn peer(over: Peers) -> String {
        format!("peer/{}", over.name())
    }
    /// Core time to send a message, by bytes.
    pub fn send(over: Transport) -> String {
        format!("send/{}", over.name())
    }
    /// Core time to receive a message, by bytes.
    pub fn receive(over: Transport) -> String {
        format!("receive/{}", over.name())
    }
    /// Time between a message's last byte being sent and its receiver running, without any core
    /// time: propagation, interrupt and wake-up; over network adapters also what they take. By
    /// messages, or, over adapters, by bytes; a cost of the link's part.
    pub fn delay(over: Transport) -> String {
        format!("delay/{}", over.name())
    }
    /// The same over RDMA where the receiver polls, so that nothing has to wake it; that of
    /// [`delay`] if not given.
    pub const DELAY_POLL: &str = "delay/rdma/poll";
    /// Core time to register the memory of a message with a network adapter and to let go of it, by
    /// bytes of its pages.
    pub const REGISTER: &str = "register";
    /// Core time to learn that a network adapter has a message: of polling, what is left to do once it
    /// is there; of an event, interrupt and wake-up. By requests.
    pub fn completion(by: CompletionBy) -> String {
        format!("completion/{}", by.name())
    }
    /// The costs to send a message over `hop` and to receive it.
    pub fn of_message(hop: &Hop) -> [String; 2] {
        match hop.verbs {
            Some(verbs) => [POST.to_owned(), completion(verbs.completion)],
            None => [send(hop.over), receive(hop.over)],
        }
    }
    /// The cost of the time between the two: the one that is meant, and one that stands for it where
    /// that is not given.
    pub fn between(hop: &Hop) -> (Option<&'static str>, String) {
        let polls = (hop.verbs).is_some_and(|verbs| verbs.completion == CompletionBy::Poll);
        let over = match hop.over {
            Transport::Gdr => Transport::Rdma,
            over => over,
        };
        (polls.then_some(DELAY_POLL), delay(over))
    }
    /// Preprocessing of one raw input, by bytes; `work` is [`Work::key`](crate::scenario::Work::key).
    pub fn preprocess(work: &str) -> String {
        format!("preprocess/{work}")
    }
    /// A forward pass, by requests in the batch; synthetic work, by seconds asked for.
    pub fn inference(work: &str) -> String {
        format!("inference/{work}")
    }
}

/// The names of parameters.
pub mod parameter {
    use crate::scenario::{GdrPath, Verb};

    /// Of a host: by what fraction a core is slower while the other cores of its machine are busy
    /// (shared caches, memory bandwidth, simultaneous multithreading). Unit 1, from 0.
    pub const CONTENTION: &str = "contention";
    /// Of a host: bandwidth of its root complex in each direction, for all that moves between its
    /// memory and its GPUs and network adapters, in bytes per second.
    pub const ROOT_COMPLEX_BANDWIDTH: &str = "root-complex-bandwidth";
    /// Of a host: bandwidth of its memory, reads and writes together, for the same, in bytes per
    /// second.
    pub const MEMORY_BANDWIDTH: &str = "memory-bandwidth";

    /// Of a host: bandwidth of what joins its sockets in each direction, for what devices at the far
    /// one move from and to its memory, and copies between GPUs at both, in bytes per second.
    pub const SOCKET_BANDWIDTH: &str = "socket-bandwidth";
    /// Of a host: time in which a word crosses what joins its sockets, one way, in seconds.
    pub const SOCKET_LATENCY: &str = "socket-latency";

    /// Of a host: bytes of a page, of which memory is registered.
    pub const PAGE_SIZE: &str = "page-size";
    /// Of a host: what a messaging library puts before each message over TCP, in bytes.
    pub const MESSAGE_HEADER: &str = "message-header";

    /// Of a link: data rate of each direction, in bytes per second; where the scenario gives none.
    pub const RATE: &str = "rate";
    /// Of a link: most bytes of an IP packet, headers included.
    pub const MTU: &str = "mtu";
    /// Of a link: what a frame takes on it beside its IP packet, in bytes.
    pub const FRAME_HEADER: &str = "frame-header";
    /// Of a link: what is TCP's of an IP packet, in bytes.
    pub const TCP_HEADER: &str = "tcp-header";

    /// Of a GPU: number of streaming multiprocessors.
    pub const SMS: &str = "sms";
    /// Of a GPU: threads that a multiprocessor holds at once.
    pub const THREADS_PER_SM: &str = "threads-per-sm";
    /// Of a GPU: blocks that a multiprocessor holds at once.
    pub const BLOCKS_PER_SM: &str = "blocks-per-sm";
    /// Of a GPU: registers of a multiprocessor.
    pub const REGISTERS_PER_SM: &str = "registers-per-sm";
    /// Of a GPU: shared memory of a multiprocessor, in bytes.
    pub const SHARED_MEMORY_PER_SM: &str = "shared-memory-per-sm";
    /// Of a GPU: bandwidth of its memory that kernels reach, in bytes per second.
    pub const DRAM_BANDWIDTH: &str = "dram-bandwidth";
    /// Of a GPU: part of its threads that must be resident for 90% of that; 0 if any number is
    /// enough.
    pub const DRAM_OCCUPANCY: &str = "dram-occupancy";
    /// Of a GPU: memory, in bytes.
    pub const MEMORY: &str = "memory";
    /// Of a GPU: memory that each process takes for its context, in bytes.
    pub const CONTEXT_MEMORY: &str = "context-memory";
    /// Of a GPU: time from when a kernel could start until its blocks may, in seconds.
    pub const LAUNCH_INTERVAL: &str = "launch-interval";
    /// Of a GPU: the same for a kernel of a CUDA graph.
    pub const GRAPH_LAUNCH_INTERVAL: &str = "graph-launch-interval";
    /// Of a GPU: hardware queues of a process (`CUDA_DEVICE_MAX_CONNECTIONS`).
    pub const HARDWARE_QUEUES: &str = "hardware-queues";
    /// Of a GPU: levels of stream priority; others are cut to these.
    pub const PRIORITY_LEVELS: &str = "priority-levels";
    /// Of a GPU: how long a process computes while another waits to, in seconds.
    pub const TIME_SLICE: &str = "time-slice";
    /// Of a GPU: time in which nothing computes when processes take turns, in seconds.
    pub const CONTEXT_SWITCH: &str = "context-switch";
    /// Of a GPU or a network adapter: payload bandwidth of its PCIe link in each direction, in bytes per second.
    pub const PCIE_BANDWIDTH: &str = "pcie-bandwidth";
    /// Of a GPU: by what part each direction of its PCIe link is slower while the other is busy.
    pub const DUPLEX_PENALTY: &str = "duplex-penalty";
    /// Of a GPU: a phase that computes slows each other one by its intensity times its share of the
    /// multiprocessors to this power.
    pub const INTERFERENCE_EXPONENT: &str = "interference-exponent";
    /// Of a GPU: by what part the overhead of a phase takes longer for each other net that is
    /// executed at the same time.
    pub const OVERHEAD_INTERFERENCE: &str = "overhead-interference";
    /// Of a GPU: compute slices that it can be partitioned into (MIG).
    pub const MIG_COMPUTE_SLICES: &str = "mig-compute-slices";
    /// Of a GPU: multiprocessors of a compute slice (MIG).
    pub const MIG_SMS_PER_SLICE: &str = "mig-sms-per-slice";
    /// Of a GPU: memory slices that it can be partitioned into (MIG).
    pub const MIG_MEMORY_SLICES: &str = "mig-memory-slices";

    /// Of a network adapter: messages that it can send in a second.
    pub const MESSAGE_RATE: &str = "message-rate";
    /// Of a network adapter: most bytes of a message that go to it with the post itself.
    pub const INLINE_LIMIT: &str = "inline-limit";
    /// Of a network adapter: most bytes of a message in a packet.
    pub const PATH_MTU: &str = "path-mtu";
    /// Of a network adapter: what each packet takes on the wire beside these, in bytes.
    pub const PACKET_HEADER: &str = "packet-header";
    /// Of a network adapter: time that a message takes through it, beside all else, in seconds.
    pub const NIC_LATENCY: &str = "nic-latency";
    /// Of a network adapter: time until the first byte of a message has come from memory, in seconds.
    pub const DMA_READ_LATENCY: &str = "dma-read-latency";
    /// Of a network adapter: how much of a message it has whole before any of that goes on, in bytes.
    pub const BURST: &str = "burst";
    /// Of a network adapter: queue pairs whose contexts it keeps; of others it fetches them.
    pub const QP_CACHE: &str = "qp-cache";
    /// Of a network adapter: what asks for a read takes on the wire beside its packet, in bytes.
    pub const READ_REQUEST_HEADER: &str = "verb-header/read-request";

    /// Of a network adapter: what a message of that verb takes on the wire beside its packets, in bytes.
    pub fn verb_header(verb: Verb) -> String {
        format!("verb-header/{}", verb.name())
    }
    /// Of a network adapter: part of its PCIe bandwidth at which it writes to the memory of a GPU.
    pub fn gdr_write_factor(path: GdrPath) -> String {
        format!("gdr-write-factor/{}", path.name())
    }
    /// Of a network adapter: part of its PCIe bandwidth at which it reads from the memory of a GPU.
    pub fn gdr_read_factor(path: GdrPath) -> String {
        format!("gdr-read-factor/{}", path.name())
    }

    /// Of a GPU: multiprocessors of an instance of so many compute slices (MIG), if those of a slice
    /// times their number are not right.
    pub fn mig_sms(compute: u32) -> String {
        format!("mig-sms/{compute}")
    }
}
