//! The frame of the configuration: what a section is, how `service.json` is read into sections and written from them,
//! and how `CLUSTER_…` variables override it. Each component's section stands beside the component.

mod document;
mod effective;
mod environment;
mod error;
mod section;
mod strings;

pub use document::{Document, Loaded};
pub use effective::{Effective, Origin, section_path};
pub use environment::Environment;
pub use error::ConfigError;
pub use section::{ComponentConfig, Section};
pub use strings::Strings;

#[cfg(test)]
mod tests;
