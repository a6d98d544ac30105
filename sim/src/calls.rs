//! Calls that stages make: a request branches, and its branches join.
//!
//! A stage that has its result goes through its steps. The branches of a step set out at once, each on
//! a connection of its own; the stage's thread for the request waits for the last reply, then comes to
//! the next step. After the last step the stage sends its result on, or replies.

use schema::ids::Id;
use schema::random::uniform;
use schema::run::Leg;

use crate::engine::EventQueue;
use crate::event::Event;
use crate::ids::ConnectionId;
use crate::pipeline::Pipeline;
use crate::tables::CallRow;

impl Pipeline<'_> {
    /// The stage that the connection's request is at has its result. What handing that over took has no
    /// span of its own: it delays the next `send`, which was ready before it.
    pub(crate) fn on_result(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        self.connections[id].next_step = 0;
        self.next_step(queue, id);
    }

    /// The stage comes to its next step in which a call sends something; or has none.
    fn next_step(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        let tables = self.tables;
        loop {
            let connection = &mut self.connections[id];
            let step = usize::from(connection.next_step);
            connection.next_step += 1;
            let Some(step) = tables.hop(connection).steps.get(step) else {
                return self.pass_on(queue, id);
            };
            for call in &step.calls {
                let n = self.draw_count(id, call);
                for branch in &call.branches[..n] {
                    self.branch(queue, id, *branch);
                }
            }
            if self.connections[id].n_branches > 0 {
                return;
            }
        }
    }

    /// How many requests the call sends for that of the connection.
    fn draw_count(&mut self, id: ConnectionId, call: &CallRow) -> usize {
        let client = &self.tables.clients[self.connections[id].client];
        let Some(rng) = &mut self.call_draws[client.first_site + call.site] else {
            return call.branches.len();
        };
        // Both are drawn whatever comes of the first, so that each request has the same draws.
        let [made, number] = [(); 2].map(|()| uniform(rng));
        if made >= call.probability {
            return 0;
        }
        let number = call.at_most.iter().position(|below| number < *below);
        number.unwrap_or(call.branches.len())
    }

    /// A branch of the connection's request sets out.
    fn branch(&mut self, queue: &mut EventQueue<Event>, parent: ConnectionId, number: u32) {
        let caller = &mut self.connections[parent];
        caller.n_branches += 1;
        let (request, class, done) = (caller.request, caller.class, caller.done);
        let fate = caller.fate;
        let [_, here] = self.ends[caller.ends + usize::from(caller.hop)];
        let id = ConnectionId::from_index(caller.first_branch + number as usize - 1);
        let connection = &mut self.connections[id];
        debug_assert_eq!(
            (connection.branch, connection.parent),
            (number, Some(parent))
        );
        connection.fate = fate;
        connection.has_lost = false;
        connection.request = request;
        connection.class = class;
        connection.done = done;
        connection.hop = 0;
        connection.leg = Leg::Request;
        self.ends[connection.ends][0] = here;
        let path = &self.tables.paths[connection.path];
        if path.is_straight() {
            self.ends[connection.ends + path.n_hops][0] = here;
        }
        self.go_on(queue, id);
    }

    /// A branch of the connection's request is back.
    pub(crate) fn on_branch_done(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        let connection = &mut self.connections[id];
        connection.n_branches -= 1;
        if connection.n_branches > 0 {
            return;
        }
        if std::mem::take(&mut connection.has_lost) {
            return self.lose(queue, id);
        }
        connection.done = queue.now();
        self.next_step(queue, id);
    }

    /// The stage that the connection's request is at sends its result to the next, or replies.
    fn pass_on(&mut self, queue: &mut EventQueue<Event>, id: ConnectionId) {
        let connection = &mut self.connections[id];
        let path = &self.tables.paths[connection.path];
        if usize::from(connection.hop) + 1 < path.n_hops {
            connection.hop += 1;
            return self.go_on(queue, id);
        }
        connection.leg = Leg::Reply;
        if path.is_straight() {
            connection.hop += 1;
        }
        self.send(queue, id);
    }
}
