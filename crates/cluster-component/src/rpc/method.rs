//! What a row of the table is.

use super::client::Components;
use super::error::RpcError;
use crate::PageStream;
use futures::future::BoxFuture;
use std::sync::Arc;

/// Who may ask from another peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Any peer of the network.
    Open,
    /// Peers that the consensus trusts.
    Trusted,
    /// Nobody: only this peer itself.
    Closed,
}

/// How question and answer travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One value each way.
    Unary,
    /// One value in, many out.
    Stream,
}

/// A row without its types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodInfo {
    /// `Service.Method`, as on the wire.
    pub name: &'static str,
    /// Who may ask.
    pub policy: Policy,
    /// How it travels.
    pub shape: Shape,
    /// What it does, in a sentence.
    pub doc: &'static str,
}

/// A row of the table.
pub trait Method: 'static {
    /// The row without its types.
    const INFO: MethodInfo;
    /// What is asked.
    type Req: Send + 'static;
    /// What is answered, or each item of it.
    type Resp: Send + 'static;
}

/// A row with one answer.
pub trait UnaryMethod: Method {
    /// Does it at this peer.
    fn run(components: Arc<Components>, req: Self::Req) -> BoxFuture<'static, Result<Self::Resp, RpcError>>;
}

/// A row with many answers.
pub trait StreamMethod: Method {
    /// Does it at this peer.
    fn run(components: Arc<Components>, req: Self::Req) -> PageStream<Self::Resp, RpcError>;
}
