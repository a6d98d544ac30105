//! Spans of visits and requests, for runs that keep them.

use schema::ids::{HostId, Id, StageId};
use schema::run::{Leg, Span, SpanName, Status};
use schema::units::SimTime;

use super::customer::{Customer, CustomerId};
use super::engine::Engine;

impl Engine {
    /// The visit of `customer` to `stage` ends.
    pub(super) fn trace_visit(&mut self, stage: StageId, customer: CustomerId) {
        let customer = self.customers[customer];
        let (arrived, started) = (customer.arrived, customer.started);
        if started > arrived {
            let waited = [arrived, started];
            self.push_span(&customer, stage, SpanName::Queue, waited, Status::Ok);
        }
        let served = [started, self.queue.now()];
        self.push_span(&customer, stage, SpanName::Service, served, Status::Ok);
    }

    /// The request `customer` ends.
    pub(super) fn trace_request(&mut self, customer: CustomerId, is_lost: bool) {
        let customer = self.customers[customer];
        let times = [customer.born, self.queue.now()];
        let status = if is_lost { Status::Failed } else { Status::Ok };
        let path = &self.paths[self.classes[customer.class].group as usize];
        let last = *path.last().expect("a path has a stage");
        self.push_span(&customer, last, SpanName::Request, times, status);
    }

    fn push_span(
        &mut self,
        customer: &Customer,
        stage: StageId,
        name: SpanName,
        [start, end]: [SimTime; 2],
        status: Status,
    ) {
        let Some(trace) = &mut self.trace else {
            return;
        };
        trace.push(Span {
            branch: 0,
            kernel: None,
            context: 0,
            replication: self.replication,
            request: customer.request,
            class: customer.class,
            stage,
            // A network knows no hosts; whoever has a scenario fills in that of the stage.
            host: HostId::from_index(0),
            name,
            hop: None,
            leg: Leg::Request,
            batch: 0,
            bytes: 0,
            ready_ns: start.as_ns(),
            start_ns: start.as_ns(),
            end_ns: end.as_ns(),
            cpu_ns: 0,
            status,
        });
    }
}
