//! The door that APIs share: their configuration, who is let in, what browsers may do, and the way of a request to the
//! routes behind it (`front`). It knows no route of any API.

pub(in crate::api) mod answer;
mod auth;
pub mod config;
mod cors;
mod form;
pub(in crate::api) mod front;
pub(in crate::api) mod multipart;
mod path;
pub(in crate::api) mod query;
pub(in crate::api) mod table;
mod token;

pub use config::{ApiConfig, Kind, OwnHost};
pub use front::HttpApi;
