//! One call to the daemon's API: connections from a pool, answers with their late errors, limits on all of it.

mod address;
mod answer;
mod call;
mod dial;
mod figures;

pub(crate) use address::{NodeAddress, check_syntax};
pub(crate) use answer::{Lines, Pieces};
pub(crate) use call::{Daemon, RequestBody};
