//! Trackers: make the daemon hold what the pinset says it shall.

pub mod config;
pub mod stateless;

pub use config::StatelessConfig;
pub use stateless::{Parts, StatelessTracker, Tracked};
