//! NeXosim: a model a station, joined by ports; each schedules the end of its services. One thread.

use std::collections::VecDeque;
use std::time::Duration;

use nexosim::model::{Context, Model, schedulable};
use nexosim::ports::{Output, QuerySource};
use nexosim::simulation::{Address, Mailbox, SimInit, SimulationError};
use nexosim::time::MonotonicTime;
use serde::{Deserialize, Serialize};
use tandem_peers::{ARRIVAL_RATE, MEAN_SERVICE_TIME, SplitMix64, Work, exponential};

/// Lets customers arrive, one after the other.
#[derive(Serialize, Deserialize)]
struct Source {
    /// The time of arrival of a customer -- output port.
    customer: Output<MonotonicTime>,
    left: u32,
    rng: SplitMix64,
}

#[Model]
impl Source {
    #[nexosim(init)]
    async fn init(&mut self, cx: &Context<Self>) {
        self.wait(cx);
    }

    fn wait(&mut self, cx: &Context<Self>) {
        self.left -= 1;
        let interarrival = seconds(exponential(1.0 / ARRIVAL_RATE, self.rng.uniform()));
        cx.schedule_event(interarrival, schedulable!(Self::arrive), ())
            .expect("the interarrival time is positive");
    }

    #[nexosim(schedulable)]
    async fn arrive(&mut self, _: (), cx: &Context<Self>) {
        self.customer.send(cx.time()).await;
        if self.left > 0 {
            self.wait(cx);
        }
    }
}

/// A FIFO single-server station.
#[derive(Serialize, Deserialize)]
struct Station {
    busy: bool,
    waiting: VecDeque<MonotonicTime>,
    next: Next,
    rng: SplitMix64,
}

#[derive(Serialize, Deserialize)]
enum Next {
    /// The time at which a customer that departs arrived in the system -- output port.
    Station(Output<MonotonicTime>),
    /// Sojourn times in the order of departure, in seconds.
    Exit(Vec<f64>),
}

#[Model]
impl Station {
    /// A customer, by the time at which it arrived in the system -- input port.
    fn arrive(&mut self, arrived: MonotonicTime, cx: &Context<Self>) {
        if self.busy {
            self.waiting.push_back(arrived);
        } else {
            self.busy = true;
            self.serve(arrived, cx);
        }
    }

    fn serve(&mut self, arrived: MonotonicTime, cx: &Context<Self>) {
        let service_time = seconds(exponential(MEAN_SERVICE_TIME, self.rng.uniform()));
        cx.schedule_event(service_time, schedulable!(Self::depart), arrived)
            .expect("the service time is positive");
    }

    #[nexosim(schedulable)]
    async fn depart(&mut self, arrived: MonotonicTime, cx: &Context<Self>) {
        match self.waiting.pop_front() {
            Some(next) => self.serve(next, cx),
            None => self.busy = false,
        }
        match &mut self.next {
            Next::Station(departed) => departed.send(arrived).await,
            Next::Exit(sojourns) => {
                sojourns.push(cx.time().duration_since(arrived).as_secs_f64());
            }
        }
    }

    /// The sojourn times of those who left the system here -- replier port.
    async fn sojourns(&mut self) -> Vec<f64> {
        match &mut self.next {
            Next::Station(_) => Vec::new(),
            Next::Exit(sojourns) => std::mem::take(sojourns),
        }
    }
}

/// A unit of time of the work is a second here; the clock counts whole nanoseconds.
fn seconds(time: f64) -> Duration {
    Duration::from_secs_f64(time).max(Duration::from_nanos(1))
}

fn main() -> Result<(), SimulationError> {
    let work = Work::from_args();
    let mut bench = SimInit::with_num_threads(1);

    let mailboxes: Vec<Mailbox<Station>> = (0..work.n_stations).map(|_| Mailbox::new()).collect();
    let sojourns = QuerySource::new()
        .connect(Station::sojourns, &mailboxes[work.n_stations - 1])
        .register(&mut bench);
    let mut source = Source {
        customer: Output::default(),
        left: work.customers,
        rng: SplitMix64::new(work.seed, 0),
    };
    source.customer.connect(Station::arrive, &mailboxes[0]);

    let addresses: Vec<Address<Station>> = mailboxes.iter().map(Mailbox::address).collect();
    for (i, mailbox) in mailboxes.into_iter().enumerate() {
        let next = match addresses.get(i + 1) {
            Some(next) => {
                let mut departed = Output::default();
                departed.connect(Station::arrive, next);
                Next::Station(departed)
            }
            None => Next::Exit(Vec::with_capacity(work.customers as usize)),
        };
        let station = Station {
            busy: false,
            waiting: VecDeque::new(),
            next,
            rng: SplitMix64::new(work.seed, 1 + i as u64),
        };
        bench = bench.add_model(station, mailbox, &format!("station {i}"));
    }
    let simulation = bench
        .add_model(source, Mailbox::new(), "source")
        .init(MonotonicTime::EPOCH)?;

    work.measure(
        "nexosim",
        simulation,
        |simulation| simulation.run().expect("the run ends without events left"),
        |mut simulation| {
            simulation
                .process_query(&sojourns, ())
                .expect("the last station replies")
        },
    );
    Ok(())
}
