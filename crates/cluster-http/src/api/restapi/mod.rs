//! The REST API of the reference: routes, parameters, answers and errors as its clients know them.
//!
//! Reading order: [`config`], `route` (which route a request is for), `service` (the routes, behind the door of
//! [`super::door`]), then one file per group of routes, and `answer` (how answers look).

pub(crate) mod add;
mod answer;
pub mod config;

pub mod openapi;
mod peers;
mod pins;
mod query;
mod route;
mod service;

pub use config::RestApiConfig;
pub use service::bind;
