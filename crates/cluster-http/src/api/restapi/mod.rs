//! The REST API of the reference: routes, parameters, answers and errors as its clients know them.
//!
//! Reading order: [`config`], `route` (which route a request is for), `service` (the way of a request), then one file
//! per group of routes, and `answer` (how answers look).

mod add;
mod answer;
mod auth;
pub mod config;
mod cors;
mod multipart;
pub mod openapi;
mod peers;
mod pins;
mod query;
mod route;
mod service;
mod token;

pub use config::RestApiConfig;
pub use service::RestApi;
