//! Threads that poll for messages.
//!
//! A thread that waits for a message over a hop with `completion = "poll"` keeps a core busy: a
//! server's and a proxy's from the start until the first request, and after each reply until the next
//! request; a client's and a proxy's after each request until its reply. It shares its core with
//! others as any thread does. Of the threads of a stage with `receive-threads`, those poll that have no
//! message, if any hop to the stage says so. Polling is in the core time of its role and in no span.

use schema::run::Leg;
use schema::scenario::CompletionBy;
use schema::units::{SimDuration, SimTime};

use crate::engine::EventQueue;
use crate::event::Event;
use crate::ids::{ConnectionId, RoleId};
use crate::pipeline::Pipeline;
use crate::stations::{Job, Poll, Task};

/// Core time of a job that stands for polling; another follows if that is not enough.
const POLLING: SimDuration = SimDuration::from_ps(1_000_000_000_000);

impl Pipeline<'_> {
    /// Threads that wait for requests poll from the start.
    pub(crate) fn start_polling(&mut self, now: SimTime) {
        for role in self.tables.roles.ids() {
            let row = &self.tables.roles[role];
            for _ in 0..row.receive_threads.filter(|_| row.polls).unwrap_or(0) {
                self.submit_poll(now, role, Poll::Role(role));
            }
        }
        for id in self.tables.connections.ids() {
            if self.connections[id].primary.is_some() {
                continue;
            }
            let n_hops = self.tables.paths[self.connections[id].path].n_hops;
            for hop in (0..).take(n_hops) {
                self.poll(now, id, hop, Leg::Request);
            }
        }
    }

    /// The role that polls for the connection's message of a hop and leg, if one does.
    fn who_polls(&self, id: ConnectionId, hop: u8, leg: Leg) -> Option<RoleId> {
        let connection = &self.connections[id];
        let row = &self.tables.paths[connection.path].hops[usize::from(hop)];
        let polls = row.verbs?.options.completion == CompletionBy::Poll;
        let [near, far] = self.ends[connection.ends + usize::from(hop)];
        let role = match leg {
            Leg::Request => far,
            Leg::Reply => near,
        };
        let has_own_thread = self.tables.roles[role].receive_threads.is_none();
        (polls && has_own_thread).then_some(role)
    }

    /// The thread that waits for the connection's message of a hop and leg polls, if that is its way.
    pub(super) fn poll(&mut self, now: SimTime, id: ConnectionId, hop: u8, leg: Leg) {
        if let Some(role) = self.who_polls(id, hop, leg) {
            self.submit_poll(now, role, Poll::Connection(id, hop, leg));
        }
    }

    /// The sender of the connection's message polls for what it is to receive next.
    pub(super) fn poll_for_next(&mut self, now: SimTime, id: ConnectionId) {
        let connection = &self.connections[id];
        let next = match connection.leg {
            Leg::Request => Leg::Reply,
            Leg::Reply => Leg::Request,
        };
        self.poll(now, id, connection.hop, next);
    }

    /// The message is there that the thread polled for, if it did.
    pub(super) fn end_poll(&mut self, now: SimTime, id: ConnectionId) {
        let connection = &self.connections[id];
        let (hop, leg) = (connection.hop, connection.leg);
        if let Some(role) = self.who_polls(id, hop, leg) {
            let task = Task::Poll(Poll::Connection(id, hop, leg));
            self.cores.cancel(now, role, task);
        }
    }

    /// A message wants a thread of its receiver: its connection's own, which is given at once, or one
    /// of those of the role, which it may have to wait for.
    pub(super) fn want_thread(
        &mut self,
        now: SimTime,
        role: RoleId,
        id: ConnectionId,
    ) -> Option<ConnectionId> {
        let Some(threads) = &mut self.receivers[role] else {
            return Some(id);
        };
        let taken = threads.want(id);
        if taken.is_some() && self.tables.roles[role].polls {
            self.cores.cancel(now, role, Task::Poll(Poll::Role(role)));
        }
        taken
    }

    /// The receiver's thread is done with the connection's message, and takes the next that waits.
    pub(crate) fn thread_done(&mut self, queue: &EventQueue<Event>, id: ConnectionId) {
        let [_, role] = self.roles(id);
        let Some(threads) = &mut self.receivers[role] else {
            return;
        };
        match threads.done() {
            Some(next) => self.take_completion(queue, next),
            None if self.tables.roles[role].polls => {
                self.submit_poll(queue.now(), role, Poll::Role(role));
            }
            None => {}
        }
    }

    fn submit_poll(&mut self, now: SimTime, role: RoleId, poll: Poll) {
        let job = Job {
            task: Task::Poll(poll),
            role,
            demand: POLLING,
        };
        self.cores.submit(now, job);
    }

    /// A thread has polled for as long as a job of its lasts, and goes on while anything may come.
    pub(crate) fn on_polled(&mut self, now: SimTime, poll: Poll) {
        if self.is_over() {
            return;
        }
        let role = match poll {
            Poll::Connection(id, hop, leg) => self.who_polls(id, hop, leg),
            Poll::Role(role) => Some(role),
        };
        self.submit_poll(now, role.expect("it polled before"), poll);
    }
}
