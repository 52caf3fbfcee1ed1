//! The stores behind [`cluster_types::store`]: [`FjallStore`] on disk and [`MemoryStore`] for tests.
//!
//! This is the only crate that names the storage engine. What is stored, and under which keys, is the business of
//! those who write it; here are folders, tables and bytes.
//!
//! Both stores pass the suite in [`contract`], and so must every further one.

pub mod contract;
mod fjall_store;
mod memory;

pub use self::fjall_store::{FjallOptions, FjallStore};
pub use self::memory::MemoryStore;
