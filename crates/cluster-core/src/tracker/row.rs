//! How an item stands, on disk.
//!
//! ```text
//! status     sort key of a CID                          → row (below)
//! attention  class │ due, µs, 8 bytes │ sort key        → empty: something is to be done about this item
//!
//! row:  status, 2 bytes │ class │ since, s, 8 bytes │ since, ns, 4 bytes │ attempts, 4 bytes │ due, µs, 8 bytes │
//!       error text to the end                             (numbers big-endian; class 0: nothing is to be done)
//! ```

use cluster_types::store::{Batch, Table};
use cluster_types::{Cid, Timestamp, TrackerStatus};

/// Most bytes of an error text that are kept.
const ERROR_BYTES_MAX: usize = 512;

const FIXED: usize = 2 + 1 + 8 + 4 + 4 + 8;

/// Which queue an item waits in; the first goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// To be unpinned.
    Unpin = 1,
    /// To be pinned, young and not yet failed often.
    Priority = 2,
    /// To be pinned.
    Normal = 3,
}

impl Class {
    /// Every class, in the order in which they are served.
    pub const ALL: [Class; 3] = [Class::Unpin, Class::Priority, Class::Normal];

    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|class| *class as u8 == byte)
    }
}

/// How an item stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The state.
    pub status: TrackerStatus,
    /// Since when.
    pub since: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// What is to be done about it, and not before when (microseconds since 1970).
    pub waiting: Option<(Class, u64)>,
    /// What went wrong, or empty.
    pub error: String,
}

/// Whether items of this state are in the attention index.
#[must_use]
pub fn needs_attention(status: TrackerStatus) -> bool {
    !matches!(status, TrackerStatus::PINNED | TrackerStatus::REMOTE | TrackerStatus::SHARDED)
}

impl Row {
    /// The row's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (class, due) = self.waiting.map_or((0, 0), |(class, due)| (class as u8, due));
        let mut out = Vec::with_capacity(FIXED + self.error.len().min(ERROR_BYTES_MAX));
        out.extend_from_slice(&self.status.0.to_be_bytes());
        out.push(class);
        out.extend_from_slice(&self.since.unix_secs().to_be_bytes());
        out.extend_from_slice(&self.since.subsec_nanos().to_be_bytes());
        out.extend_from_slice(&self.attempts.to_be_bytes());
        out.extend_from_slice(&due.to_be_bytes());
        out.extend_from_slice(&self.error.as_bytes()[..self.error.floor_char_boundary(ERROR_BYTES_MAX)]);
        out
    }

    /// Reads a row; `None` if it is damaged.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (status, rest) = bytes.split_first_chunk::<2>()?;
        let (class, rest) = rest.split_first()?;
        let (secs, rest) = rest.split_first_chunk::<8>()?;
        let (nanos, rest) = rest.split_first_chunk::<4>()?;
        let (attempts, rest) = rest.split_first_chunk::<4>()?;
        let (due, error) = rest.split_first_chunk::<8>()?;
        Some(Self {
            status: TrackerStatus(u16::from_be_bytes(*status)),
            since: Timestamp::from_unix(i64::from_be_bytes(*secs), u32::from_be_bytes(*nanos)),
            attempts: u32::from_be_bytes(*attempts),
            waiting: Class::from_byte(*class).map(|class| (class, u64::from_be_bytes(*due))),
            error: String::from_utf8_lossy(error).into_owned(),
        })
    }
}

/// The key in the attention index.
#[must_use]
pub fn attention_key(class: Class, due: u64, sort_key: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(9 + sort_key.len());
    key.push(class as u8);
    key.extend_from_slice(&due.to_be_bytes());
    key.extend_from_slice(sort_key);
    key
}

/// The parts of such a key.
#[must_use]
pub fn read_attention_key(key: &[u8]) -> Option<(Class, u64, Cid)> {
    let (class, rest) = key.split_first()?;
    let (due, sort_key) = rest.split_first_chunk::<8>()?;
    Some((Class::from_byte(*class)?, u64::from_be_bytes(*due), Cid::from_sort_key(sort_key).ok()?))
}

/// The sort key of the item's CID in such a key.
#[must_use]
pub fn sort_key_of_attention(key: &[u8]) -> Option<&[u8]> {
    key.get(9..)
}

/// Writes that an item stands like this now, and no longer as before.
pub fn replace(batch: &mut Batch, cid: &Cid, before: Option<&Row>, after: Option<&Row>) {
    let sort_key = cid.sort_key();
    let waiting = |row: Option<&Row>| row.and_then(|row| row.waiting);
    if waiting(before) != waiting(after) {
        if let Some((class, due)) = waiting(before) {
            batch.delete(Table::Attention, attention_key(class, due, &sort_key));
        }
        if let Some((class, due)) = waiting(after) {
            batch.put(Table::Attention, attention_key(class, due, &sort_key), Vec::new());
        }
    }
    match after {
        Some(row) => batch.put(Table::Status, sort_key, row.encode()),
        None => batch.delete(Table::Status, sort_key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_they_were_written_and_long_errors_are_cut() {
        let mut row = Row {
            status: TrackerStatus::PIN_ERROR,
            since: Timestamp::from_unix(5, 7),
            attempts: 3,
            waiting: Some((Class::Normal, 99)),
            error: "no".into(),
        };
        assert_eq!(Row::decode(&row.encode()), Some(row.clone()));

        row.error = "é".repeat(1_000);
        assert_eq!(Row::decode(&row.encode()).map(|row| row.error.len()), Some(512));
        assert_eq!(Row::decode(&[0; 5]), None);
    }
}
