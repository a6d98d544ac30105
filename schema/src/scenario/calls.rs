//! Calls that a stage makes before it replies: fork and join.
//!
//! When a stage has its result (a server its output, a proxy the request that it has translated) it
//! goes through its steps, one after the other. The calls of a step are made at once, and the next
//! step begins when all their replies are back. Each request that a call sends is a *branch* of the
//! request.

use serde::{Deserialize, Serialize};

use super::hops::{Hop, HopFile, Transport};
use crate::ids::StageId;
use crate::units::Bytes;

/// A step of a stage, as in files.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StepFile {
    /// The calls that are made at once.
    pub calls: Vec<CallFile>,
}

/// A call of other stages, as in files.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CallFile {
    /// The stages that its requests pass, in order, and the transport of each hop.
    pub path: Vec<HopFile>,
    /// How many requests it sends; one if not given.
    #[serde(default, skip_serializing_if = "CountFile::is_one")]
    pub count: CountFile,
    /// With which probability the call is made; 1 if not given.
    #[serde(default = "one", skip_serializing_if = "is_certain")]
    pub probability: f64,
    /// Size of each request; the output of the stage if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Bytes>,
    /// Size of each reply; the output of the last stage of the path if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Bytes>,
    /// The transport of replies that go straight from the last stage to the caller; back over the hops
    /// if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_over: Option<Transport>,
}

/// How many requests a call sends, as in files.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum CountFile {
    /// Always so many.
    Constant(u32),
    /// Any number between two, both included, with equal probability.
    Uniform(UniformCountFile),
    /// A number of the Poisson distribution, at most so many.
    Poisson(PoissonCountFile),
    /// None, one, two and so on with probabilities in proportion to these.
    Shares(Vec<f64>),
}

impl CountFile {
    fn is_one(&self) -> bool {
        *self == CountFile::default()
    }
}

impl Default for CountFile {
    fn default() -> CountFile {
        CountFile::Constant(1)
    }
}

/// Numbers that are equally probable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct UniformCountFile {
    /// The least.
    pub from: u32,
    /// The most.
    pub to: u32,
}

/// Numbers of the Poisson distribution.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PoissonCountFile {
    /// Mean of the distribution without the limit.
    pub mean: f64,
    /// What is drawn above it is cut to it.
    pub max: u32,
}

/// A checked step.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// The calls that are made at once.
    pub calls: Vec<Call>,
}

/// A checked call.
#[derive(Clone, PartialEq, Debug)]
pub struct Call {
    /// The way of its requests.
    pub path: Vec<Hop>,
    /// The hop of replies that go straight from the last stage to the caller.
    pub reply: Option<Hop>,
    /// Probability of each number of requests, from none on; without trailing zeros.
    pub count: Vec<f64>,
    /// With which probability the call is made.
    pub probability: f64,
}

impl Call {
    /// Most requests that it sends.
    pub fn most(&self) -> u32 {
        u32::try_from(self.count.len() - 1).expect("the number was checked")
    }
}

/// A request that a call may send: one of a request's branches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Branch {
    /// The branch that makes the call; 0 is the request on its clients' path.
    pub parent: u32,
    /// The hop of that which leads to the stage that makes the call.
    pub hop: u8,
    /// That stage.
    pub stage: StageId,
    /// The step of the stage, and the call of the step.
    pub step: u16,
    /// Which of the step's calls.
    pub call: u16,
    /// Its number among the requests of the call.
    pub index: u32,
}

const fn one() -> f64 {
    1.0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_certain(probability: &f64) -> bool {
    probability.to_bits() == 1f64.to_bits()
}
