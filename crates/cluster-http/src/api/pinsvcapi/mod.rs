//! The IPFS Pinning Service API 1.0.0: what remote pinning clients such as `ipfs pin remote` speak.
//!
//! Reading order: [`config`], `service` (routes), `model` (pins as this API shows them), `query` and `list` (which pins
//! are listed, page by page), `pins` (one pin), `answer` (how answers and errors look). It holds no state: pins are the
//! cluster's, one per CID, and request ids and creation times are made of them.

mod answer;
pub mod config;
mod list;
mod model;
mod pins;
mod query;
mod service;
#[cfg(test)]
mod tests;

pub use config::PinSvcApiConfig;
pub use service::bind;
