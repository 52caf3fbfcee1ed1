//! The frame of the configuration: what a section is. Each component's section stands beside the component.

mod error;
mod section;

pub use error::ConfigError;
pub use section::{ComponentConfig, Section};
