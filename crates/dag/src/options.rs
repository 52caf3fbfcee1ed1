//! Options of adds, as users write them.

/// How a file is cut into pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunker {
    /// Pieces of so many bytes.
    Size(usize),
    /// Pieces that end where a Rabin fingerprint says, of so many bytes.
    Rabin {
        /// At least, 16 or more; the last piece may have fewer.
        min: usize,
        /// About.
        average: usize,
        /// At most.
        max: usize,
    },
    /// Pieces of 128 to 512 KiB that end where a rolling hash says.
    Buzhash,
}

/// How the pieces of a file are put under its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// All at the same depth: for reading anywhere.
    #[default]
    Balanced,
    /// The first ones near the root, later ones ever deeper: for reading from the start.
    Trickle,
}

/// Most bytes of a piece: blocks of 2 MiB are the largest that every peer takes.
const SIZE_MAX: usize = 2 << 20;

/// Bytes that a Rabin fingerprint is of: no piece may end before it has as many.
const WINDOW_MIN: usize = 16;

/// Why a chunker cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkerError {
    /// There is none of this name.
    #[error("unrecognized chunker option: {0}")]
    Unknown(String),
    /// A rabin chunker is written otherwise.
    #[error(
        "the chunker {0} is none: write rabin, rabin-AVERAGE or rabin-MIN-AVERAGE-MAX, with 16 ≤ MIN < AVERAGE < MAX"
    )]
    Rabin(String),
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
    /// Reads `size-N`, `rabin`, `rabin-AVERAGE`, `rabin-MIN-AVERAGE-MAX` and `buzhash`; empty and `default` are
    /// `size-262144`, `rabin` is `rabin-262144`, whose pieces have between a third and one and a half of that.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn parse(text: &str) -> Result<Self, ChunkerError> {
        if matches!(text, "" | "default") {
            return Ok(Self::default());
        }
        match text.split('-').next() {
            Some("rabin") => return Self::rabin(text),
            Some("buzhash") => return Ok(Self::Buzhash),
            _ => {}
        }
        let size = text.strip_prefix("size-").and_then(|n| n.parse().ok());
        match size {
            Some(size) if (1..=SIZE_MAX).contains(&size) => Ok(Self::Size(size)),
            Some(_) => Err(ChunkerError::Size(text.to_owned())),
            None => Err(ChunkerError::Unknown(text.to_owned())),
        }
    }

    fn rabin(text: &str) -> Result<Self, ChunkerError> {
        let wrong = || ChunkerError::Rabin(text.to_owned());
        let number = |part: &str, label: &str| {
            // As Kubo, numbers may have labels: rabin-min:16-avg:1024-max:8192.
            let digits = part.strip_prefix(label).and_then(|rest| rest.strip_prefix(':')).unwrap_or(part);
            digits.parse::<usize>().map_err(|_| wrong())
        };
        let parts: Vec<&str> = text.split('-').skip(1).collect();
        let (min, average, max) = match parts[..] {
            [] => (262_144 / 3, 262_144, 262_144 + 262_144 / 2),
            [average] => {
                let average = number(average, "avg")?;
                (average / 3, average, average.saturating_add(average / 2))
            }
            [min, average, max] => (number(min, "min")?, number(average, "avg")?, number(max, "max")?),
            _ => return Err(wrong()),
        };
        match WINDOW_MIN <= min && min < average && average < max {
            true if max > SIZE_MAX => Err(ChunkerError::Size(text.to_owned())),
            true => Ok(Self::Rabin { min, average, max }),
            false => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunkers_are_read_and_bad_ones_told() {
        let rabin = |min, average, max| Ok(Chunker::Rabin { min, average, max });
        assert_eq!(Chunker::parse("rabin"), rabin(87_381, 262_144, 393_216));
        assert_eq!(Chunker::parse("rabin-300"), rabin(100, 300, 450));
        assert_eq!(Chunker::parse("rabin-min:16-avg:1024-max:8192"), rabin(16, 1024, 8192));
        assert_eq!(Chunker::parse("buzhash"), Ok(Chunker::Buzhash));
        for text in ["rabin-x", "rabin-1-2", "rabin-15-20-30", "rabin-40-30-50", "rabin-20-30-30", "rabin-1-2-3-4"] {
            assert_eq!(Chunker::parse(text), Err(ChunkerError::Rabin(text.into())));
        }
        for text in ["size-0", "size-2097153", "rabin-16-20-2097153"] {
            assert_eq!(Chunker::parse(text), Err(ChunkerError::Size(text.into())));
        }
        assert_eq!(Chunker::parse("fast"), Err(ChunkerError::Unknown("fast".into())));
    }
}
