//! Checks of the calls that stages make, and the branches that they give requests.

use super::Check;
use super::hops::PathFile;
use crate::error::FileError;
use crate::ids::{Id, StageId};
use crate::scenario::{Branch, Call, CallFile, CountFile, Hop, Scenario, Serve, StageRole, Step};

/// Most requests that a call sends.
const MOST_OF_A_CALL: u32 = 1024;
/// Most branches of a request.
const MOST_BRANCHES: usize = 16_384;
/// Most steps of a stage, and most calls of a step.
const MOST_CALLS: usize = 1000;

impl Check<'_> {
    /// Checks the steps of every stage.
    pub(super) fn steps(&self, scenario: &mut Scenario) -> Result<(), FileError> {
        for (index, (name, file)) in self.file.stages.iter().enumerate() {
            let stage = StageId::from_index(index);
            let key = format!("stages.{name}.steps");
            self.at_most(&key, file.steps.len(), "steps")?;
            let mut steps = Vec::with_capacity(file.steps.len());
            for (index, step) in file.steps.iter().enumerate() {
                let key = format!("{key}.{index}.calls");
                if step.calls.is_empty() {
                    let problem = "must have at least one call, found none";
                    return Err(self.source.invalid(&key, problem));
                }
                self.at_most(&key, step.calls.len(), "calls")?;
                let calls = step.calls.iter().enumerate();
                let calls = calls.map(|(index, call)| {
                    self.call(&format!("{key}.{index}"), stage, call, scenario)
                });
                let calls = calls.collect::<Result<_, _>>()?;
                steps.push(Step { calls });
            }
            scenario.stages[stage].steps = steps;
        }
        self.no_stage_calls_itself(scenario)
    }

    fn at_most(&self, key: &str, n: usize, what: &str) -> Result<(), FileError> {
        if n <= MOST_CALLS {
            return Ok(());
        }
        let problem = format!("must be at most {MOST_CALLS} {what}, found {n}");
        Err(self.source.invalid(key, problem))
    }

    fn call(
        &self,
        key: &str,
        stage: StageId,
        file: &CallFile,
        scenario: &Scenario,
    ) -> Result<Call, FileError> {
        let row = &scenario.stages[stage];
        let output = match &row.role {
            StageRole::Serve(serve) => Some(serve.work.output_bytes()),
            _ => None,
        };
        let payload = file.payload.or(output);
        if payload.is_none() && file.path.first().is_none_or(|hop| hop.payload.is_none()) {
            let problem = format!(
                "must be given, since `{}` is a proxy and has no output of its own",
                row.name
            );
            return Err(self.source.invalid(&format!("{key}.payload"), problem));
        }
        let path = PathFile {
            key,
            hops: &file.path,
            reply_over: file.reply_over,
            payload,
            reply: file.reply,
            is_call: true,
        };
        let (path, reply) = self.path(&path, row.host, scenario)?;
        if let Some(hop) = path
            .iter()
            .find(|hop| hop.over == crate::scenario::Transport::Gdr)
        {
            self.connection_buffer(hop, &[], scenario)?;
        }
        if !(0.0..=1.0).contains(&file.probability) {
            let problem = format!("must be from 0 to 1, found {}", file.probability);
            return Err(self.source.invalid(&format!("{key}.probability"), problem));
        }
        Ok(Call {
            path,
            reply,
            count: self.count(&format!("{key}.count"), &file.count)?,
            probability: file.probability,
        })
    }

    /// The probability of each number of requests of a call.
    fn count(&self, key: &str, file: &CountFile) -> Result<Vec<f64>, FileError> {
        let most = |below: &str, found: u32| {
            if found <= MOST_OF_A_CALL {
                return Ok(found as usize);
            }
            let problem = format!("must be at most {MOST_OF_A_CALL}, found {found}");
            Err(self.source.invalid(&format!("{key}.{below}"), problem))
        };
        let mut weights = match file {
            CountFile::Constant(n) => {
                let mut weights = vec![0.0; most("constant", *n)? + 1];
                weights[*n as usize] = 1.0;
                weights
            }
            CountFile::Uniform(uniform) => {
                let (from, to) = (uniform.from, uniform.to);
                if from > to {
                    let problem = format!("must be at least `from`, {from}; found {to}");
                    return Err(self.source.invalid(&format!("{key}.uniform.to"), problem));
                }
                let to = most("uniform.to", to)?;
                (0..=to)
                    .map(|n| f64::from(u8::from(n >= from as usize)))
                    .collect()
            }
            CountFile::Poisson(poisson) => {
                let mean = self.positive(&format!("{key}.poisson.mean"), poisson.mean)?;
                if mean > 500.0 {
                    let problem = format!("must be at most 500, found {mean}");
                    return Err(self.source.invalid(&format!("{key}.poisson.mean"), problem));
                }
                let max = most("poisson.max", poisson.max)?;
                let mut term = (-mean).exp();
                let mut weights = Vec::with_capacity(max + 1);
                for n in 0..max {
                    weights.push(term);
                    term *= mean / (n + 1) as f64;
                }
                let below: f64 = weights.iter().sum();
                weights.push((1.0 - below).max(0.0));
                weights
            }
            CountFile::Shares(shares) => {
                most(
                    "shares",
                    shares
                        .len()
                        .saturating_sub(1)
                        .try_into()
                        .unwrap_or(u32::MAX),
                )?;
                if let Some(index) = shares.iter().position(|s| !(*s >= 0.0 && s.is_finite())) {
                    let problem = format!("must be from 0, found {}", shares[index]);
                    return Err(self
                        .source
                        .invalid(&format!("{key}.shares.{index}"), problem));
                }
                shares.clone()
            }
        };
        while weights.len() > 1 && weights.last() == Some(&0.0) {
            weights.pop();
        }
        let total: f64 = weights.iter().sum();
        if total <= 0.0 {
            let problem = "must have a share above zero, found none";
            return Err(self.source.invalid(&format!("{key}.shares"), problem));
        }
        Ok(weights.into_iter().map(|weight| weight / total).collect())
    }

    /// No stage is called for what it called itself.
    fn no_stage_calls_itself(&self, scenario: &Scenario) -> Result<(), FileError> {
        let n = scenario.stages.len();
        for start in scenario.stages.ids() {
            // By stage, who called it first.
            let mut from: Vec<Option<StageId>> = vec![None; n];
            let mut next = vec![start];
            while let Some(stage) = next.pop() {
                for hop in called_by(stage, scenario) {
                    if hop.to == start {
                        let mut names = vec![scenario.stages[start].name.as_str()];
                        let mut at = stage;
                        while at != start {
                            names.push(&scenario.stages[at].name);
                            at = from[at.index()].expect("it was reached from somewhere");
                        }
                        names.push(names[0]);
                        names.reverse();
                        let problem = format!("calls go in a circle: {}", names.join(" -> "));
                        let key = format!("stages.{}.steps", scenario.stages[start].name);
                        return Err(self.source.invalid(&key, problem));
                    }
                    if from[hop.to.index()].is_none() {
                        from[hop.to.index()] = Some(stage);
                        next.push(hop.to);
                    }
                }
            }
        }
        Ok(())
    }

    /// The branches of requests that take a path.
    pub(super) fn branches(
        &self,
        key: &str,
        path: &[Hop],
        scenario: &Scenario,
    ) -> Result<Vec<Branch>, FileError> {
        let mut branches = Vec::new();
        if add_branches(path, 0, scenario, &mut branches) {
            return Ok(branches);
        }
        let problem = format!(
            "leads to stages whose calls may send more than {MOST_BRANCHES} requests for one; lower their `count`"
        );
        Err(self.source.invalid(&format!("{key}.path"), problem))
    }

    /// Whether a stage on a GPU serves requests that take a path, or what they cause.
    pub(super) fn reaches_a_gpu(&self, path: &[Hop], scenario: &Scenario) -> bool {
        let is_on_gpu = |hop: &Hop| {
            let role = &scenario.stages[hop.to].role;
            let own = matches!(role, StageRole::Serve(Serve { gpu: Some(_), .. }));
            own || (called_by(hop.to, scenario))
                .any(|hop| self.reaches_a_gpu(std::slice::from_ref(hop), scenario))
        };
        path.iter().any(is_on_gpu)
    }
}

/// The hops of all calls that a stage makes.
fn called_by(stage: StageId, scenario: &Scenario) -> impl Iterator<Item = &Hop> {
    let calls = scenario.stages[stage]
        .steps
        .iter()
        .flat_map(|step| &step.calls);
    calls.flat_map(|call| &call.path)
}

/// Adds the branches that a path of branch `parent` leads to; whether there is room for all.
fn add_branches(
    path: &[Hop],
    parent: u32,
    scenario: &Scenario,
    branches: &mut Vec<Branch>,
) -> bool {
    for (hop, row) in (0u8..).zip(path) {
        for (step, steps) in (0u16..).zip(&scenario.stages[row.to].steps) {
            for (call, calls) in (0u16..).zip(&steps.calls) {
                for index in 0..calls.most() {
                    branches.push(Branch {
                        parent,
                        hop,
                        stage: row.to,
                        step,
                        call,
                        index,
                    });
                    let number = branches.len();
                    if number > MOST_BRANCHES
                        || !add_branches(&calls.path, number as u32, scenario, branches)
                    {
                        return false;
                    }
                }
            }
        }
    }
    true
}
