//! Calls to other peers.

use super::client::Rpc;
use super::codec::{HEAD_MAX, ReadError, Response, ServiceId, VALUE_MAX, Values};
use super::error::{RpcError, RpcErrorKind};
use super::method::{Form, MethodInfo, StreamMethod, UnaryMethod, UploadMethod};
use super::server::within;
use crate::errors::NetError;
use crate::ports::{Clock, Duplex};
use crate::{PAGE_MAX, PageStream};
use cluster_types::PeerId;
use cluster_types::msgpack::{Malformed, Pack, Unpack};
use futures::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use futures::stream::{self, BoxStream, StreamExt};
use std::sync::Arc;
use std::time::Duration;

/// The longest that one answer is waited for: collecting the garbage of a large daemon takes minutes. Who can wait less
/// says so itself; a connection that is dead ends sooner.
const ANSWER_MAX: Duration = Duration::from_secs(600);

/// The longest that sending a question may take.
const SEND_MAX: Duration = Duration::from_secs(60);

/// A call under way at another peer.
struct Call {
    values: Values<ReadHalf<Duplex>>,
    out: WriteHalf<Duplex>,
    clock: Arc<dyn Clock>,
    peer: PeerId,
}

impl Rpc {
    pub(super) async fn ask<M: UnaryMethod>(&self, peer: PeerId, req: M::Req) -> Result<M::Resp, RpcError> {
        let form = form_of::<M>()?;
        let mut call = self.begin(peer, M::INFO).await?;
        call.send(&(form.write_request)(&req)).await?;
        call.head().await?.ok_or_else(|| call.broken(ReadError::Cut))?;
        let answer = call.value(VALUE_MAX).await?.ok_or_else(|| call.broken(ReadError::Cut))?;
        let _already_gone = call.out.close().await; // The answer is here; how the stream ends matters no more.
        (form.read_response)(&answer).map_err(|error| call.unreadable(error))
    }

    pub(super) fn ask_stream<M: StreamMethod>(&self, peer: PeerId, req: M::Req) -> PageStream<M::Resp, RpcError> {
        let this = self.clone();
        let opened = async move {
            let form = form_of::<M>()?;
            let mut call = this.begin(peer, M::INFO).await?;
            call.send(&(form.write_request)(&req)).await?;
            call.end().await?;
            Ok((call, form))
        };
        let pages = async move {
            match opened.await {
                Ok((call, form)) => call.pages::<M>(form),
                Err(error) => stream::iter([Err(error)]).boxed(),
            }
        };
        stream::once(pages).flatten().boxed()
    }

    pub(super) async fn send_up<M: UploadMethod>(
        &self,
        peer: PeerId,
        mut values: BoxStream<'static, Result<M::Req, RpcError>>,
    ) -> Result<(), RpcError> {
        let form = form_of::<M>()?;
        let mut call = self.begin(peer, M::INFO).await?;
        while let Some(value) = values.next().await {
            // Dropping the stream without its end tells the other that the rest will not come.
            let sent = call.send(&(form.write_request)(&value?)).await;
            if let Err(error) = sent {
                // It may have said why it takes no more.
                return Err(call.head().await.err().unwrap_or(error));
            }
        }
        call.end().await?;
        while call.head().await?.is_some() {
            call.value(VALUE_MAX).await?;
        }
        Ok(())
    }

    async fn begin(&self, peer: PeerId, method: MethodInfo) -> Result<Call, RpcError> {
        let unconnected = NetError::Unreachable { peer, reason: "this peer is not connected to a network".into() };
        let (wire, clock) = self.wire().ok_or_else(|| unreachable(&unconnected))?;
        let duplex = wire.open(&peer).await.map_err(|error| unreachable(&error))?;
        let (read, out) = duplex.split();
        let mut call = Call { values: Values::new(read), out, clock, peer };
        call.send(&ServiceId::of(method.name).to_msgpack()).await?;
        Ok(call)
    }
}

fn unreachable(error: &NetError) -> RpcError {
    RpcError::new(RpcErrorKind::Unreachable, error.to_string())
}

fn form_of<M: super::method::Method>() -> Result<Form<M::Req, M::Resp>, RpcError> {
    let text = || format!("{} is not asked of other peers", M::INFO.name);
    M::FORM.ok_or_else(|| RpcError::new(RpcErrorKind::Unauthorized, text()))
}

impl Call {
    async fn send(&mut self, bytes: &[u8]) -> Result<(), RpcError> {
        let out = &mut self.out;
        let sent = async move {
            out.write_all(bytes).await?;
            out.flush().await
        };
        let sent = within(&*self.clock, SEND_MAX, sent).await;
        sent.ok_or_else(|| self.late())?.map_err(|error| self.broken(error.into()))
    }

    async fn end(&mut self) -> Result<(), RpcError> {
        let ended = within(&*self.clock, SEND_MAX, self.out.close()).await;
        ended.ok_or_else(|| self.late())?.map_err(|error| self.broken(error.into()))
    }

    /// What stands before an answer: `None` at the end of them.
    async fn head(&mut self) -> Result<Option<()>, RpcError> {
        let Some(head) = self.value(HEAD_MAX).await? else { return Ok(None) };
        let head = Response::from_msgpack(&head).map_err(|error| self.unreadable(error))?;
        head.into_result().map(Some)
    }

    async fn value(&mut self, max: usize) -> Result<Option<bytes::Bytes>, RpcError> {
        let value = within(&*self.clock, ANSWER_MAX, self.values.next(max)).await;
        value.ok_or_else(|| self.late())?.map_err(|error| self.broken(error))
    }

    /// Pages of what has come; a page waits for its first value alone.
    fn pages<M: StreamMethod>(self, form: Form<M::Req, M::Resp>) -> PageStream<M::Resp, RpcError> {
        stream::unfold(Some(self), move |call| async move {
            let mut call = call?;
            match call.page::<M>(&form).await {
                Ok(page) if page.is_empty() => None,
                Ok(page) => Some((Ok(page), Some(call))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    async fn page<M: StreamMethod>(&mut self, form: &Form<M::Req, M::Resp>) -> Result<Vec<M::Resp>, RpcError> {
        let mut page = Vec::new();
        while page.len() < PAGE_MAX {
            if self.head().await?.is_none() {
                break;
            }
            let value = self.value(VALUE_MAX).await?.ok_or_else(|| self.broken(ReadError::Cut))?;
            page.push((form.read_response)(&value).map_err(|error| self.unreadable(error))?);
            if !self.values.has_more() {
                break;
            }
        }
        Ok(page)
    }

    fn late(&self) -> RpcError {
        RpcError::new(RpcErrorKind::Unreachable, format!("{} does not answer", self.peer))
    }

    fn broken(&self, error: ReadError) -> RpcError {
        RpcError::new(RpcErrorKind::Unreachable, format!("the call to {} broke off: {error}", self.peer))
    }

    fn unreadable(&self, error: Malformed) -> RpcError {
        RpcError::new(RpcErrorKind::Failed, format!("the answer of {} makes no sense: {error}", self.peer))
    }
}
