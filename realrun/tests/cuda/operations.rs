//! What operations do, and what they take.

use realrun::accelerator::cuda::{
    CudaContext, CudaEvent, CudaStream, DeviceBuffer, Driver, Kernels, PinnedBuffer,
};
use realrun::accelerator::preprocess::Preprocessor;
use realrun::accelerator::{Cause, CudaError};
use schema::scenario::RawImage;

use crate::support::{Standin, assert_close, context, grid};

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

type MakeStream = fn(&CudaContext, i32) -> Result<CudaStream, CudaError>;

/// A copy on the legacy default stream waits for streams in line with it, and for no others.
#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn a_copy_on_the_default_stream_waits_for_streams_in_line() {
    let _standin = Standin::new("");
    let context = context().unwrap();
    let kernels = Kernels::load(&context).unwrap();
    let device = DeviceBuffer::new(&context, 100_000).unwrap();
    let mut pinned = PinnedBuffer::new(&context, 100_000).unwrap();
    let events = [(); 3].map(|()| CudaEvent::new(&context).unwrap());
    // The kernel takes 2 ms, the copy 20 us; the second stream has nothing to do.
    for (make, waits_us) in [
        (CudaStream::in_line as MakeStream, 2000),
        (CudaStream::new as MakeStream, 0),
    ] {
        let streams = [(); 2].map(|()| make(&context, 0).unwrap());
        streams[0]
            .run(|busy| {
                busy.record(&events[0])?;
                kernels.spin(busy, grid(1, 32), 2_000_000, 0, &device)?;
                streams[1].run(|other| {
                    other.copy_out_alone(&mut pinned, &device, 0)?;
                    other.record(&events[1])
                })?;
                kernels.spin(busy, grid(1, 32), 100_000, 0, &device)?;
                busy.record(&events[2])
            })
            .unwrap();
        assert_close(events[1].since(&events[0]).unwrap(), waits_us + 20);
        let last = if waits_us > 0 { 2120 } else { 2100 };
        assert_close(events[2].since(&events[0]).unwrap(), last);
    }
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
    let image = RawImage {
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
