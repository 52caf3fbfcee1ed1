//! The tracker: what the IPFS daemon should do next so that it holds what the pinset allocates here.
//!
//! Reading order: [`row`] (how an item stands, on disk), [`machine`] (what happens to it). The durable rows are the
//! queue: the machine holds what is in flight and a window of what comes next, never all pins.

pub mod machine;
pub mod row;

pub use machine::{Aim, Config, Effect, Event, Failure, Kind, OpId, Tracker};
pub use row::{Class, Row, needs_attention};
