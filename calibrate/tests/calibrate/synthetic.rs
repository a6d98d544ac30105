//! Runs made from known laws.

use std::collections::BTreeMap;
use std::path::Path;

use rand::rngs::ChaCha8Rng;
use schema::ids::{ClassId, HostId, Id, RequestId, StageId};
use schema::profile::{Conditions, CostLaw, Driver, Residual};
use schema::random::{Seed, stream, uniform};
use schema::run::{
    CpuUse, Leg, Manifest, Outcome, RUN_FORMAT, Run, RunKind, Span, SpanName, Status,
};
use schema::scenario::{Scenario, StageRole, Work};
use schema::workload::ClientPlan;

/// One client, one request at a time, three sizes, one server on another host of this machine.
pub(crate) const LIGHT: &str = r#"
format = 1
name = "light"

[run]
warmup = { requests = 20 }
measure = { requests = 300 }

[placement.local.pin]
edge = [0]
server = [1]

[hosts]
edge = { part = "this", cores = 2 }
server = { part = "this", cores = 2 }

[[links]]
between = ["edge", "server"]
part = "loopback"

[stages.work]
on = "server"
serve = { synthetic = { time = "2 ms", input = "1 KiB", output = "4000 B" } }

[[clients]]
on = "edge"
arrivals = { closed-loop = {} }
path = [{ to = "work", over = "tcp" }]
classes = [
    { name = "small", share = 1, payload = "1 KiB" },
    { name = "middle", share = 1, payload = "32 KiB" },
    { name = "large", share = 1, payload = "1 MiB" },
]
"#;

/// What each cost of a synthetic run is.
#[derive(Clone, Debug)]
pub(crate) struct Laws {
    pub(crate) prepare: CostLaw,
    pub(crate) send: CostLaw,
    pub(crate) delay: CostLaw,
    pub(crate) receive: CostLaw,
    pub(crate) dispatch: CostLaw,
    pub(crate) inference: CostLaw,
    pub(crate) notify: CostLaw,
    pub(crate) postprocess: CostLaw,
    /// Factor on the core time of inference.
    pub(crate) slowdown: f64,
}

pub(crate) fn law(per: Driver, base: f64, slope: f64) -> CostLaw {
    CostLaw {
        residual: Residual::Lognormal { sigma: 0.3 },
        ..CostLaw::exact(per, base, slope, "test")
    }
}

pub(crate) fn laws() -> Laws {
    Laws {
        prepare: law(Driver::Bytes, 20e-6, 0.3e-9),
        send: law(Driver::Bytes, 15e-6, 0.1e-9),
        delay: law(Driver::Requests, 40e-6, 0.0),
        receive: law(Driver::Bytes, 12e-6, 0.2e-9),
        dispatch: law(Driver::Requests, 30e-6, 0.0),
        inference: law(Driver::Seconds, 50e-6, 1.1),
        notify: law(Driver::Requests, 25e-6, 0.0),
        postprocess: law(Driver::Bytes, 5e-6, 0.5e-9),
        slowdown: 1.0,
    }
}

pub(crate) fn scenario(text: &str, overrides: &[&str]) -> Scenario {
    let overrides: Vec<String> = overrides.iter().map(|o| (*o).to_owned()).collect();
    Scenario::parse(Path::new("test.toml"), text.to_owned(), &overrides)
        .expect("the scenario is valid")
}

/// The run of `scenario` with `trace`, and the core time of each role per second.
pub(crate) fn run_of(scenario: &Scenario, trace: Vec<Span>, cpu: &[(&str, f64)]) -> Run {
    let of = |(role, busy_s): &(&str, f64)| CpuUse {
        replication: 0,
        role: (*role).to_owned(),
        busy_s: *busy_s,
        window_s: 1.0,
    };
    let manifest = Manifest {
        format: RUN_FORMAT,
        kind: RunKind::Measured,
        program: "test".to_owned(),
        scenario: scenario.file().clone(),
        inputs: BTreeMap::new(),
        replications: 1,
        outcome: Outcome::Complete,
        cpu: cpu.iter().map(of).collect(),
        warnings: Vec::new(),
        measured: None,
    };
    Run {
        manifest,
        scenario: scenario.clone(),
        trace,
        kept: None,
    }
}

/// The spans of one client's requests, one after the other, every cost drawn from `laws`.
pub(crate) fn draw(scenario: &Scenario, laws: &Laws, seed: Seed) -> Vec<Span> {
    let group = &scenario.groups.rows()[0];
    let hop = &group.path[0];
    let stage = &scenario.stages[hop.to];
    let StageRole::Serve(serve) = &stage.role else {
        panic!("the path ends at a server")
    };
    let work = match &serve.work {
        Work::Synthetic(synthetic) => synthetic.time.as_secs_f64(),
        Work::Net { .. } | Work::Profiled(_) | Work::Kernels(_) => 1.0,
    };
    let client = scenario.clients.ids().next().expect("there is a client");
    let schedule = schema::workload::Schedule::new(scenario);
    let mut drawn = Drawn {
        rng: stream(seed, "costs"),
        now_ns: 0,
        spans: Vec::new(),
        stage: hop.to,
    };
    for planned in ClientPlan::new(scenario, client, seed).expect("no trace is replayed") {
        let at = schema::units::SimTime::from_ps(drawn.now_ns * 1_000);
        if !schedule.sends(planned.id.seq(), at) {
            break;
        }
        let (payload, reply) = (planned.payload.0, scenario.classes[planned.class].reply.0);
        let who = (planned.id, planned.class);
        let (edge, server) = (group.host, stage.host);
        let start_ns = drawn.now_ns;
        let up = (Some(0), Leg::Request);
        let down = (Some(0), Leg::Reply);
        drawn.cost(
            &laws.prepare,
            SpanName::Prepare,
            who,
            edge,
            NONE,
            payload,
            payload as f64,
        );
        drawn.cost(
            &laws.send,
            SpanName::Send,
            who,
            edge,
            up,
            payload,
            payload as f64,
        );
        drawn.gap(&laws.delay, payload);
        drawn.cost(
            &laws.receive,
            SpanName::Receive,
            who,
            server,
            up,
            payload,
            payload as f64,
        );
        drawn.cost(&laws.dispatch, SpanName::Queue, who, server, NONE, 0, 1.0);
        drawn.cost(
            &laws.inference,
            SpanName::Inference,
            who,
            server,
            NONE,
            0,
            work,
        );
        let inference = drawn.spans.last_mut().expect("a span was just drawn");
        inference.cpu_ns = (inference.cpu_ns as f64 * laws.slowdown) as u64;
        inference.batch = planned.id.seq();
        let ready_ns = drawn.now_ns;
        drawn.gap(&laws.notify, 0);
        drawn.cost(
            &laws.send,
            SpanName::Send,
            who,
            server,
            down,
            reply,
            reply as f64,
        );
        drawn
            .spans
            .last_mut()
            .expect("a span was just drawn")
            .ready_ns = ready_ns;
        drawn.gap(&laws.delay, reply);
        drawn.cost(
            &laws.receive,
            SpanName::Receive,
            who,
            edge,
            down,
            reply,
            reply as f64,
        );
        drawn.cost(
            &laws.postprocess,
            SpanName::Postprocess,
            who,
            edge,
            NONE,
            reply,
            reply as f64,
        );
        let end_ns = drawn.now_ns;
        drawn.push(SpanName::Request, who, edge, NONE, 0, start_ns, end_ns);
    }
    drawn.spans
}

const NONE: (Option<u8>, Leg) = (None, Leg::Request);

struct Drawn {
    rng: ChaCha8Rng,
    now_ns: u64,
    spans: Vec<Span>,
    stage: StageId,
}

impl Drawn {
    fn gap(&mut self, law: &CostLaw, bytes: u64) -> u64 {
        let driver = match law.per {
            Driver::Bytes => bytes as f64,
            _ => 1.0,
        };
        let ns = law
            .draw(driver, uniform(&mut self.rng), Conditions::BEST)
            .as_ns();
        self.now_ns += ns;
        ns
    }

    #[expect(clippy::too_many_arguments, reason = "a span has that many columns")]
    fn cost(
        &mut self,
        law: &CostLaw,
        name: SpanName,
        who: (RequestId, ClassId),
        host: HostId,
        at: (Option<u8>, Leg),
        bytes: u64,
        driver: f64,
    ) {
        let start_ns = self.now_ns;
        self.now_ns += law
            .draw(driver, uniform(&mut self.rng), Conditions::BEST)
            .as_ns();
        self.push(name, who, host, at, bytes, start_ns, self.now_ns);
    }

    #[expect(clippy::too_many_arguments, reason = "a span has that many columns")]
    fn push(
        &mut self,
        name: SpanName,
        who: (RequestId, ClassId),
        host: HostId,
        at: (Option<u8>, Leg),
        bytes: u64,
        start_ns: u64,
        end_ns: u64,
    ) {
        self.spans.push(Span {
            branch: 0,
            kernel: None,
            context: 0,
            replication: 0,
            request: who.0,
            class: who.1,
            stage: self.stage,
            host,
            name,
            hop: at.0,
            leg: at.1,
            batch: 0,
            bytes,
            ready_ns: start_ns,
            start_ns,
            end_ns,
            cpu_ns: end_ns - start_ns,
            status: Status::Ok,
        });
    }
}

/// An id of any kind, for spans that need not make sense.
pub(crate) fn id<I: Id>(index: usize) -> I {
    I::from_index(index)
}

/// A span of no length of the first request, host and stage.
pub(crate) fn span(name: SpanName) -> Span {
    Span {
        branch: 0,
        kernel: None,
        context: 0,
        replication: 0,
        request: RequestId::new(id(0), 0),
        class: id(0),
        stage: id(0),
        host: id(0),
        name,
        hop: None,
        leg: Leg::Request,
        batch: 0,
        bytes: 0,
        ready_ns: 0,
        start_ns: 0,
        end_ns: 0,
        cpu_ns: 0,
        status: Status::Ok,
    }
}

/// The span of a whole request that was completed.
pub(crate) fn request(request: RequestId) -> Span {
    Span {
        request,
        end_ns: 1_000_000,
        ..span(SpanName::Request)
    }
}
