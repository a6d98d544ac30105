//! The accelerator: inference contexts that run kernels.

use std::time::Duration;

use rand::{Rng, RngExt};
use realrun::accelerator::cuda::{CudaAccelerator, CudaStream, DeviceBuffer, Kernels, PeerBuffer};
use realrun::accelerator::{
    Accelerator, AcceleratorError, Context, ContextSpec, CudaError, GpuPlace, InPlace, KernelSpec,
    KernelsSpec, SyntheticSpec, Workload, folded,
};
use schema::random::{Seed, stream};
use schema::scenario::{CopyBack, HostMemory, HostWait, LaunchFile, RawImage};

use crate::support::{CALLS, FREES, GRAPH_CALLS, Standin};

fn place(host_memory: HostMemory) -> GpuPlace {
    GpuPlace {
        host_memory,
        wait: HostWait::Spin,
        ..GpuPlace::plain(0)
    }
}

/// Kernels as a graph, and results by the legacy default stream.
fn graph() -> GpuPlace {
    GpuPlace {
        launch: LaunchFile::Graph,
        d2h: CopyBack::DefaultStream,
        ..place(HostMemory::Pinned)
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
            raw: None,
        }),
        max_batch: 2,
        threads: 1,
    }
}

/// A batch of two, and what each of its phases took, in microseconds.
fn batch_of_two(place: GpuPlace) -> Result<Vec<Vec<u128>>, AcceleratorError> {
    let accelerator = CudaAccelerator::new(place)?;
    let mut context = accelerator.context(&two_kernels())?;
    let mut took = Vec::new();
    let mut note = |context: &dyn Context| {
        let times = context.device_times().expect("a GPU has a clock");
        took.push(times.ends.iter().map(Duration::as_micros).collect());
    };
    for (slot, payload) in [vec![1; 1_000_000], vec![]].iter().enumerate() {
        context.copy_in(slot, payload)?;
        note(&*context);
    }
    context.infer(2)?;
    note(&*context);
    for (slot, payload) in [&[1_u8; 1_000_000][..], &[]].into_iter().enumerate() {
        let mut reply = vec![9; 100_001];
        assert_eq!(context.copy_out(slot, &mut reply)?, 100_000);
        note(&*context);
        assert!(reply[..100_000] == folded(payload, 100_000), "slot {slot}");
        assert_eq!(reply[100_000], 9);
    }
    Ok(took)
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn an_inference_context_says_what_each_phase_took() {
    let standin = Standin::new("");
    // Copies of 10 us and 10 GB/s, none of an empty payload; the first kernel has one wave of a
    // batch of two, the second two.
    assert_eq!(
        batch_of_two(place(HostMemory::Pinned)).unwrap(),
        [vec![110], vec![], vec![100, 500], vec![20], vec![20]]
    );
    assert_eq!(standin.held(), []);
    // Of a graph there is one end; nothing else is under way for which a copy back would wait.
    assert_eq!(
        batch_of_two(graph()).unwrap(),
        [vec![110], vec![], vec![500], vec![20], vec![20]]
    );
    assert_eq!(standin.held(), []);
    // 4 GB/s.
    assert_eq!(
        batch_of_two(place(HostMemory::Pageable)).unwrap(),
        [vec![260], vec![], vec![100, 500], vec![35], vec![35]]
    );
}

/// Net `kernels` of a batch of three: requests of these lengths, of which the second lies in memory of
/// its own. Checks every reply.
fn replies_are_right(n_kernels: usize, lengths: [usize; 3], output_bytes: usize, seed: u64) {
    let accelerator = CudaAccelerator::new(place(HostMemory::Pinned)).unwrap();
    let Workload::Kernels(two) = two_kernels().workload else {
        unreachable!("it is of kernels");
    };
    let mut context = accelerator
        .context(&ContextSpec {
            workload: Workload::Kernels(KernelsSpec {
                kernels: vec![two.kernels[1]; n_kernels],
                max_payload_bytes: *lengths.iter().max().unwrap(),
                output_bytes,
                raw: None,
            }),
            max_batch: 3,
            threads: 1,
        })
        .unwrap();
    let mut rng = stream(Seed(seed), "requests");
    let requests = lengths.map(|length| {
        let mut bytes = vec![0; length];
        rng.fill_bytes(&mut bytes);
        bytes
    });
    let input = PeerBuffer::new(&accelerator, lengths[1]).unwrap();
    let output = PeerBuffer::new(&accelerator, output_bytes).unwrap();
    let cuda = CudaStream::new(accelerator.cuda_context(), 0).unwrap();
    cuda.run(|on| on.copy_in(input.buffer(), 0, &requests[1]))
        .unwrap();
    let in_place = InPlace {
        input: &input,
        input_bytes: lengths[1],
        output: &output,
    };
    for slot in [0, 2] {
        context.copy_in(slot, &requests[slot]).unwrap();
    }
    context
        .infer_in_place(&[None, Some(in_place), None])
        .unwrap();
    for (slot, request) in requests.iter().enumerate() {
        let mut reply = vec![0; output_bytes];
        if slot == 1 {
            cuda.run(|on| on.copy_out(&mut reply, output.buffer(), 0))
                .unwrap();
        } else {
            context.copy_out(slot, &mut reply).unwrap();
        }
        let what = format!("slot {slot} of {n_kernels} kernels, {lengths:?} to {output_bytes}");
        assert!(reply == folded(request, output_bytes), "{what}");
    }
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn kernels_read_requests_and_write_replies_wherever_they_lie() {
    let _standin = Standin::new("");
    // Around words, sums and buffers of no bytes; then any.
    replies_are_right(2, [0, 1, 4095], 4096, 0);
    replies_are_right(1, [4096, 4097, 3], 5, 1);
    replies_are_right(3, [8191, 70_001, 0], 10_003, 2);
    replies_are_right(2, [100, 0, 100], 1, 3);
    replies_are_right(2, [100, 7, 1], 0, 4);
    replies_are_right(1, [0, 0, 0], 100, 5);
    let mut rng = stream(Seed(6), "lengths");
    for seed in 7..20 {
        let lengths = [(); 3].map(|()| rng.random_range(0..50_000));
        replies_are_right(
            rng.random_range(1..4),
            lengths,
            rng.random_range(0..20_000),
            seed,
        );
    }
}

/// The tensor that the device makes of an image.
fn tensor(accelerator: &CudaAccelerator, image: RawImage, pixels: &[u8]) -> Vec<u8> {
    let context = accelerator.cuda_context();
    let stream = CudaStream::new(context, 0).unwrap();
    let kernels = Kernels::load(context).unwrap();
    let from = DeviceBuffer::new(context, image.raw_bytes().as_usize()).unwrap();
    let to = DeviceBuffer::new(context, image.tensor_bytes().as_usize()).unwrap();
    let mut tensor = vec![0; image.tensor_bytes().as_usize()];
    stream
        .run(|on| {
            on.copy_in(&from, 0, pixels)?;
            kernels.preprocess(on, image, 1, &from, &to)?;
            on.copy_out(&mut tensor, &to, 0)
        })
        .unwrap();
    tensor
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn kernels_read_the_tensors_of_images_wherever_those_lie() {
    let standin = Standin::new("");
    let accelerator = CudaAccelerator::new(place(HostMemory::Pinned)).unwrap();
    let Workload::Kernels(two) = two_kernels().workload else {
        unreachable!("it is of kernels");
    };
    // Of 1035 bytes, so that the second slot's are not where the first one's end.
    let image = RawImage {
        width: 23,
        height: 15,
        side: 32,
    };
    let spec = |max_payload_bytes| ContextSpec {
        workload: Workload::Kernels(KernelsSpec {
            max_payload_bytes,
            output_bytes: 5000,
            raw: Some(image),
            ..two.clone()
        }),
        max_batch: 3,
        threads: 1,
    };
    let wrong = accelerator.context(&spec(1036)).err().unwrap();
    insta::assert_snapshot!(wrong, @"payload has 1036 bytes, a raw image of 23x15 has 1035");
    let mut context = accelerator.context(&spec(1035)).unwrap();
    let images: Vec<Vec<u8>> = (0..3_usize)
        .map(|n| (0..1035).map(|at| ((n + 3) * at % 251) as u8).collect())
        .collect();
    let input = PeerBuffer::new(&accelerator, 1035).unwrap();
    let output = PeerBuffer::new(&accelerator, 5000).unwrap();
    let cuda = CudaStream::new(accelerator.cuda_context(), 0).unwrap();
    cuda.run(|on| on.copy_in(input.buffer(), 0, &images[1]))
        .unwrap();
    let in_place = InPlace {
        input: &input,
        input_bytes: 1035,
        output: &output,
    };
    context.copy_in(0, &images[0]).unwrap();
    context.copy_in(2, &images[2]).unwrap();
    let places = [None, Some(in_place), None];
    context.preprocess_in_place(&places).unwrap();
    // 1024 pixels are 4 blocks, which the device runs at once, of 5 us.
    let times = context.device_times().unwrap();
    let took: Vec<u128> = times.ends.iter().map(Duration::as_micros).collect();
    assert_eq!(took, [5, 10, 15]);
    context.infer_in_place(&places).unwrap();
    for (slot, pixels) in images.iter().enumerate() {
        let mut reply = vec![0; 5000];
        if slot == 1 {
            cuda.run(|on| on.copy_out(&mut reply, output.buffer(), 0))
                .unwrap();
        } else {
            context.copy_out(slot, &mut reply).unwrap();
        }
        let expected = folded(&tensor(&accelerator, image, pixels), 5000);
        assert!(reply == expected, "slot {slot}");
    }
    // Part of an image is none.
    context.copy_in(1, &images[1][..1000]).unwrap();
    let short = context.preprocess(2).unwrap_err();
    insta::assert_snapshot!(short, @"payload has 1000 bytes, a raw image of 23x15 has 1035");
    drop((context, cuda, input, output, accelerator));
    assert_eq!(standin.held(), []);
}

#[test]
#[ignore = "needs the stand-in in place of the driver: tests/cuda/run"]
fn kernels_without_effect_are_seen() {
    let _standin = Standin::new("effects = false");
    let wrong = std::panic::catch_unwind(|| replies_are_right(2, [100, 100, 100], 100, 0));
    assert!(wrong.is_err());
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
    let synthetic = SyntheticSpec {
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
    for place in [place(HostMemory::Pinned), graph()] {
        leaves_nothing_behind(&standin, place);
    }
}

fn leaves_nothing_behind(standin: &Standin, place: GpuPlace) {
    standin.configure("");
    batch_of_two(place).unwrap();
    let calls = CALLS.into_iter().chain(GRAPH_CALLS);
    let calls = calls.filter(|call| !FREES.contains(call));
    let n_calls: Vec<_> = calls.map(|call| (call, standin.count(call))).collect();
    for (call, n) in n_calls {
        for after in 0..n {
            standin.configure(&format!(
                "failures = [{{ call = '{call}', code = 719, after = {after}, sticky = true }}]"
            ));
            let result = batch_of_two(place);
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
