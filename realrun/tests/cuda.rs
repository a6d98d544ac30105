//! The CUDA layer on the stand-in: what its operations do and take, what its errors say, and that
//! nothing is left behind, whatever fails.
//!
//! They need the stand-in in place of the driver, as `tests/cuda/run` puts it, one test at a time.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(unsafe_code, reason = "the stand-in is told what to be by C functions")]

use std::ffi::{CString, c_char, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use realrun::accelerator::cuda::{
    CudaAccelerator, CudaContext, CudaEvent, CudaStream, DeviceBuffer, Driver, Grid, Image,
    Kernels, PTX, PinnedBuffer, Wait,
};
use realrun::accelerator::preprocess::Preprocessor;
use realrun::accelerator::{
    Accelerator, AcceleratorError, Cause, ContextSpec, CudaError, GpuPlace, KernelSpec,
    KernelsSpec, Workload,
};
use schema::scenario::{HostMemory, HostWait};

/// The stand-in, for one test at a time; checks that nothing is left when the test has ended.
struct Standin {
    library: *mut c_void,
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());

/// What is counted and must be gone in the end.
const HELD: [&str; 6] = [
    "contexts",
    "streams",
    "events",
    "modules",
    "device-buffers",
    "pinned-buffers",
];

impl Standin {
    /// A stand-in of the part `two-sms`, with a virtual clock, and with these lines more.
    fn new(more: &str) -> Standin {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        Driver::get().expect("the stand-in is in place of the driver: tests/cuda/run");
        // SAFETY: a C string; the library is loaded already.
        let library = unsafe { libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_NOW) };
        assert!(!library.is_null());
        let standin = Standin {
            library,
            _alone: alone,
        };
        standin.configure(more);
        standin
    }

    fn configure(&self, more: &str) {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/profiles");
        let text =
            format!("profile = '{root}/ideal.toml'\npart = 'two-sms'\nclock = 'virtual'\n{more}\n");
        let text = CString::new(text).unwrap();
        // SAFETY: the symbol is the function of this type in the stand-in's `control.rs`.
        let configure: unsafe extern "C" fn(*const c_char) -> bool =
            unsafe { std::mem::transmute(self.symbol(c"standin_configure")) };
        // SAFETY: a C string.
        assert!(unsafe { configure(text.as_ptr()) });
    }

    fn count(&self, what: &str) -> u64 {
        let what = CString::new(what).unwrap();
        // SAFETY: as above.
        let count: unsafe extern "C" fn(*const c_char) -> u64 =
            unsafe { std::mem::transmute(self.symbol(c"standin_count")) };
        // SAFETY: a C string.
        unsafe { count(what.as_ptr()) }
    }

    fn symbol(&self, name: &std::ffi::CStr) -> *mut c_void {
        // SAFETY: the library is loaded, the name a C string.
        let symbol = unsafe { libc::dlsym(self.library, name.as_ptr()) };
        assert!(!symbol.is_null(), "this is not the stand-in: {name:?}");
        symbol
    }

    /// Everything that is held, for messages.
    fn held(&self) -> Vec<(&'static str, u64)> {
        let all = HELD.map(|what| (what, self.count(what)));
        all.into_iter().filter(|(_, n)| *n > 0).collect()
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.held(), [], "nothing is left behind");
        }
    }
}

fn context() -> Result<CudaContext, CudaError> {
    CudaContext::new(&Driver::get()?.device(0)?, Wait::Block)
}

fn grid(blocks: u32, threads: u32) -> Grid {
    Grid {
        blocks,
        threads,
        shared_memory: 0,
    }
}

/// Event times are 32-bit milliseconds.
fn assert_close(found: Duration, expected_us: u64) {
    let expected = Duration::from_micros(expected_us);
    let off = found.abs_diff(expected);
    assert!(
        off < Duration::from_nanos(10),
        "{found:?} is not {expected:?}"
    );
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn a_device_says_what_it_is() {
    let _standin = Standin::new("devices = 2\nmemory = '1 GiB'");
    let driver = Driver::get().unwrap();
    assert_eq!(driver.version, 12_040);
    assert_eq!(driver.n_devices().unwrap(), 2);
    let device = driver.device(1).unwrap();
    assert_eq!(device.describe(), "GPU 1 (Tandem stand-in for two-sms)");
    assert_eq!(device.n_sms().unwrap(), 2);
    assert_eq!(device.threads_per_sm().unwrap(), 2048);
    assert_eq!(device.n_copy_engines().unwrap(), 2);
    assert_eq!(device.memory().unwrap(), 1 << 30);
    let all = realrun::accelerator::cuda::survey().unwrap();
    insta::assert_snapshot!(all[1], @"GPU 1 (Tandem stand-in for two-sms), 2 SMs, 1.0 GiB, 2 copy engines, driver 0.0 (stand-in), SM clock 1000 of 1000 MHz, memory clock 1000 of 1000 MHz");
    insta::assert_snapshot!(driver.device(2).unwrap_err(), @"there is no GPU 2: the driver shows 2 of them to this process; is CUDA_VISIBLE_DEVICES set?");
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn bytes_go_there_and_back() {
    let _standin = Standin::new("");
    let context = context().unwrap();
    let stream = CudaStream::new(&context, 0).unwrap();
    let device = DeviceBuffer::new(&context, 1000).unwrap();
    let mut pinned = PinnedBuffer::new(&context, 1000).unwrap();
    assert!(pinned.iter().all(|byte| *byte == 0));
    for (index, byte) in pinned.iter_mut().enumerate() {
        *byte = (index % 251) as u8;
    }
    let pageable = [7_u8; 10];
    let mut back = vec![0_u8; 1000];
    stream
        .run(|on| {
            on.copy_in(&device, 0, &pinned)?;
            on.copy_in(&device, 20, &pageable)?;
            on.copy_out(&mut back, &device, 0)
        })
        .unwrap();
    let mut expected = pinned.to_vec();
    expected[20..30].fill(7);
    assert_eq!(back, expected);
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
#[should_panic(expected = "11 bytes from byte 990 of a buffer of 1000")]
fn a_copy_that_does_not_fit_is_refused_before_the_driver_sees_it() {
    let _standin = Standin::new("");
    let context = context().unwrap();
    let stream = CudaStream::new(&context, 0).unwrap();
    let device = DeviceBuffer::new(&context, 1000).unwrap();
    let _refused = stream.run(|on| on.copy_in(&device, 990, &[0; 11]));
}

/// A copy of the part takes 10 us, and moves 10 GB/s from and to pinned memory.
#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn events_tell_what_copies_and_kernels_take() {
    let _standin = Standin::new("");
    let context = context().unwrap();
    let stream = CudaStream::new(&context, 0).unwrap();
    let kernels = Kernels::load(&context).unwrap();
    let events = [(); 4].map(|()| CudaEvent::new(&context).unwrap());
    let device = DeviceBuffer::new(&context, 10_000_000).unwrap();
    let mut pinned = PinnedBuffer::new(&context, 10_000_000).unwrap();
    let mut out = PinnedBuffer::new(&context, 1_000_000).unwrap();
    pinned[0] = 1;
    stream
        .run(|on| {
            on.record(&events[0])?;
            on.copy_in(&device, 0, &pinned)?;
            on.record(&events[1])?;
            // Two multiprocessors hold two blocks of 1024 threads each, so five take two waves.
            kernels.spin(on, grid(5, 1024), 250_000, 0, &device)?;
            on.record(&events[2])?;
            on.copy_out(&mut out, &device, 0)?;
            on.record(&events[3])
        })
        .unwrap();
    let took = |index: usize| events[index + 1].since(&events[index]).unwrap();
    assert_close(took(0), 1010);
    assert_close(took(1), 500);
    assert_close(took(2), 110);
    assert_close(events[3].since(&events[0]).unwrap(), 1620);
    assert_eq!(out[0], 1);
    // 4 GB/s from and to pageable memory.
    let mut pageable = vec![2; 1_000_000];
    stream
        .run(|on| {
            on.record(&events[0])?;
            on.copy_in(&device, 0, &pageable[..])?;
            on.record(&events[1])
        })
        .unwrap();
    assert_close(took(0), 260);
    stream
        .run(|on| {
            on.record(&events[2])?;
            on.copy_out(&mut pageable, &device, 1)?;
            on.record(&events[3])
        })
        .unwrap();
    assert_close(took(2), 260);
    assert_eq!([pageable[0], pageable[999_999]], [2, 0]);
}

/// Slices of 1 ms and switches of 0.1 ms, as the part has them.
#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn contexts_take_turns_and_streams_of_one_do_not() {
    let _standin = Standin::new("");
    let run = |contexts: [&CudaContext; 2]| {
        let streams = contexts.map(|context| CudaStream::new(context, 0).unwrap());
        let kernels = contexts.map(|context| Kernels::load(context).unwrap());
        let buffers = contexts.map(|context| DeviceBuffer::new(context, 16).unwrap());
        let events = contexts.map(|context| [(); 2].map(|()| CudaEvent::new(context).unwrap()));
        streams[0]
            .run(|first| {
                first.record(&events[0][0])?;
                kernels[0].spin(first, grid(2, 1024), 2_500_000, 0, &buffers[0])?;
                first.record(&events[0][1])?;
                streams[1].run(|second| {
                    second.record(&events[1][0])?;
                    kernels[1].spin(second, grid(2, 1024), 1_500_000, 0, &buffers[1])?;
                    second.record(&events[1][1])
                })
            })
            .unwrap();
        events.map(|[start, end]| end.since(&start).unwrap())
    };
    let (one, other) = (context().unwrap(), context().unwrap());
    let both = run([&one, &one]);
    assert_close(both[0], 2500);
    assert_close(both[1], 1500);
    let turns = run([&one, &other]);
    // Turns of one, other, one, other (the rest of 0.5 ms), one (the rest of 0.5 ms).
    assert_close(turns[1], 1000 + 100 + 1000 + 100 + 1000 + 100 + 500);
    assert_close(turns[0], 3800 + 100 + 500);
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn blocks_of_the_stream_with_the_greater_priority_go_first() {
    let _standin = Standin::new("");
    let context = context().unwrap();
    assert_eq!(CudaStream::priorities(&context).unwrap(), (0, -2));
    let streams = [0, -9].map(|priority| CudaStream::new(&context, priority).unwrap());
    assert_eq!(streams[1].priority().unwrap(), -2);
    let kernels = Kernels::load(&context).unwrap();
    let device = DeviceBuffer::new(&context, 16).unwrap();
    let events = [(); 3].map(|()| CudaEvent::new(&context).unwrap());
    streams[0]
        .run(|low| {
            low.record(&events[0])?;
            kernels.spin(low, grid(8, 1024), 100_000, 0, &device)?;
            low.record(&events[1])?;
            streams[1].run(|high| {
                kernels.spin(high, grid(4, 1024), 100_000, 0, &device)?;
                high.record(&events[2])
            })
        })
        .unwrap();
    // The second wave of the first kernel waits.
    assert_close(events[2].since(&events[0]).unwrap(), 200);
    assert_close(events[1].since(&events[0]).unwrap(), 300);
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn images_become_the_tensors_that_the_cpu_makes_of_them() {
    let _standin = Standin::new("");
    let context = context().unwrap();
    let stream = CudaStream::new(&context, 0).unwrap();
    let kernels = Kernels::load(&context).unwrap();
    let (width, height, side) = (23, 17, 32);
    let pixels: Vec<u8> = (0..2 * 3 * width * height)
        .map(|index| (index * 31 % 256) as u8)
        .collect();
    let from = DeviceBuffer::new(&context, pixels.len()).unwrap();
    let to = DeviceBuffer::new(&context, 2 * 12 * side * side).unwrap();
    let mut bytes = vec![0; to.len()];
    let image = Image {
        width: width as u32,
        height: height as u32,
        side: side as u32,
    };
    stream
        .run(|on| {
            on.copy_in(&from, 0, &pixels)?;
            kernels.preprocess(on, image, 2, &from, &to)?;
            on.copy_out(&mut bytes, &to, 0)
        })
        .unwrap();
    let found = bytes
        .chunks_exact(4)
        .map(|value| f32::from_le_bytes(value.try_into().unwrap()));
    let mut expected = vec![0.0; 2 * 3 * side * side];
    let tensors = expected.chunks_exact_mut(3 * side * side);
    for (tensor, image) in tensors.zip(pixels.chunks_exact(3 * width * height)) {
        Preprocessor::new(width, height, side).run(image, tensor);
    }
    for (found, expected) in found.zip(expected) {
        assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
    }
}

/// Everything that the layer does, once.
fn everything() -> Result<(), CudaError> {
    let context = context()?;
    let streams = [
        CudaStream::new(&context, -1)?,
        CudaStream::new(&context, 0)?,
    ];
    let kernels = Kernels::load(&context)?;
    let events = [CudaEvent::new(&context)?, CudaEvent::new(&context)?];
    let device = DeviceBuffer::new(&context, 12 * 64)?;
    let raw = DeviceBuffer::new(&context, 3 * 64)?;
    let mut pinned = PinnedBuffer::new(&context, 64)?;
    let image = Image {
        width: 8,
        height: 8,
        side: 8,
    };
    for stream in &streams {
        let out = &mut pinned[..];
        stream.run(|on| {
            on.record(&events[0])?;
            on.copy_in(&raw, 0, &[1; 64])?;
            kernels.preprocess(on, image, 1, &raw, &device)?;
            kernels.spin(on, grid(1, 32), 1000, 16, &device)?;
            on.copy_out(out, &device, 0)?;
            on.record(&events[1])
        })?;
        events[1].since(&events[0])?;
        stream.priority()?;
    }
    CudaStream::priorities(&context)?;
    context.memory()?;
    context.synchronize()
}

fn place(host_memory: HostMemory) -> GpuPlace {
    GpuPlace {
        device: 0,
        priority: 0,
        host_memory,
        wait: HostWait::Spin,
    }
}

/// Two kernels, the second with two waves of a batch of two.
fn two_kernels() -> ContextSpec {
    let kernel = |blocks, time_ns| KernelSpec {
        blocks,
        threads: 1024,
        shared_memory: 0,
        time_ns,
        dram_bytes: 0,
    };
    ContextSpec {
        workload: Workload::Kernels(KernelsSpec {
            kernels: vec![kernel(2, 100_000), kernel(3, 200_000)],
            max_payload_bytes: 1_000_000,
            output_bytes: 100_000,
        }),
        max_batch: 2,
        threads: 1,
    }
}

/// A batch of two, and what each of its phases took, in microseconds.
fn batch_of_two(host_memory: HostMemory) -> Result<Vec<Vec<u128>>, AcceleratorError> {
    let accelerator = CudaAccelerator::new(place(host_memory))?;
    let mut context = accelerator.context(&two_kernels())?;
    let mut took = Vec::new();
    let mut note = |context: &dyn realrun::accelerator::Context| {
        let times = context.device_times().expect("a GPU has a clock");
        took.push(times.ends.iter().map(Duration::as_micros).collect());
    };
    for (slot, payload) in [vec![1; 1_000_000], vec![]].iter().enumerate() {
        context.copy_in(slot, payload)?;
        note(&*context);
    }
    context.infer(2)?;
    note(&*context);
    let mut reply = vec![9; 100_001];
    for slot in 0..2 {
        assert_eq!(context.copy_out(slot, &mut reply)?, 100_000);
        note(&*context);
    }
    assert_eq!([reply[99_999], reply[100_000]], [0, 9]);
    Ok(took)
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn an_inference_context_says_what_each_phase_took() {
    let standin = Standin::new("");
    // Copies of 10 us and 10 GB/s, none of an empty payload; the first kernel has one wave of a
    // batch of two, the second two.
    assert_eq!(
        batch_of_two(HostMemory::Pinned).unwrap(),
        [vec![110], vec![], vec![100, 500], vec![20], vec![20]]
    );
    assert_eq!(standin.held(), []);
    // 4 GB/s.
    assert_eq!(
        batch_of_two(HostMemory::Pageable).unwrap(),
        [vec![260], vec![], vec![100, 500], vec![35], vec![35]]
    );
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn an_accelerator_warns_of_what_it_is_not() {
    let _standin = Standin::new("");
    let accelerator = CudaAccelerator::new(GpuPlace {
        priority: -9,
        ..place(HostMemory::Pinned)
    });
    let warnings = accelerator.unwrap().describe().warnings;
    insta::assert_snapshot!(warnings[0], @"GPU 0 (Tandem stand-in for two-sms) stands in for a GPU and its driver: its times are those that it was told, and say nothing about any GPU");
    insta::assert_snapshot!(warnings[1], @"GPU 0 (Tandem stand-in for two-sms) has stream priorities from -2 to 0, so `priority` -9 is cut");
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn work_that_is_not_for_gpus_and_grids_that_are_too_large_are_refused() {
    let _standin = Standin::new("");
    let accelerator = CudaAccelerator::new(place(HostMemory::Pinned)).unwrap();
    let refused = |workload| {
        let spec = ContextSpec {
            workload,
            ..two_kernels()
        };
        accelerator.context(&spec).err().unwrap().to_string()
    };
    let Workload::Kernels(mut kernels) = two_kernels().workload else {
        unreachable!("it is of kernels");
    };
    kernels.kernels[1].blocks = 1 << 31;
    insta::assert_snapshot!(refused(Workload::Kernels(kernels)), @"kernel 1 has 2147483648 blocks a request, too many for a batch of 2");
    let synthetic = realrun::accelerator::SyntheticSpec {
        preprocess: Duration::ZERO,
        infer_fixed: Duration::ZERO,
        infer_per_request: Duration::ZERO,
        max_payload_bytes: 1,
        output_bytes: 1,
    };
    insta::assert_snapshot!(refused(Workload::Synthetic(synthetic)), @"back end `cuda` does not run this work; the cores run nets, GPUs run kernels");
}

/// Each call that a batch makes fails in turn.
#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn an_inference_context_leaves_nothing_behind_whichever_call_fails() {
    let standin = Standin::new("");
    batch_of_two(HostMemory::Pinned).unwrap();
    let calls = CALLS.into_iter().filter(|call| *call != "cuMemFree_v2");
    let n_calls: Vec<_> = calls.map(|call| (call, standin.count(call))).collect();
    for (call, n) in n_calls {
        for after in 0..n {
            standin.configure(&format!(
                "failures = [{{ call = '{call}', code = 719, after = {after}, sticky = true }}]"
            ));
            let result = batch_of_two(HostMemory::Pinned);
            let when = format!("call {after} of {call}: {result:?}");
            assert!(
                matches!(
                    &result,
                    Err(AcceleratorError::Cuda(CudaError::Call { code: 719, .. }))
                ) || (result.is_ok() && call == "cuCtxSetCurrent"),
                "{when}"
            );
            assert_eq!(standin.held(), [], "{when}");
        }
    }
}

/// The functions that the layer calls, but for those that free.
const CALLS: [&str; 23] = [
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuCtxCreate_v2",
    "cuCtxPopCurrent_v2",
    "cuCtxSetCurrent",
    "cuCtxSynchronize",
    "cuCtxGetStreamPriorityRange",
    "cuMemGetInfo_v2",
    "cuMemAlloc_v2",
    "cuMemHostAlloc",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuModuleLoadData",
    "cuModuleGetFunction",
    "cuLaunchKernel",
    "cuStreamCreateWithPriority",
    "cuStreamGetPriority",
    "cuStreamSynchronize",
    "cuEventCreate",
    "cuEventRecord",
    "cuEventElapsedTime",
    "cuMemFree_v2",
];

/// Each call of each function in turn fails once, with an error that ends the context and with one
/// that does not: the failure is told, and nothing is left behind.
#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn nothing_is_left_behind_whichever_call_fails() {
    let standin = Standin::new("");
    everything().unwrap();
    let n_calls = CALLS.map(|call| standin.count(call));
    for (call, n) in CALLS.into_iter().zip(n_calls) {
        assert!(n > 0, "{call} is not called");
        for after in 0..n {
            for (code, sticky) in [(999, true), (2, false)] {
                standin.configure(&format!(
                    "failures = [{{ call = '{call}', code = {code}, after = {after}, times = 1, \
                     sticky = {sticky} }}]"
                ));
                let result = everything();
                let when = format!("call {after} of {call} returns {code}: {result:?}");
                match result {
                    Err(CudaError::Call { code: found, .. }) => assert_eq!(found, code, "{when}"),
                    Err(other) => panic!("{when}: {other}"),
                    // What fails while things are freed has nobody to be told to.
                    Ok(()) => assert!(matches!(call, "cuCtxSetCurrent" | "cuMemFree_v2"), "{when}"),
                }
                assert_eq!(standin.held(), [], "{when}");
            }
        }
    }
}

/// The message of what `everything` fails with.
fn message(standin: &Standin, more: &str) -> String {
    standin.configure(more);
    let error = everything().unwrap_err();
    assert_eq!(standin.held(), [], "{error}");
    error.to_string()
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn errors_name_the_call_the_device_and_the_usual_cause() {
    let standin = Standin::new("");
    let fail = |call: &str, code: u32| {
        let failure = format!("failures = [{{ call = '{call}', code = {code}, sticky = true }}]");
        message(&standin, &failure)
    };
    insta::assert_snapshot!(message(&standin, "memory = '600 B'"), @"cuMemAlloc of 768 B on GPU 0 (Tandem stand-in for two-sms): CUDA_ERROR_OUT_OF_MEMORY (2); the memory is taken: by contexts, by buffers of a large `batch.max`, or by another process (nvidia-smi lists them)");
    insta::assert_snapshot!(fail("cuStreamSynchronize", 700), @"cuStreamSynchronize on GPU 0 (Tandem stand-in for two-sms): CUDA_ERROR_ILLEGAL_ADDRESS (700); a kernel or copy reached memory that is not its own; compute-sanitizer names the instruction");
    insta::assert_snapshot!(fail("cuMemcpyHtoDAsync_v2", 999), @"cuMemcpyHtoDAsync of 64 B on GPU 0 (Tandem stand-in for two-sms): CUDA_ERROR_UNKNOWN (999); the device is lost to this process: look for `Xid` in the kernel's log (dmesg), and measure again; what was recorded until now is kept");
    insta::assert_snapshot!(fail("cuStreamSynchronize", 719), @"cuStreamSynchronize on GPU 0 (Tandem stand-in for two-sms): CUDA_ERROR_LAUNCH_FAILED (719); the device is lost to this process: look for `Xid` in the kernel's log (dmesg), and measure again; what was recorded until now is kept");
    insta::assert_snapshot!(fail("cuModuleLoadData", 222), @"cuModuleLoadData on GPU 0 (Tandem stand-in for two-sms): CUDA_ERROR_UNSUPPORTED_PTX_VERSION (222); the driver cannot translate the program's kernels for this device: it is older than CUDA 11.0, or the device than compute capability 7.0");
    insta::assert_snapshot!(fail("cuCtxCreate_v2", 805), @"cuCtxCreate on GPU 0 (Tandem stand-in for two-sms): CUDA_ERROR_MPS_CONNECTION_FAILED (805); another process has the device for itself, or the Multi-Process Service does not answer; see the compute mode in nvidia-smi");
    insta::assert_snapshot!(fail("cuLaunchKernel", 701), @"cuLaunchKernel of tandem_preprocess with 1 blocks of 256 threads and 0 B of shared memory on GPU 0 (Tandem stand-in for two-sms): CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES (701); the kernel's blocks ask for more threads or shared memory than a multiprocessor has; make `threads` or `shared-memory` smaller");
    insta::assert_snapshot!(fail("cuDeviceGetCount", 3), @"cuDeviceGetCount on this machine: CUDA_ERROR_NOT_INITIALIZED (3); the driver in the kernel does not run or does not fit its library; nvidia-smi says which, and after an update the machine has to start again");
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn modules_that_are_not_the_programs_are_refused() {
    let _standin = Standin::new("");
    let context = context().unwrap();
    let error = |ptx: &str| Kernels::from_ptx(&context, ptx).unwrap_err().to_string();
    insta::assert_snapshot!(error("not PTX"), @"cuModuleLoadData on GPU 0 (Tandem stand-in for two-sms): CUDA_ERROR_INVALID_PTX (218); the driver cannot translate the program's kernels for this device: it is older than CUDA 11.0, or the device than compute capability 7.0");
    insta::assert_snapshot!(error(&PTX.replace("tandem_preprocess", "other")), @"cuModuleGetFunction of tandem_preprocess on GPU 0 (Tandem stand-in for two-sms): CUDA_ERROR_NOT_FOUND (500); the module is not the program's own");
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn blocks_that_no_multiprocessor_holds_are_refused_and_the_context_lives_on() {
    let _standin = Standin::new("");
    let context = context().unwrap();
    let stream = CudaStream::new(&context, 0).unwrap();
    let kernels = Kernels::load(&context).unwrap();
    let device = DeviceBuffer::new(&context, 16).unwrap();
    let launch = |shared_memory| {
        let grid = Grid {
            shared_memory,
            ..grid(1, 256)
        };
        stream.run(|on| kernels.spin(on, grid, 1000, 0, &device))
    };
    insta::assert_snapshot!(launch(50_000).unwrap_err(), @"cuLaunchKernel of tandem_spin with 1 blocks of 256 threads and 50000 B of shared memory on GPU 0 (Tandem stand-in for two-sms): CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES (701); the kernel's blocks ask for more threads or shared memory than a multiprocessor has; make `threads` or `shared-memory` smaller");
    launch(1024).unwrap();
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn an_event_that_has_not_come_to_pass_has_no_time() {
    let _standin = Standin::new("");
    let context = context().unwrap();
    let stream = CudaStream::new(&context, 0).unwrap();
    let kernels = Kernels::load(&context).unwrap();
    let device = DeviceBuffer::new(&context, 16).unwrap();
    let events = [(); 2].map(|()| CudaEvent::new(&context).unwrap());
    let error = stream
        .run(|on| {
            on.record(&events[0])?;
            kernels.spin(on, grid(1, 32), 1000, 0, &device)?;
            on.record(&events[1])?;
            events[1].since(&events[0])
        })
        .unwrap_err();
    assert!(
        matches!(
            error,
            CudaError::Call {
                cause: Cause::NotReady,
                ..
            }
        ),
        "{error}"
    );
    assert_close(events[1].since(&events[0]).unwrap(), 1);
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn what_was_queued_has_ended_when_a_panic_passes() {
    let standin = Standin::new("");
    let context = context().unwrap();
    let stream = CudaStream::new(&context, 0).unwrap();
    let device = DeviceBuffer::new(&context, 1 << 20).unwrap();
    let mut pinned = PinnedBuffer::new(&context, 1 << 20).unwrap();
    let before = standin.count("cuStreamSynchronize");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        stream.run(|on| {
            on.copy_out(&mut pinned, &device, 0)?;
            if standin.count("streams") == 1 {
                panic!("while a copy is under way");
            }
            Ok(())
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(standin.count("cuStreamSynchronize"), before + 1);
}
