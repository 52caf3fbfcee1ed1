//! Which peers get a pin: who may be asked, how many are needed, in which order they are taken, who takes the place of
//! one that goes, and which peer sees to that.

pub mod balanced;
pub mod by_metric;
pub mod closest;
pub mod replace;
pub mod request;

pub use request::{Outcome, Peers, Shortage, Wanted, classify, conclude, wanted};
