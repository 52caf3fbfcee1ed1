//! Hosts in one process, on loopback and on ports that the system chooses.

mod connecting;
mod peer;
mod pubsub;
mod streams;
