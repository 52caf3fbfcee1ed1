//! The small components, put through the contract suites of their interfaces.

mod allocators;
mod informers;
mod states;
mod trackers;
