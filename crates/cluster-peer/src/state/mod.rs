//! Readers of the pinset.

pub mod dsstate;
