//! The components that make a peer: the main component and the small ones around it.
//!
//! No libp2p and no HTTP here: everything arrives through interfaces and ports.
//!
//! Reading order: [`cluster`] (what users order), [`pintracker`] (what the daemon does about it), [`state`], [`monitor`],
//! [`allocator`], [`informer`], [`add`] (content on its way in).

pub mod add;
pub mod allocator;
pub mod cluster;
pub mod informer;
pub mod monitor;
pub mod pintracker;
pub mod state;
