//! What errors say, and that nothing is left behind.

use realrun::accelerator::cuda::{
    CudaAccelerator, CudaEvent, CudaStream, DeviceBuffer, Grid, Kernels, PTX, PeerBuffer,
    PinnedBuffer,
};
use realrun::accelerator::{CudaError, GpuPlace};
use schema::scenario::RawImage;

use crate::support::{CALLS, FREES, Standin, context, grid};

/// Everything that the layer does, once.
fn everything() -> Result<(), CudaError> {
    let accelerator = CudaAccelerator::new(GpuPlace::plain(0))?;
    let context = accelerator.cuda_context().clone();
    // The stand-in's descriptor is no dma-buf, but one that is to be closed.
    PeerBuffer::new(&accelerator, 100)?.dma_buf()?;
    let streams = [
        CudaStream::new(&context, -1)?,
        CudaStream::new(&context, 0)?,
    ];
    let kernels = Kernels::load(&context)?;
    let events = [CudaEvent::new(&context)?, CudaEvent::new(&context)?];
    let device = DeviceBuffer::new(&context, 12 * 64)?;
    let raw = DeviceBuffer::new(&context, 3 * 64)?;
    let mut pinned = PinnedBuffer::new(&context, 64)?;
    let image = RawImage {
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

/// Each call of each function in turn fails once, with an error that ends the context and with one
/// that does not: the failure is told, and nothing is left behind.
#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn nothing_is_left_behind_whichever_call_fails() {
    let standin = Standin::new("dma-buf = true");
    everything().unwrap();
    let n_calls = CALLS.map(|call| standin.count(call));
    for (call, n) in CALLS.into_iter().zip(n_calls) {
        assert!(n > 0, "{call} is not called");
        for after in 0..n {
            for (code, sticky) in [(999, true), (2, false)] {
                standin.configure(&format!(
                    "dma-buf = true\nfailures = [{{ call = '{call}', code = {code}, after = {after}, times = 1, \
                     sticky = {sticky} }}]"
                ));
                let result = everything();
                let when = format!("call {after} of {call} returns {code}: {result:?}");
                match result {
                    Err(CudaError::Call { code: found, .. }) => assert_eq!(found, code, "{when}"),
                    Err(other) => panic!("{when}: {other}"),
                    // What fails while things are freed has nobody to be told to.
                    Ok(()) => assert!(call == "cuCtxSetCurrent" || FREES.contains(&call), "{when}"),
                }
                assert_eq!(standin.held(), [], "{when}");
            }
        }
    }
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn an_error_that_the_driver_does_not_name_is_told_by_its_number() {
    let standin = Standin::new("");
    let failing =
        "failures = [{ call = 'cuGetErrorName', code = 1 }, { call = 'cuMemAlloc_v2', code = 2 }]";
    insta::assert_snapshot!(message(&standin, failing), @"cuMemAlloc of 65536 B on GPU 0 (Tandem stand-in for two-sms): an error without a name (2); the memory is taken: by contexts, by buffers of a large `batch.max`, or by another process (nvidia-smi lists them)");
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
    insta::assert_snapshot!(message(&standin, "memory = '600 B'"), @"cuMemAlloc of 65536 B on GPU 0 (Tandem stand-in for two-sms): CUDA_ERROR_OUT_OF_MEMORY (2); the memory is taken: by contexts, by buffers of a large `batch.max`, or by another process (nvidia-smi lists them)");
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
