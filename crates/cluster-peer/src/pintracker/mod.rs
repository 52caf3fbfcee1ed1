//! Trackers: make the daemon hold what the pinset says it shall. One file for each, and what they share: [`shell`] (work
//! and orders), `compare` (with pinset and daemon), `listing` and `scans` (how
//! items stand).

mod compare;
pub mod config;
pub mod leaving;
mod listing;
pub mod maptracker;
mod progress;
mod scans;
pub mod shell;
pub mod stateless;

pub use config::{MapTrackerConfig, StatelessConfig};
pub use leaving::{AskPeer, ask_by_rpc};
pub use maptracker::maptracker;
pub use shell::{Parts, Tracked};
pub use stateless::stateless;
