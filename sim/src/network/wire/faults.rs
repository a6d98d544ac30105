//! Times for which links are worse or down.

use schema::units::{ByteRate, SimTime};

use super::Wires;
use crate::engine::EventQueue;
use crate::event::Event;
use crate::fabric::{LinkId, LinkState};

/// A fault of a link.
#[derive(Debug)]
pub(crate) struct FaultRow {
    /// Its directions.
    pub(crate) links: [LinkId; 2],
    pub(crate) from: SimTime,
    pub(crate) until: SimTime,
    /// `None` if it is down.
    pub(crate) rate: Option<ByteRate>,
}

impl Wires<'_> {
    /// Schedules the faults; at one instant those that are over end before others begin.
    pub(crate) fn schedule_faults(&self, queue: &mut EventQueue<Event>) {
        let faults = self.tables.faults.iter().zip(0..);
        for (fault, index) in faults.clone() {
            queue.schedule_at(fault.until, Event::FaultEnds(index));
        }
        for (fault, index) in faults {
            queue.schedule_at(fault.from, Event::FaultBegins(index));
        }
    }

    pub(crate) fn on_fault_begins(&mut self, queue: &mut EventQueue<Event>, fault: u32) {
        let fault = &self.tables.faults[fault as usize];
        match fault.rate {
            Some(rate) => self.set_rate(queue.now(), fault.links, |_| rate),
            None => self.take_down(queue, fault.links),
        }
    }

    pub(crate) fn on_fault_ends(&mut self, queue: &mut EventQueue<Event>, fault: u32) {
        let tables = self.tables;
        let fault = &tables.faults[fault as usize];
        if fault.rate.is_some() {
            let whole = |link| tables.graph.link(link).rate;
            return self.set_rate(queue.now(), fault.links, whole);
        }
        for link in fault.links {
            self.routes.set_state(link, LinkState::Up);
        }
        self.n_changes += 1;
        for id in std::mem::take(&mut self.stalled) {
            self.start(queue, id);
        }
    }

    fn set_rate(&mut self, now: SimTime, links: [LinkId; 2], rate: impl Fn(LinkId) -> ByteRate) {
        for link in links {
            self.fabric.set_rate(now, link, rate(link));
        }
        self.has_changed = true;
    }

    fn take_down(&mut self, queue: &mut EventQueue<Event>, links: [LinkId; 2]) {
        let now = queue.now();
        // What ends at this instant has left.
        while let Some(done) = self.fabric.pop_due(now) {
            self.on_left(queue, done.token);
        }
        for link in links {
            self.routes.set_state(link, LinkState::Down);
        }
        self.n_changes += 1;
        for id in self.wires.ids() {
            let wire = &mut self.wires[id];
            let Some(flow) = wire.flow else { continue };
            let path = wire.paths[wire.way].as_ref().expect("a flow has a path");
            if !path.links.iter().any(|link| links.contains(link)) {
                continue;
            }
            let left = self.fabric.cancel(now, flow);
            wire.flow = None;
            let first = wire.chunks.front_mut().expect("a flow has a chunk");
            first.bytes = left.expect("the flow is under way");
            self.start(queue, id);
        }
        self.has_changed = true;
    }
}
