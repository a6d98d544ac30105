//! simcore: a component a station, which calls the next one directly, as its documentation advises
//! for what takes no simulated time, and emits an event to itself for every service.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use serde::Serialize;
use simcore::{Event, EventHandler, Simulation, SimulationContext, cast};
use tandem_peers::{ARRIVAL_RATE, MEAN_SERVICE_TIME, Work, exponential};

#[derive(Clone, Serialize)]
struct Arrival {}

#[derive(Clone, Serialize)]
struct Departure {
    arrived: f64,
}

/// Lets customers arrive, one after the other.
struct Source {
    ctx: SimulationContext,
    left: u32,
    first: Rc<RefCell<Station>>,
}

impl Source {
    fn wait(&mut self) {
        self.left -= 1;
        let interarrival = exponential(1.0 / ARRIVAL_RATE, self.ctx.rand());
        self.ctx.emit_self(Arrival {}, interarrival);
    }
}

impl EventHandler for Source {
    fn on(&mut self, event: Event) {
        cast!(match event.data {
            Arrival {} => {
                self.first.borrow_mut().arrive(event.time);
                if self.left > 0 {
                    self.wait();
                }
            }
        })
    }
}

/// A FIFO single-server station.
struct Station {
    ctx: SimulationContext,
    busy: bool,
    waiting: VecDeque<f64>,
    next: Next,
}

enum Next {
    Station(Rc<RefCell<Station>>),
    Exit(Rc<RefCell<Vec<f64>>>),
}

impl Station {
    /// Takes a customer by the time at which it arrived in the system.
    fn arrive(&mut self, arrived: f64) {
        if self.busy {
            self.waiting.push_back(arrived);
        } else {
            self.busy = true;
            self.serve(arrived);
        }
    }

    fn serve(&mut self, arrived: f64) {
        let service_time = exponential(MEAN_SERVICE_TIME, self.ctx.rand());
        self.ctx.emit_self(Departure { arrived }, service_time);
    }
}

impl EventHandler for Station {
    fn on(&mut self, event: Event) {
        cast!(match event.data {
            Departure { arrived } => {
                match self.waiting.pop_front() {
                    Some(next) => self.serve(next),
                    None => self.busy = false,
                }
                match &self.next {
                    Next::Station(station) => station.borrow_mut().arrive(arrived),
                    Next::Exit(sojourns) => sojourns.borrow_mut().push(event.time - arrived),
                }
            }
        })
    }
}

fn main() {
    let work = Work::from_args();
    let mut sim = Simulation::new(work.seed);
    let sojourns = Rc::new(RefCell::new(Vec::with_capacity(work.customers as usize)));
    let mut next = Next::Exit(Rc::clone(&sojourns));
    for i in (0..work.n_stations).rev() {
        let name = format!("station {i}");
        let station = Rc::new(RefCell::new(Station {
            ctx: sim.create_context(&name),
            busy: false,
            waiting: VecDeque::new(),
            next,
        }));
        sim.add_handler(name, Rc::clone(&station) as Rc<RefCell<dyn EventHandler>>);
        next = Next::Station(station);
    }
    let Next::Station(first) = next else {
        panic!("no station");
    };
    let source = Rc::new(RefCell::new(Source {
        ctx: sim.create_context("source"),
        left: work.customers,
        first,
    }));
    sim.add_handler(
        "source",
        Rc::clone(&source) as Rc<RefCell<dyn EventHandler>>,
    );
    source.borrow_mut().wait();

    work.measure("simcore", sim, Simulation::step_until_no_events, |_| {
        sojourns.take()
    });
}
