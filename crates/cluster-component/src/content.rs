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
    Entity(Option<Range<u64>>),
    /// The root block.
    Block,
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

    /// A CAR file with the blocks on the way of the names, and of the DAG at the end, depth first, each once.
    fn car(self: Arc<Self>, root: Cid, names: String, scope: CarScope) -> ContentBytes;
}
