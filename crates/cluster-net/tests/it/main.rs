//! Hosts in one process, on loopback and on ports that the system chooses.

mod connecting;
mod exchange;
mod finding;
mod hostile;
mod limits;
mod peer;
mod pubsub;
mod relay;
mod streams;
