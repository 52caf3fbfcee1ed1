//! Options of adds, as users write them.

/// How a file is cut into pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunker {
    /// Pieces of so many bytes.
    Size(usize),
}

/// Most bytes of a piece: blocks of 2 MiB are the largest that every peer takes.
const SIZE_MAX: usize = 2 << 20;

/// Why a chunker cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkerError {
    /// There is none of this name.
    #[error("unrecognized chunker option: {0}")]
    Unknown(String),
    /// There is, but not here.
    #[error("the chunker {0} is not available: use size-262144 or another size-N")]
    NotHere(String),
    /// Pieces would be empty or larger than a block may be.
    #[error("the chunker {0} cuts pieces of no size between 1 and 2097152 bytes")]
    Size(String),
}

impl Default for Chunker {
    fn default() -> Self {
        Self::Size(262_144)
    }
}

impl Chunker {
    /// Reads `size-N`; empty and `default` are `size-262144`.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn parse(text: &str) -> Result<Self, ChunkerError> {
        if matches!(text, "" | "default") {
            return Ok(Self::default());
        }
        if text.starts_with("rabin") || text.starts_with("buzhash") {
            return Err(ChunkerError::NotHere(text.to_owned()));
        }
        let size = text.strip_prefix("size-").and_then(|n| n.parse().ok());
        match size {
            Some(size) if (1..=SIZE_MAX).contains(&size) => Ok(Self::Size(size)),
            Some(_) => Err(ChunkerError::Size(text.to_owned())),
            None => Err(ChunkerError::Unknown(text.to_owned())),
        }
    }
}
