//! How network adapters reach the memory of GPUs here, which is found by registering some.

use std::io;

use schema::scenario::{Hop, Scenario, StageRole};

use crate::accelerator::GpuPlace;
use crate::accelerator::cuda::{self, CudaAccelerator};
use crate::roles::choice;
use crate::transport::rdma::{self, Choice, Nic};

/// How the adapter at the far end of a hop over GPUDirect RDMA reaches the GPU there.
pub(super) fn way_to_gpu(scenario: &Scenario, hop: &Hop) -> io::Result<String> {
    let stage = &scenario.stages[hop.to];
    let StageRole::Serve(serve) = &stage.role else {
        unreachable!("such a hop leads to a stage that serves")
    };
    let gpu = serve.gpu.as_ref().expect("such a hop leads to a GPU");
    way(&choice(scenario, stage.host), gpu.devices[0].gpu)
}

/// For each network adapter and each GPU of this machine, how the one reaches the other's memory, or
/// why it does not. Empty if there is none of either.
///
/// # Errors
/// If this build or this machine has no verbs, or no CUDA.
pub fn ways_to_gpus() -> io::Result<Vec<io::Result<String>>> {
    let gpus = cuda::survey().map_err(io::Error::other)?.len();
    let mut ways = Vec::new();
    for name in rdma::names()? {
        for gpu in 0..gpus {
            let nic = Choice {
                device: Some(name.clone()),
                gid: None,
            };
            let gpu = u32::try_from(gpu).expect("GPUs are few");
            ways.push(way(&nic, gpu));
        }
    }
    Ok(ways)
}

fn way(nic: &Choice, gpu: u32) -> io::Result<String> {
    let nic = Nic::open(nic)?;
    let place = GpuPlace::plain(gpu);
    let gpu = CudaAccelerator::new(place).map_err(io::Error::other)?;
    let way = nic.way_to(&gpu)?;
    Ok(format!("GPU {} from {} by {way}", place.device, nic.name()))
}
