//! What a row of the table is.

use super::client::Components;
use super::error::RpcError;
use crate::PageStream;
use cluster_types::msgpack::{Malformed, Pack, Unpack};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
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
    /// Many values in; their end is answered by an end.
    Upload,
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
    /// How both are written on the wire; closed rows are never.
    const FORM: Option<Form<Self::Req, Self::Resp>>;
}

/// How question and answer are written on the wire.
#[derive(Debug)]
pub struct Form<Q, R> {
    pub(super) write_request: fn(&Q) -> Vec<u8>,
    pub(super) read_request: fn(&[u8]) -> Result<Q, Malformed>,
    pub(super) write_response: fn(&R) -> Vec<u8>,
    pub(super) read_response: fn(&[u8]) -> Result<R, Malformed>,
}

impl<Q, R> Clone for Form<Q, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q, R> Copy for Form<Q, R> {}

impl<Q: Pack + Unpack, R: Pack + Unpack> Form<Q, R> {
    /// Each in its own form.
    pub(super) const OWN: Self = Self {
        write_request: Q::to_msgpack,
        read_request: Q::from_msgpack,
        write_response: R::to_msgpack,
        read_response: R::from_msgpack,
    };
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

/// A row that takes many values and answers with an end.
pub trait UploadMethod: Method {
    /// Does it at this peer. Only the end of the values commits; an error in them means that the rest never came.
    fn run(
        components: Arc<Components>,
        values: BoxStream<'static, Result<Self::Req, RpcError>>,
    ) -> BoxFuture<'static, Result<(), RpcError>>;
}
