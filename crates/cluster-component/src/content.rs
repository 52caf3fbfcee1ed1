//! Reading content: files and directories as a gateway serves them, from whatever holds their blocks.

use crate::PageStream;
use crate::errors::ConnectorError;
use async_trait::async_trait;
use bytes::Bytes;
use cluster_types::Cid;
use futures::stream::BoxStream;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of content on their way; an error in it means that the rest never comes.
pub type ContentBytes = BoxStream<'static, Result<Bytes, ConnectorError>>;

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Its root block.
    pub cid: Cid,
    /// The path's root and what each of its names led to; the last is [`cid`](Self::cid).
    pub passed: Vec<Cid>,
}

/// What a root block is the root of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContentKind {
    /// A file of so many bytes.
    File(u64),
    /// A directory.
    Directory,
    /// A symbolic link to this target.
    Symlink(String),
    /// Data that is no part of a file system.
    Data,
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentEntry {
    /// Its name.
    pub name: String,
    /// Its root block.
    pub cid: Cid,
    /// Bytes of all its blocks.
    pub size: u64,
}

/// How much of a DAG a CAR file has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CarScope {
    /// All of it.
    All,
    /// A file's bytes (in the range, if one is given), or a directory without what is in it.
    Entity(Option<EntityBytes>),
    /// The root block.
    Block,
}

/// Bytes of a file whose size is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntityBytes {
    /// The first; below zero it is counted from the end.
    pub from: i64,
    /// The last; below zero it is counted from the end, and `None` is the end.
    pub to: Option<i64>,
}

impl EntityBytes {
    /// The bytes of a file of this size; empty when none of it is meant.
    #[must_use]
    pub fn of(self, size: u64) -> Range<u64> {
        let place = |at: i64| match u64::try_from(at) {
            Ok(at) => Some(at),
            Err(_) => size.checked_sub(at.unsigned_abs()),
        };
        let from = place(self.from).unwrap_or(0).min(size);
        let end = match self.to.map(place) {
            None => size,
            Some(None) => 0,
            Some(Some(last)) => last.saturating_add(1).min(size),
        };
        from..end.max(from)
    }
}

/// Whether a CAR file has blocks again that are in several places of the DAG.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicates {
    /// Each time.
    Sent,
    /// Each block is there once.
    LeftOut,
}

/// Reads content. Blocks that are not here are fetched, if there is where from.
#[async_trait]
pub trait Content: Send + Sync + 'static {
    /// Follows the names below a root.
    ///
    /// # Errors
    /// [`ConnectorError::NotFound`] when a name is not there or a block is not; its text names it.
    async fn resolve(&self, root: &Cid, names: &str) -> Result<Resolved, ConnectorError>;

    /// What this is.
    ///
    /// # Errors
    /// When the block cannot be had.
    async fn kind(&self, cid: &Cid) -> Result<ContentKind, ConnectorError>;

    /// One block.
    ///
    /// # Errors
    /// When it cannot be had.
    async fn block(&self, cid: &Cid) -> Result<Bytes, ConnectorError>;

    /// Whether the block is here.
    ///
    /// # Errors
    /// When that cannot be found out.
    async fn has(&self, cid: &Cid) -> Result<bool, ConnectorError>;

    /// The entries of a directory, in its own order.
    fn list(self: Arc<Self>, directory: Cid) -> PageStream<ContentEntry, ConnectorError>;

    /// The bytes of a file in this range; what is past its end is not there.
    fn read(self: Arc<Self>, file: Cid, range: Range<u64>) -> ContentBytes;

    /// A CAR file with the blocks on the way of the names, and of the DAG at the end, depth first. Blocks whose names hold
    /// them are left out.
    fn car(self: Arc<Self>, root: Cid, names: String, scope: CarScope, duplicates: Duplicates) -> ContentBytes;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_from_either_end_and_cut_to_what_is_there() {
        let of = |from, to, size| EntityBytes { from, to }.of(size);
        assert_eq!((of(0, None, 10), of(2, Some(4), 10), of(0, Some(0), 10)), (0..10, 2..5, 0..1));
        assert_eq!((of(-3, None, 10), of(-30, None, 10), of(1, Some(-2), 10)), (7..10, 0..10, 1..9));
        assert_eq!((of(-30, Some(-3), 10), of(5, Some(i64::MAX), 10)), (0..8, 5..10));
        assert!(
            [of(10, None, 10), of(0, Some(-11), 10), of(i64::MIN, Some(i64::MIN), 10), of(6, Some(2), 10)]
                .iter()
                .all(Range::is_empty)
        );
    }
}
