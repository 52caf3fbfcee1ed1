//! What is wrong with a configuration.

/// One mistake, by the key that holds it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    /// The key, such as `crdt.repair_interval`.
    pub key: String,
    /// What is wrong, in the reference's words where it has any.
    pub message: String,
}

impl ConfigError {
    /// A mistake at `key`.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }
}
