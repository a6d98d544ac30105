//! Messages to and from memory of a GPU over real verbs, between two devices of a machine.
//!
//! They need the devices `rxe0` and `rxe1` and the stand-in for NVIDIA's driver that the guest of
//! `tests/rdma/run` has.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../verbs/ends.rs"]
#[expect(dead_code, reason = "the tests of verbs use more of it")]
mod ends;

use std::sync::Arc;

use rand::{Rng, RngExt};
use realrun::accelerator::cuda::{CudaAccelerator, CudaStream, PeerBuffer};
use realrun::accelerator::{
    Accelerator, ContextSpec, GpuPlace, InPlace, KernelSpec, KernelsSpec, Workload, folded,
};
use realrun::transport::Connection;
use realrun::transport::rdma::Relay;
use schema::random::{Seed, stream};
use schema::run::content_hash;
use schema::scenario::Verbs;

use ends::{BUFFERS, Ends, MIB, Over, Pairs, every, fill, header, nic, on};

fn gpu() -> Arc<CudaAccelerator> {
    Arc::new(CudaAccelerator::new(GpuPlace::plain(0)).unwrap())
}

/// Two kernels of a batch of one, whose replies are so long.
fn two_kernels(output_bytes: usize) -> ContextSpec {
    let kernel = KernelSpec {
        blocks: 2,
        threads: 512,
        shared_memory: 0,
        time_ns: 10_000,
        dram_bytes: 0,
    };
    ContextSpec {
        workload: Workload::Kernels(KernelsSpec {
            kernels: vec![kernel; 2],
            max_payload_bytes: BUFFERS.request,
            output_bytes,
            raw: None,
        }),
        max_batch: 1,
        threads: 1,
    }
}

/// An end on `device` whose payloads are on `gpu`.
fn on_gpu(device: &'static str, verbs: Verbs, gpu: &Arc<CudaAccelerator>) -> Over {
    Over::Rdma {
        device,
        verbs,
        relay: None,
        gpu: Some(Arc::clone(gpu)),
    }
}

/// Hash of the first `length` bytes, copied from the GPU.
fn seen(stream: &CudaStream, buffer: &PeerBuffer, length: usize) -> String {
    let mut bytes = vec![0; length];
    stream
        .run(|on| on.copy_out(&mut bytes, buffer.buffer(), 0))
        .unwrap();
    content_hash(&bytes)
}

/// Answers every request on the GPU with random bytes; the hashes of what came and what went.
fn serve(mut end: Box<dyn Connection>, gpu: &CudaAccelerator, seed: u64) -> Vec<(String, String)> {
    let cuda = CudaStream::new(gpu.cuda_context(), 0).unwrap();
    let mut rng = stream(Seed(seed), "reply");
    let mut hashes = Vec::new();
    while let Some(arrival) = end.receive().unwrap() {
        assert!(end.received().is_empty() && end.payload_mut().is_empty());
        let memory = end.on_gpu().unwrap();
        let came = seen(&cuda, memory.received, arrival.header.length as usize);
        let mut reply = vec![0; rng.random_range(0..=BUFFERS.reply)];
        rng.fill_bytes(&mut reply);
        cuda.run(|on| on.copy_in(memory.next.buffer(), 0, &reply))
            .unwrap();
        hashes.push((came, content_hash(&reply)));
        let seq = arrival.header.request.seq() as usize;
        end.send(&header(seq, reply.len())).unwrap();
    }
    hashes
}

/// Sends requests of these lengths and checks both ways.
fn exchange(ends: Ends, gpu: &Arc<CudaAccelerator>, lengths: &[usize], seed: u64) {
    let (mut near, far) = ends;
    let at_the_gpu = Arc::clone(gpu);
    let server = std::thread::spawn(move || serve(far, &at_the_gpu, seed));
    let mut rng = stream(Seed(seed), "request");
    let mut hashes = Vec::new();
    for (seq, length) in lengths.iter().enumerate() {
        let sent = fill(&mut *near, *length, &mut rng);
        near.send(&header(seq, *length)).unwrap();
        let arrival = near.receive().unwrap().unwrap();
        assert_eq!(arrival.header.request.seq() as usize, seq);
        hashes.push((sent, content_hash(near.received())));
    }
    drop(near);
    assert_eq!(server.join().unwrap(), hashes);
}

#[test]
#[ignore = "needs two verbs devices and the stand-in: tests/rdma/run"]
fn requests_land_in_the_gpu_s_memory_and_replies_leave_from_it() {
    let gpu = gpu();
    // Around what goes with a work request, a packet and a piece.
    let mut lengths = vec![0, 1, 187, 188, 189, 220, 221, 4063, 4096, 4097];
    lengths.extend([MIB - 32, MIB, MIB + 1, BUFFERS.request]);
    let mut rng = stream(Seed(1), "lengths");
    lengths.extend((0..20).map(|_| (BUFFERS.request as f64).powf(rng.random()) as usize));
    for (seed, verbs) in (0..).zip(every()) {
        let far = on_gpu("rxe1", verbs, &gpu);
        let ends = Pairs::new(on("rxe0", verbs), far, BUFFERS).join();
        exchange(ends, &gpu, &lengths, seed);
    }
}

/// Kernels read what the adapter wrote and write what it sends, without a copy.
#[test]
#[ignore = "needs two verbs devices and the stand-in: tests/rdma/run"]
fn replies_are_what_kernels_make_of_the_requests() {
    const REPLY: usize = 4100;
    let gpu = gpu();
    for (seed, verbs) in (0..).zip(every()) {
        let far = on_gpu("rxe1", verbs, &gpu);
        let (mut near, mut far) = Pairs::new(on("rxe0", verbs), far, BUFFERS).join();
        let at_the_gpu = Arc::clone(&gpu);
        let server = std::thread::spawn(move || {
            let mut context = at_the_gpu.context(&two_kernels(REPLY)).unwrap();
            while let Some(arrival) = far.receive().unwrap() {
                let memory = far.on_gpu().unwrap();
                let place = InPlace {
                    input: memory.received,
                    input_bytes: arrival.header.length as usize,
                    output: memory.next,
                };
                context.infer_in_place(&[Some(place)]).unwrap();
                let seq = arrival.header.request.seq() as usize;
                far.send(&header(seq, REPLY)).unwrap();
            }
        });
        let mut rng = stream(Seed(seed), "request");
        for (seq, length) in [0, 1, 4097, 1, 300_000, 20].into_iter().enumerate() {
            fill(&mut *near, length, &mut rng);
            let expected = folded(&near.payload_mut()[..length], REPLY);
            near.send(&header(seq, length)).unwrap();
            near.receive().unwrap().unwrap();
            assert!(near.received() == expected, "{length} B with {verbs:?}");
        }
        drop(near);
        server.join().unwrap();
    }
}

#[test]
#[ignore = "needs two verbs devices and the stand-in: tests/rdma/run"]
fn clients_at_once_have_each_their_own_memory_of_the_gpu() {
    let gpu = gpu();
    for verbs in every() {
        let far = on_gpu("rxe1", verbs, &gpu);
        let pairs = Pairs::new(on("rxe0", verbs), far, BUFFERS);
        std::thread::scope(|scope| {
            for seed in 0..8 {
                let (ends, gpu) = (pairs.join(), &gpu);
                scope.spawn(move || exchange(ends, gpu, &[70_000, 0, 3, 500_000, 4000], seed));
            }
        });
    }
}

/// A gateway on `rxe1` between a client and a server on `rxe0` with a GPU: neither hop is copied.
#[test]
#[ignore = "needs two verbs devices and the stand-in: tests/rdma/run"]
fn a_gateway_forwards_to_the_gpu_what_it_does_not_see() {
    let gpu = gpu();
    for (seed, verbs) in (0..).zip(every()) {
        let middle = Over::Rdma {
            device: "rxe1",
            verbs,
            relay: Some(Arc::new(Relay::new(BUFFERS).unwrap())),
            gpu: None,
        };
        let (client, mut front) = Pairs::new(on("rxe0", verbs), middle.clone(), BUFFERS).join();
        let far = on_gpu("rxe0", verbs, &gpu);
        let (mut back, server) = Pairs::new(middle, far, BUFFERS).join();
        let gateway = std::thread::spawn(move || {
            while let Some(arrival) = front.receive().unwrap() {
                assert!(front.received().is_empty() && back.payload_mut().is_empty());
                back.send(&arrival.header).unwrap();
                let arrival = back.receive().unwrap().unwrap();
                front.send(&arrival.header).unwrap();
            }
        });
        exchange((client, server), &gpu, &[100_000, 0, 17, 2 * MIB], seed);
        gateway.join().unwrap();
    }
}

#[test]
#[ignore = "needs two verbs devices and the stand-in: tests/rdma/run"]
fn nothing_of_the_gpu_s_memory_is_left() {
    let gpu = gpu();
    let free = || gpu.cuda_context().memory().unwrap().0;
    let before = free();
    let verbs = every()[0];
    let far = on_gpu("rxe1", verbs, &gpu);
    let ends = Pairs::new(on("rxe0", verbs), far, BUFFERS).join();
    assert!(free() + (BUFFERS.request + BUFFERS.reply) as u64 <= before);
    drop(ends);
    assert_eq!(free(), before);
}

/// The stand-in's memory is reached by its address, as with `nvidia-peermem`.
#[test]
#[ignore = "needs two verbs devices and the stand-in: tests/rdma/run"]
fn an_adapter_says_how_it_reaches_the_gpu() {
    let way = nic("rxe1").unwrap().way_to(&gpu()).unwrap();
    assert_eq!(way, "nvidia-peermem");
}
