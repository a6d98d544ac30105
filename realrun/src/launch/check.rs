//! What of a scenario cannot be executed here, before any process starts.

use std::collections::BTreeMap;

use schema::ids::StageId;
use schema::scenario::{
    ArrivalsFile, BatchClose, CopiesOf, CopyBack, Extent, Forward, GpuUse, GpuWork, HandBack, Hop,
    InputFile, Kernels, LaunchFile, Placement, Registration, Scenario, Serve, SetUp, Stage,
    StageRole, Transport, Work,
};

use super::gdr::way_to_gpu;
use crate::accelerator::cuda;
use crate::accelerator::nets::NetName;
use crate::accelerator::preprocess::Normalisation;
use crate::error::RealrunError;
use crate::machine;
use crate::roles::{choice, device};
use crate::transport::rdma::{self, Nic};

/// Shared memory that a block has without asking the driver for more, in bytes (CUDA C++ Programming
/// Guide, technical specifications).
const MOST_SHARED_MEMORY: u64 = 48 << 10;

/// Refuses what hardware, or this build, or this machine cannot execute.
pub(super) fn can_be_measured(scenario: &Scenario) -> Result<(), RealrunError> {
    let refuse = |key: &str, problem: &str| refuse(scenario, key, problem);
    if scenario.is_plain() {
        return refuse(
            "stages",
            "plain stages are for the engine, see `tandem simulate`",
        );
    }
    if scenario.warmup == Extent::Auto {
        let problem =
            "only the engine finds the warm-up itself; give a number of requests or a time";
        return refuse("run.warmup", problem);
    }
    if scenario.placement == Placement::Separate {
        let problem = "every host is a machine of its own, and only this machine can be measured on; \
                       write `placement = { local = {} }`, or give --set placement.local={}";
        return refuse("placement", problem);
    }
    if scenario.placement == Placement::Device {
        can_be_handed_over(scenario)?;
    }
    if !scenario.file().faults.is_empty() {
        let problem = match scenario.faults.is_empty() {
            false => "faults of links are for the engine, see `tandem simulate`",
            true => "losses of hosts and stages are for the engine, see `tandem simulate`",
        };
        return refuse("faults", problem);
    }
    if scenario.placement == Placement::Netns && !scenario.switches.is_empty() {
        let key = match scenario.file().switches.is_empty() {
            true => "fabric",
            false => "switches",
        };
        let problem = "network namespaces are joined without switches; \
                       `tandem simulate` runs networks with them";
        return refuse(key, problem);
    }
    paths_can_be_measured(scenario)?;
    verbs_can_be_measured(scenario)?;
    stages_can_be_measured(scenario)?;
    let here = machine::cores();
    for (_, host) in scenario.hosts.iter().filter(|(_, host)| host.pinned) {
        let cores = &scenario.core_sets[host.core_set].cores;
        if let Some(core) = cores.iter().find(|core| !here.contains(core)) {
            return Err(RealrunError::Unsupported {
                key: scenario.source().position(&format!("hosts.{}", host.name)),
                problem: format!("it is pinned to core {core}; this process may run on {here:?}"),
            });
        }
    }
    Ok(())
}

/// Refuses what needs more than a GPU and a thread that hands over.
fn can_be_handed_over(scenario: &Scenario) -> Result<(), RealrunError> {
    let refuse = |key: &str, problem: &str| {
        let problem = format!("{problem} with placement `device`; `placement.local` runs others");
        refuse(scenario, key, &problem)
    };
    if device::n_requests(scenario).is_none() {
        let problem = "warm-up and measurement are numbers of requests";
        return refuse("run.measure", problem);
    }
    for (_, stage) in scenario.stages.iter() {
        let is_on_gpu = match &stage.role {
            StageRole::Serve(serve) => serve.gpu.is_some(),
            StageRole::Proxy(_) | StageRole::Plain(_) => false,
        };
        if !is_on_gpu {
            return refuse(
                &format!("stages.{}", stage.name),
                "all stages serve on GPUs",
            );
        }
    }
    let mps = |stage: &Stage| match &stage.role {
        StageRole::Serve(Serve { gpu: Some(gpu), .. }) => gpu.mps,
        _ => None,
    };
    let mut stages = scenario.stages.rows().windows(2);
    if let Some([_, other]) = stages.find(|pair| mps(&pair[0]) != mps(&pair[1])) {
        let problem = "one process hands over for all stages, so all are clients of the Multi-Process \
                       Service with one share and one priority, or none is,";
        return refuse(&format!("stages.{}.gpu.mps", other.name), problem);
    }
    let mut clients: BTreeMap<StageId, u32> = BTreeMap::new();
    for (index, group) in scenario.groups.rows().iter().enumerate() {
        let key = |below: &str| format!("clients.{index}.{below}");
        let asks_at_once = match &group.arrivals {
            ArrivalsFile::ClosedLoop { think } => think.is_zero(),
            _ => false,
        };
        if !asks_at_once {
            let problem = "clients ask again at once (`closed-loop` without think time)";
            return refuse(&key("arrivals"), problem);
        }
        if group.path.len() != 1 {
            return refuse(&key("path"), "a path has one hop");
        }
        let members = scenario.clients.iter();
        let members =
            members.filter(|(_, client)| scenario.groups[client.group].name == group.name);
        *clients.entry(group.path[0].to).or_default() += members.count() as u32;
    }
    if clients.is_empty() {
        return refuse("clients", "there are clients");
    }
    for (stage, n) in clients {
        let row = &scenario.stages[stage];
        let StageRole::Serve(Serve {
            gpu: Some(gpu),
            batch,
            ..
        }) = &row.role
        else {
            unreachable!("others were refused above")
        };
        if n.div_ceil(gpu.contexts()) > batch.max {
            let problem = "a context serves as many clients as `batch.max` says";
            return refuse(&format!("stages.{}.batch", row.name), problem);
        }
    }
    Ok(())
}

/// Refuses paths, and what clients do on them, that only the engine has.
fn paths_can_be_measured(scenario: &Scenario) -> Result<(), RealrunError> {
    let refuse = |key: &str, problem: &str| refuse(scenario, key, problem);
    for (index, group) in scenario.groups.rows().iter().enumerate() {
        let clients = |below: &str| format!("clients.{index}.{below}");
        if group.timeout.is_some() {
            let problem =
                "clients wait for every reply on hardware; `tandem simulate` runs timeouts";
            return refuse(&clients("timeout"), problem);
        }
        if group.reply.is_some() {
            let problem = "replies go back over the hops of their path on hardware; \
                           `tandem simulate` runs others";
            return refuse(&clients("reply-over"), problem);
        }
        let n_served = (group.path.iter())
            .filter(|hop| matches!(scenario.stages[hop.to].role, StageRole::Serve(_)))
            .count();
        let is_sized = |hop: &Hop| hop.payload.is_some() || hop.reply.is_some();
        if n_served > 1 || group.path.iter().any(is_sized) {
            let problem = "on hardware a path leads over proxies to one stage that serves, with \
                           messages of that stage's sizes; `tandem simulate` runs others";
            return refuse(&clients("path"), problem);
        }
        if let Some(hop) = group.path.iter().find(|hop| hop.forward != Forward::Store) {
            let stage = &scenario.stages[hop.to].name;
            let problem = "proxies take whole messages on hardware; `tandem simulate` runs others";
            return refuse(&format!("stages.{stage}.proxy.forward"), problem);
        }
        if let Some(hop) = group.path.iter().position(|hop| hop.tcp.is_some()) {
            let problem = "the kernel chooses buffers and windows; `tandem simulate` takes them";
            return refuse(&format!("clients.{index}.path.{hop}.tcp"), problem);
        }
    }
    Ok(())
}

/// Refuses stages that only the engine has.
fn stages_can_be_measured(scenario: &Scenario) -> Result<(), RealrunError> {
    let refuse = |key: &str, problem: &str| refuse(scenario, key, problem);
    for (_, stage) in scenario.stages.iter() {
        let key = |below: &str| format!("stages.{}.{below}", stage.name);
        if stage.receive_threads.is_some() {
            let problem = "each connection has a thread of its own on hardware; \
                           `tandem simulate` runs stages with fewer";
            return refuse(&key("receive-threads"), problem);
        }
        if !stage.steps.is_empty() {
            let problem = "calls of other stages are for the engine, see `tandem simulate`";
            return refuse(&key("steps"), problem);
        }
        let serve = match &stage.role {
            StageRole::Serve(serve) => serve,
            StageRole::Proxy(proxy) if proxy.pool.is_some() => {
                let problem = "a proxy has a connection onward for each of its own on hardware; \
                               `tandem simulate` runs pools";
                return refuse(&key("proxy.pool"), problem);
            }
            _ => continue,
        };
        match (&serve.gpu, &serve.work) {
            (None, _) => {}
            (Some(gpu), Work::Kernels(kernels)) => {
                gpu_can_be_used(scenario, stage, serve, gpu)?;
                kernels_can_be_run(scenario, stage, kernels)?;
            }
            (Some(gpu), Work::Net { net, input, .. }) if cfg!(feature = "candle-cuda") => {
                gpu_can_be_used(scenario, stage, serve, gpu)?;
                net_can_be_run(scenario, stage, gpu)?;
                let is_unit = (net.name.parse::<NetName>())
                    .is_ok_and(|net| net.normalisation() != Normalisation::Imagenet);
                if is_unit && *input != InputFile::Preprocessed {
                    let problem = "a GPU normalises images as for ImageNet, which this net does not \
                                   want; let clients send tensors, or leave `gpu` out";
                    return refuse(&key("serve.net.input"), problem);
                }
            }
            (Some(_), Work::Net { .. }) => {
                let problem = "a program with the feature `candle-cuda` runs nets on GPUs, and this one \
                               `kernels` alone; leave it out for a net on the cores, or see \
                               `tandem simulate`";
                return refuse(&key("gpu"), problem);
            }
            (Some(_), _) => {
                let problem = "on hardware GPUs run `kernels`, or see `tandem simulate`";
                return refuse(&key("gpu"), problem);
            }
        }
        if let Work::Profiled(_) = &serve.work {
            let problem =
                "a net that only a profile knows is for the engine, see `tandem simulate`";
            return refuse(&key("serve.profiled"), problem);
        }
        if !serve.batch.preferred.is_empty() || serve.batch.close != BatchClose::AtStart {
            let problem = "`preferred` and `close` are for the engine, see `tandem simulate`";
            return refuse(&key("batch"), problem);
        }
        if serve.hand_back != HandBack::AtOnce {
            let problem = "`in-turn` is for the engine, see `tandem simulate`";
            return refuse(&key("hand-back"), problem);
        }
    }
    Ok(())
}

/// Refuses uses of GPUs that only the engine has, and GPUs that this machine lacks.
fn gpu_can_be_used(
    scenario: &Scenario,
    stage: &Stage,
    serve: &Serve,
    gpu: &GpuUse,
) -> Result<(), RealrunError> {
    let refuse = |key: String, problem: &str| {
        refuse(
            scenario,
            &key,
            &format!("{problem}; `tandem simulate` runs others"),
        )
    };
    let key = |below: &str| key_of(stage, below);
    if gpu.process.is_some() && scenario.placement != Placement::Device {
        let problem = "each stage is a process of its own on hardware";
        return refuse(key("process"), problem);
    }
    if gpu.d2h != CopyBack::Stream && scenario.placement == Placement::Device {
        let problem = "results are copied back in the request's stream with placement `device`, where \
                       nothing waits for a copy before it hands over what follows";
        return refuse(key("d2h"), problem);
    }
    if gpu.copies != CopiesOf::Request && serve.batch.max > 1 {
        let problem = "each input and output is copied on its own on hardware";
        return refuse(key("copies"), problem);
    }
    if gpu.connection_buffer.is_some() {
        let problem = "connections keep no GPU memory on hardware";
        return refuse(key("connection-buffer"), problem);
    }
    for class in scenario.classes.rows() {
        if class.stream_priority.is_some() {
            let problem = "a stream has one priority on hardware, its stage's";
            let key = format!("classes.{}.stream-priority", class.name);
            return refuse(key, problem);
        }
    }
    let host = &scenario.hosts[stage.host];
    for device in &gpu.devices {
        let row = &host.gpus[device.gpu as usize];
        let key = |below: &str| format!("hosts.{}.gpus.{}{below}", host.key, device.gpu);
        if device.instance.is_some() && scenario.placement == Placement::Device {
            let problem = "a process sees one instance of a GPU, which is chosen when it starts; with \
                           placement `device` there are no processes to start";
            return refuse(key(".mig"), problem);
        }
        if device.instance.is_some() && gpu.devices.len() > 1 {
            let problem = "a process sees one instance of a GPU and nothing else on hardware; give each \
                           instance a stage of its own";
            return refuse(key_of(stage, "devices"), problem);
        }
        if (row.clock - 1.0).abs() > f64::EPSILON {
            return refuse(key(".clock"), "a GPU runs at its own clock on hardware");
        }
        if instance_of(scenario, stage)?.is_some() {
            continue;
        }
        if let Err(error) = cuda::find(device.gpu) {
            let problem = format!("{error}; `tandem simulate` runs GPUs anywhere");
            return self::refuse(scenario, &key(".part"), &problem);
        }
    }
    Ok(())
}

fn key_of(stage: &Stage, below: &str) -> String {
    format!("stages.{}.gpu.{below}", stage.name)
}

/// UUID of the instance of a GPU that a stage runs on; `None` if it runs on whole GPUs or on none.
///
/// # Errors
/// If this machine has no such instance.
pub(super) fn instance_of(
    scenario: &Scenario,
    stage: &Stage,
) -> Result<Option<String>, RealrunError> {
    let StageRole::Serve(Serve { gpu: Some(gpu), .. }) = &stage.role else {
        return Ok(None);
    };
    let Some(device) = gpu.devices.iter().find(|device| device.instance.is_some()) else {
        return Ok(None);
    };
    let host = &scenario.hosts[stage.host];
    let mig = &host.gpus[device.gpu as usize].mig;
    super::mig::uuid(*device, mig)
        .map(Some)
        .map_err(|problem| RealrunError::Unsupported {
            key: scenario
                .source()
                .position(&format!("hosts.{}.gpus.{}.mig", host.key, device.gpu)),
            problem: format!("{problem}; `tandem simulate` runs instances anywhere"),
        })
}

/// Refuses uses of GPUs that nets of candle do not have.
fn net_can_be_run(scenario: &Scenario, stage: &Stage, gpu: &GpuUse) -> Result<(), RealrunError> {
    let refuse = |below: &str, problem: &str| {
        let problem = format!("{problem}; `tandem simulate` runs others");
        refuse(scenario, &key_of(stage, below), &problem)
    };
    if scenario.placement == Placement::Device {
        return refuse("", "a net of candle is not handed over ahead");
    }
    if gpu.processes != 1 {
        return refuse("processes", "candle has one process a device");
    }
    if gpu.launch != LaunchFile::Kernels {
        return refuse("launch", "candle launches the kernels of a net one by one");
    }
    if gpu.d2h != CopyBack::Stream {
        return refuse("d2h", "candle copies results back in the request's stream");
    }
    if gpu.priority != 0 {
        return refuse("priority", "candle's streams have no priority");
    }
    Ok(())
}

/// Refuses work on a GPU that only the engine does.
fn kernels_can_be_run(
    scenario: &Scenario,
    stage: &Stage,
    kernels: &Kernels,
) -> Result<(), RealrunError> {
    for (index, work) in kernels.work.iter().enumerate() {
        let above = format!("stages.{}.serve.kernels.work.{index}", stage.name);
        let refuse = |below: &str, problem: &str| {
            let problem = format!("{problem}; `tandem simulate` runs others");
            refuse(scenario, &format!("{above}{below}"), &problem)
        };
        let kernel = match work {
            GpuWork::Kernel(kernel) => kernel,
            GpuWork::PeerCopy { .. } => {
                return refuse(".peer-copy", "work stays on one GPU on hardware");
            }
        };
        if kernel.registers != 0 {
            let problem = "the compiler chose the registers of the kernel that runs on hardware";
            return refuse(".kernel.registers", problem);
        }
        if kernel.overhead.is_some() {
            let problem = "the time before a kernel's blocks start is the driver's on hardware";
            return refuse(".kernel.overhead", problem);
        }
        if kernel.shared_memory.0 > MOST_SHARED_MEMORY {
            let problem = "a block has at most 48 KiB of shared memory on hardware";
            return refuse(".kernel.shared-memory", problem);
        }
    }
    Ok(())
}

/// Refuses hops over verbs that this build or this machine cannot give.
fn verbs_can_be_measured(scenario: &Scenario) -> Result<(), RealrunError> {
    let refuse = |key: String, problem: String| refuse(scenario, &key, &problem);
    for (index, group) in scenario.groups.rows().iter().enumerate() {
        for (at, hop) in group.path.iter().enumerate() {
            let key = || format!("clients.{index}.path.{at}.over");
            if !hop.over.is_verbs() {
                continue;
            }
            let verbs = hop.verbs.expect("the hop is over verbs");
            if verbs.registration != Registration::Once {
                let problem =
                    "buffers are registered once on hardware; `tandem simulate` runs others";
                let key = format!("clients.{index}.path.{at}.registration");
                return refuse(key, problem.to_owned());
            }
            if verbs.queue_pairs.is_some() {
                let problem = "each connection has a queue pair of its own on hardware; \
                               `tandem simulate` runs shared ones";
                let key = format!("clients.{index}.path.{at}.queue-pairs");
                return refuse(key, problem.to_owned());
            }
            if scenario.placement == Placement::Netns {
                let problem = "network namespaces have no verbs devices; \
                               write `placement = { local = {} }`";
                return refuse(key(), problem.to_owned());
            }
            for host in [hop.from, scenario.stages[hop.to].host] {
                if let Err(error) = Nic::open(&choice(scenario, host)) {
                    let problem = format!("{error}; `tandem simulate` runs RDMA anywhere");
                    return refuse(format!("hosts.{}.nic", scenario.hosts[host].name), problem);
                }
            }
            if verbs.setup == SetUp::RdmaCm
                && let Err(error) = rdma::connection_manager()
            {
                return refuse(
                    format!("clients.{index}.path.{at}.setup"),
                    error.to_string(),
                );
            }
            let stage = &scenario.stages[hop.to];
            if hop.over == Transport::Gdr
                && let StageRole::Serve(Serve {
                    gpu: Some(gpu),
                    work,
                    ..
                }) = &stage.role
            {
                if matches!(work, Work::Net { .. }) {
                    let problem = "candle reads its inputs from memory of its own, which no adapter \
                                   reaches; write `over = \"rdma\"`, or see `tandem simulate`";
                    return refuse(key(), problem.to_owned());
                }
                let key = |below: &str| format!("stages.{}.gpu.{below}", stage.name);
                let several = |of: &str| {
                    format!(
                        "must be 1 over `gdr` on hardware, where a connection's buffer is of one {of} \
                         and kernels of another do not reach it; `tandem simulate` runs others"
                    )
                };
                if gpu.processes > 1 {
                    return refuse(key("processes"), several("process"));
                }
                if gpu.devices.len() > 1 {
                    return refuse(key("devices"), several("device"));
                }
                if gpu.devices[0].instance.is_some() {
                    let problem = "must be a whole GPU over `gdr` on hardware; `tandem simulate` runs \
                                   instances";
                    return refuse(key("devices"), problem.to_owned());
                }
            }
            if hop.over == Transport::Gdr
                && let Err(error) = way_to_gpu(scenario, hop)
            {
                let problem = format!("{error}; `tandem simulate` runs GPUDirect RDMA anywhere");
                return refuse(key(), problem);
            }
        }
    }
    Ok(())
}

/// The error that names the key of what cannot be measured.
fn refuse(scenario: &Scenario, key: &str, problem: &str) -> Result<(), RealrunError> {
    Err(RealrunError::Unsupported {
        key: scenario.source().position(key),
        problem: problem.to_owned(),
    })
}
