//! The CRDT replica: an add-wins set of pins kept in a DAG of deltas, as go-ds-crdt 0.6.8.
//!
//! Reading order: [`delta`] (what travels), [`keys`] (our layout on disk), [`set`] (how deltas merge), [`replica`] (the
//! machine: local changes, announced heads, blocks that arrive).

pub mod delta;
pub mod keys;
pub mod replica;
pub mod set;

pub use delta::{Delta, DeltaError, Element, Node};
pub use keys::element_value;
pub use replica::{Change, Effect, Event, LocalChange, Replica, ReplicaError, Wanted};
