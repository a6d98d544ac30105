//! Lines in which requests wait.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use schema::scenario::Order;

use super::customer::{CustomerId, Customers, Ticket};

/// A line in which requests wait, with tickets that may have become void.
#[derive(Debug)]
pub(super) enum WaitingLine {
    /// First come, first served.
    Fifo(VecDeque<Ticket>),
    /// By rank, the least first.
    Ranked(BinaryHeap<Reverse<(u64, Ticket)>>),
}

impl WaitingLine {
    pub(super) fn new(order: Order) -> WaitingLine {
        match order {
            Order::Fifo => WaitingLine::Fifo(VecDeque::new()),
            Order::Lifo | Order::Priority => WaitingLine::Ranked(BinaryHeap::new()),
        }
    }

    /// `customer` joins the line; only a line by rank looks at `rank`.
    pub(super) fn push(&mut self, customers: &mut Customers, customer: CustomerId, rank: u64) {
        let ticket = customers.wait(customer);
        match self {
            WaitingLine::Fifo(line) => line.push_back(ticket),
            WaitingLine::Ranked(line) => line.push(Reverse((rank, ticket))),
        }
    }

    /// The first in the line.
    pub(super) fn peek(&mut self, customers: &Customers) -> Option<CustomerId> {
        loop {
            let ticket = match self {
                WaitingLine::Fifo(line) => *line.front()?,
                WaitingLine::Ranked(line) => line.peek()?.0.1,
            };
            if customers.is_valid(ticket) {
                return Some(ticket.customer);
            }
            self.drop_first();
        }
    }

    /// Takes the first out of the line.
    pub(super) fn pop(&mut self, customers: &mut Customers) -> Option<CustomerId> {
        let customer = self.peek(customers)?;
        self.drop_first();
        customers.end_wait(customer);
        Some(customer)
    }

    /// Takes the first out of the line, with its rank; zero in a line without ranks.
    pub(super) fn pop_ranked(&mut self, customers: &mut Customers) -> Option<(CustomerId, u64)> {
        let customer = self.peek(customers)?;
        let rank = match self {
            WaitingLine::Fifo(_) => 0,
            WaitingLine::Ranked(line) => line.peek().map_or(0, |first| first.0.0),
        };
        self.drop_first();
        customers.end_wait(customer);
        Some((customer, rank))
    }

    fn drop_first(&mut self) {
        match self {
            WaitingLine::Fifo(line) => drop(line.pop_front()),
            WaitingLine::Ranked(line) => drop(line.pop()),
        }
    }
}

/// The rank of an arrival: number `seq` (from zero) at its station, of a class with this priority.
pub(super) fn rank(order: Order, priority: u32, seq: u64) -> u64 {
    /// Bits of a rank for the number of the arrival.
    const SEQ_BITS: u32 = 44;
    match order {
        Order::Fifo => seq,
        Order::Lifo => u64::MAX - seq,
        Order::Priority => {
            assert!(seq >> SEQ_BITS == 0, "fewer than 2^44 requests arrive");
            u64::from(priority) << SEQ_BITS | seq
        }
    }
}
