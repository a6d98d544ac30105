//! The fabric through its public interface: exact cases by hand, max-min fairness against
//! water-filling over everything, what holds of any flows, routes and topologies, and packets.

mod by_hand;
mod fairness;
mod fixture;
mod loss;
mod metamorphic;
mod packets;
mod routes;
mod topologies;
