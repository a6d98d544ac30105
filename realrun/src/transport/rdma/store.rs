//! The memory of one end for the messages of one direction.
//!
//! Header and payload lie together in memory of the host, or the header does and the payload in memory
//! of a GPU: a core reads every header, and reaches a GPU's memory by copies only. So a message to or
//! from a GPU is two pieces: sent from and received into both, or written and read one by one, the
//! header last.

use std::io;
use std::sync::Arc;

use schema::scenario::Verb;

use super::super::HEADER;
use super::card::RemoteStore;
use super::memory::{Access, Buffer, Remote};
use super::queue_pair::{Piece, Pieces, QueuePair, RegionId};
use crate::accelerator::cuda::{CudaAccelerator, PeerBuffer};

/// What messages of one direction are to lie in, with the length of the longest payload in bytes.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// Memory of the host, of the connection's own.
    Own(usize),
    /// The buffer that a gateway's two connections share.
    Shared(&'a Buffer),
    /// Headers in memory of the host, payloads in that of a GPU.
    OnGpu(&'a CudaAccelerator, usize),
}

/// Memory for messages, registered.
pub(super) struct Store {
    /// Headers, and payloads that are not on a GPU.
    pub(super) host: Buffer,
    pub(super) region: RegionId,
    gpu: Option<(Arc<PeerBuffer>, RegionId)>,
}

impl Store {
    /// Makes what is `wanted` and registers it for what the peer does with it.
    pub(super) fn new(qp: &mut QueuePair, wanted: Wanted<'_>, access: Access) -> io::Result<Store> {
        let (host, gpu) = match wanted {
            Wanted::Own(length) => (Buffer::new(HEADER + length)?, None),
            Wanted::Shared(buffer) => (buffer.shared(), None),
            Wanted::OnGpu(gpu, length) => {
                let payloads = PeerBuffer::new(gpu, length).map_err(io::Error::other)?;
                (Buffer::new(HEADER)?, Some(Arc::new(payloads)))
            }
        };
        let region = qp.register(&host, access)?;
        let gpu = match gpu {
            Some(payloads) => {
                let region = qp.register_on_gpu(&payloads, access)?;
                Some((payloads, region))
            }
            None => None,
        };
        Ok(Store { host, region, gpu })
    }

    /// Longest payload, in bytes.
    pub(super) fn room(&self) -> usize {
        match &self.gpu {
            Some((payloads, _)) => payloads.len(),
            None => self.host.len() - HEADER,
        }
    }

    /// The memory of payloads, if it is a GPU's.
    pub(super) fn on_gpu(&self) -> Option<&PeerBuffer> {
        self.gpu.as_ref().map(|(payloads, _)| &**payloads)
    }

    /// The memory as the peer needs to know it.
    pub(super) fn remote(&self, qp: &QueuePair) -> RemoteStore {
        let payloads = self.gpu.as_ref().map(|(payloads, region)| Remote {
            // A buffer of no bytes is registered with one.
            length: payloads.len() as u64,
            ..qp.remote(*region)
        });
        (qp.remote(self.region), payloads)
    }

    /// `length` bytes of the payload, from the one at `from` on.
    pub(super) fn payload(&self, from: usize, length: usize) -> Piece {
        match &self.gpu {
            Some((_, region)) => Piece {
                region: *region,
                from,
                length,
            },
            None => Piece {
                region: self.region,
                from: HEADER + from,
                length,
            },
        }
    }

    pub(super) fn header(&self) -> Piece {
        Piece {
            region: self.region,
            from: 0,
            length: HEADER,
        }
    }

    /// The header, and a payload of `length` bytes.
    pub(super) fn message(&self, length: usize) -> Pieces {
        match &self.gpu {
            Some(_) => Pieces {
                first: self.header(),
                second: Some(self.payload(0, length)),
            },
            None => Pieces::from(Piece {
                length: HEADER + length,
                ..self.header()
            }),
        }
    }

    /// What a posted receive takes: the message where it is sent, up to `limit` bytes of it; the notice
    /// where it is read; nothing where it is written.
    pub(super) fn receive(&self, verb: Verb, limit: usize) -> Option<Pieces> {
        match verb {
            Verb::WriteWithImmediate => None,
            Verb::Send => Some(self.message(self.room().min(limit - HEADER))),
            Verb::Read => Some(self.header().into()),
        }
    }
}
