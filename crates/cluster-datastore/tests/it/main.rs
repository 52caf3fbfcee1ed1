//! The stores put through the contract, and what only the store on disk can show.

mod contract;
mod fjall;
