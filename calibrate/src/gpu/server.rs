//! The law of an inference server with dynamic batching, fitted through the engine.
//!
//! What a request takes from a server such as Triton follows from how its parts queue for each other,
//! so no closed form can be fitted to it: the parameters here make a profile, the engine serves the
//! measured loads with it, and whoever fits compares. The parts, in the order in which a request meets
//! them:
//!
//! | part | cost in the profile |
//! |---|---|
//! | the clients' library makes the message, all clients on one core | `prepare` |
//! | the way to the server | `delay/tcp` of the link |
//! | one thread of the server takes one message after the other | `receive/tcp` |
//! | an inference context gathers the inputs of its batch into a buffer | `staging` |
//! | the forward pass, which shares the GPU with the other context's | net |
//! | the context hands the outputs back, one after the other | `notify` |
//!
//! Messages that exceed the caches take longer, and so does the gathering once all requests together do
//! ([`WorkingSetLaw`]). What a message costs is split between its bytes and the message itself in one
//! proportion at both ends.

use std::collections::BTreeMap;

use schema::gpu::{DriverLaw, GpuNet, Phase};
use schema::profile::{CostLaw, Driver, Part, PartKind, Residual, WorkingSet, WorkingSetLaw, cost};
use schema::scenario::Transport;

use crate::spread::Follower;

/// Bytes of an image: three planes of 224 by 224 32-bit floats.
pub const IMAGE: f64 = 602_112.0;
/// Standard deviation of the logarithm of what a message and a gathering take. It is assumed, not
/// fitted: what matters is that batches do not keep step with each other for ever.
const VARIATION: f64 = 0.15;
/// More bytes or requests than there are in anything.
const ANY: f64 = 1e18;
/// Most images that any of the measured requests has.
const MOST_IMAGES: f64 = 128.0;

/// The parameters of a server; all are above zero, times in seconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ServerLaw {
    /// Core time of the clients for a message of one image.
    pub prepare: f64,
    /// Time of the server's receiving thread for a message of one image.
    pub receive: f64,
    /// Odds of the part of these two that does not depend on the bytes.
    pub fixed_odds: f64,
    /// Delay on the way, each way.
    pub delay: f64,
    /// Time of a batch on the whole GPU, whatever its size.
    pub pass: f64,
    /// Time of an image more.
    pub pass_image: f64,
    /// Time to gather a batch, whatever its size.
    pub gather: f64,
    /// Time of an image more, from caches.
    pub gather_image: f64,
    /// By what part copies in host memory are slower when nothing is in the caches.
    pub slowdown: f64,
    /// Images that the caches hold.
    pub cache: f64,
    /// Time to hand an output back.
    pub hand_back: f64,
}

impl ServerLaw {
    /// From its parameters in the order of its fields.
    pub const fn from_array(p: [f64; 11]) -> ServerLaw {
        ServerLaw {
            prepare: p[0],
            receive: p[1],
            fixed_odds: p[2],
            delay: p[3],
            pass: p[4],
            pass_image: p[5],
            gather: p[6],
            gather_image: p[7],
            slowdown: p[8],
            cache: p[9],
            hand_back: p[10],
        }
    }

    /// From the parts that [`ServerLaw::parts`] and [`ServerLaw::net`] made; `None` if they made others.
    pub fn from_parts(host: &Part, way: &Part, net: &GpuNet) -> Option<ServerLaw> {
        let cost = |key: &str| host.costs.get(key);
        let whole = |law: &CostLaw| law.base + IMAGE * law.slope;
        let (prepare, staging) = (cost(cost::PREPARE)?, cost(cost::STAGING)?);
        let caches = staging.working_set?;
        let DriverLaw::Affine { base, slope, .. } = net.phases.first()?.compute else {
            return None;
        };
        Some(ServerLaw {
            prepare: whole(prepare),
            receive: whole(cost(&cost::receive(Transport::Tcp))?),
            fixed_odds: prepare.base / (IMAGE * prepare.slope),
            delay: way.costs.get(&cost::delay(Transport::Tcp))?.base,
            pass: base,
            pass_image: IMAGE * slope,
            gather: staging.base,
            gather_image: IMAGE * staging.slope,
            slowdown: caches.slowdown,
            cache: caches.cache / IMAGE,
            hand_back: cost(cost::NOTIFY)?.base,
        })
    }

    /// Its parameters in the order of its fields.
    pub const fn to_array(&self) -> [f64; 11] {
        [
            self.prepare,
            self.receive,
            self.fixed_odds,
            self.delay,
            self.pass,
            self.pass_image,
            self.gather,
            self.gather_image,
            self.slowdown,
            self.cache,
            self.hand_back,
        ]
    }

    /// The host, of the clients and the server, and the link between them.
    pub fn parts(&self, samples: u64, source: &str) -> [Part; 2] {
        let law = |base: f64, slope: f64| CostLaw {
            samples,
            range: [0.0, MOST_IMAGES * IMAGE],
            ..CostLaw::exact(Driver::Bytes, base, slope, source)
        };
        let fixed = self.fixed_odds / (1.0 + self.fixed_odds);
        let crowded = |of, law: CostLaw| CostLaw {
            residual: Residual::Lognormal { sigma: VARIATION },
            working_set: Some(WorkingSetLaw {
                of,
                slowdown: self.slowdown,
                slowdown_error: 0.0,
                cache: self.cache * IMAGE,
            }),
            ..law
        };
        let message = |time: f64| {
            let law = law(time * fixed, time * (1.0 - fixed) / IMAGE);
            crowded(WorkingSet::Message, law)
        };
        let staging = law(self.gather, self.gather_image / IMAGE);
        let free = |per| CostLaw {
            range: [0.0, ANY],
            ..CostLaw::exact(per, 0.0, 0.0, "by definition: part of the others")
        };
        let host = [
            (cost::PREPARE.to_owned(), message(self.prepare)),
            (cost::POSTPROCESS.to_owned(), free(Driver::Bytes)),
            (cost::send(Transport::Tcp), free(Driver::Bytes)),
            (cost::receive(Transport::Tcp), message(self.receive)),
            (cost::DISPATCH.to_owned(), free(Driver::Requests)),
            (cost::NOTIFY.to_owned(), law(self.hand_back, 0.0)),
            (
                cost::STAGING.to_owned(),
                crowded(WorkingSet::Machine, staging),
            ),
        ];
        let delay = CostLaw {
            samples,
            range: [1.0, 1.0],
            ..CostLaw::exact(Driver::Requests, self.delay, 0.0, source)
        };
        [
            part(PartKind::Host, host.into()),
            part(
                PartKind::Link,
                [(cost::delay(Transport::Tcp), delay)].into(),
            ),
        ]
    }

    /// The numbers of a profile that follow each parameter, in the order of the fields: with host `server`,
    /// link `way`, and the net called `net` on the part `gpu`.
    pub fn followers(&self, gpu: &str, net: &str) -> [Vec<Follower>; 11] {
        let all = |numbers: &[&str]| -> Vec<Follower> {
            let numbers = numbers.iter();
            numbers
                .map(|number| (format!("server/{number}"), 1.0))
                .collect()
        };
        let one = |number: String| vec![(number, 1.0)];
        // The part of a message that depends on no byte is `odds / (1 + odds)` of it.
        let fixed = self.fixed_odds / (1.0 + self.fixed_odds);
        let split = ["prepare", "receive/tcp"].map(|cost| {
            [
                (format!("server/{cost}/base"), 1.0 - fixed),
                (format!("server/{cost}/slope"), -fixed),
            ]
        });
        let caches = ["prepare", "receive/tcp", "staging"];
        let of_caches = |number: &str| caches.map(|cost| format!("{cost}/{number}"));
        let of_caches = |number: &str| all(&of_caches(number).each_ref().map(String::as_str));
        [
            all(&["prepare/base", "prepare/slope"]),
            all(&["receive/tcp/base", "receive/tcp/slope"]),
            split.into_iter().flatten().collect(),
            one("way/delay/tcp/base".to_owned()),
            one(format!("{gpu}/{net}/0/base")),
            one(format!("{gpu}/{net}/0/slope")),
            all(&["staging/base"]),
            all(&["staging/slope"]),
            of_caches("slowdown"),
            of_caches("cache"),
            all(&["notify/base"]),
        ]
    }

    /// The net on the GPU.
    pub fn net(&self, samples: u64, held_out_error: f64, source: &str) -> GpuNet {
        let compute = DriverLaw::affine(self.pass, self.pass_image / IMAGE);
        GpuNet {
            per: Driver::Bytes,
            range: [IMAGE, MOST_IMAGES * IMAGE],
            samples,
            held_out_error,
            source: source.to_owned(),
            residual: Residual::None,
            memory: 0.0,
            launches: 0,
            floor: DriverLaw::default(),
            phases: vec![Phase {
                overhead: DriverLaw::default(),
                compute,
                parallelism: DriverLaw::constant(1.0),
                bytes: DriverLaw::default(),
                intensity: DriverLaw::default(),
            }],
            kernels: Vec::new(),
        }
    }
}

fn part(kind: PartKind, costs: BTreeMap<String, CostLaw>) -> Part {
    Part {
        kind,
        parameters: BTreeMap::new(),
        costs,
        nets: BTreeMap::new(),
    }
}
