//! The small components, put through the contract suites of their interfaces.

mod allocators;
mod example_informer;
mod informers;
mod sim;
mod states;
mod trackers;
