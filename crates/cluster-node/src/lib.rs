//! Composition root: from a configuration folder to a running peer.
//!
//! The only crate that names every implementation. Reading order: [`folder`] (what lies where), [`identity`],
//! [`config`] (all sections together), [`choice`] (which implementation they choose), [`wiring`] (which implementation, made of what), [`state`] (the pinset of a
//! peer that is not running), [`ports`] (clock, tasks and chance of a real process).

pub mod choice;
pub mod config;
pub mod folder;
pub mod identity;
mod network;
pub mod ports;
pub mod state;
pub mod wiring;

pub use cluster_peer::cluster::VERSION;
