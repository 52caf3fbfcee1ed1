//! Sends traces to an OpenTelemetry collector: OTLP, protobuf over HTTP.
//!
//! Components tell their spans to a [`Traces`], which is a `Recorder` of `cluster-component`. What is kept of them, and how it
//! is sent, is decided here; what spans there are, is not. Reading order: [`config`], [`Traces`], `collector` (one request).

mod collector;
pub mod config;
mod span;
mod traces;

pub use config::TracingConfig;
pub use traces::{Origin, Traces};
