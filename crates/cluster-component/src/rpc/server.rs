//! Answers the calls of other peers.

use super::bytes::{Counted, Passed};
use super::client::{Components, Rpc, told_of};
use super::codec::{HEAD_MAX, ReadError, Response, ServiceId, VALUE_MAX, Values};
use super::error::{RpcError, RpcErrorKind};
use super::method::{MethodInfo, Policy, StreamMethod, UnaryMethod, UploadMethod};
use super::table::SERVED;
use crate::PageStream;
use crate::metrics::CallSide;
use crate::ports::{Clock, Duplex, sleep};
use crate::trace::{self, Answered, Tracer, Value};
use bytes::Bytes;
use cluster_types::PeerId;
use cluster_types::msgpack::{Malformed, Pack, Unpack};
use futures::future::{BoxFuture, Either, select};
use futures::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use futures::stream::{self, BoxStream, StreamExt};
use std::sync::Arc;
use std::time::Duration;

/// The longest that a question may take to arrive, and one answer to be taken.
const TRANSFER_MAX: Duration = Duration::from_secs(60);

/// A row as the server runs it.
pub(super) struct Served {
    pub(super) info: MethodInfo,
    pub(super) run: Run,
}

type Unary = fn(Arc<Components>, &[u8]) -> Result<BoxFuture<'static, Result<Vec<u8>, RpcError>>, Malformed>;
type Streaming = fn(Arc<Components>, Option<&[u8]>) -> Result<PageStream<Vec<u8>, RpcError>, Malformed>;
type Upload =
    fn(Arc<Components>, BoxStream<'static, Result<Bytes, RpcError>>) -> BoxFuture<'static, Result<(), RpcError>>;

/// How a row is run: decode, do, encode.
pub(super) enum Run {
    Unary(Unary),
    Stream(Streaming),
    Upload(Upload),
}

/// Closed rows have no form: the policy keeps them from coming here.
const NO_FORM: Malformed = Malformed::new("the method takes no calls from other peers");

pub(super) fn unary<M: UnaryMethod>(
    components: Arc<Components>,
    question: &[u8],
) -> Result<BoxFuture<'static, Result<Vec<u8>, RpcError>>, Malformed> {
    let form = M::FORM.ok_or(NO_FORM)?;
    let answer = M::run(components, (form.read_request)(question)?);
    Ok(Box::pin(async move { Ok((form.write_response)(&answer.await?)) }))
}

pub(super) fn streaming<M: StreamMethod>(
    components: Arc<Components>,
    question: Option<&[u8]>,
) -> Result<PageStream<Vec<u8>, RpcError>, Malformed> {
    let form = M::FORM.ok_or(NO_FORM)?;
    // Callers that have nothing to say send nothing: it reads as the empty value.
    let request = (form.read_request)(question.unwrap_or(&[0xc0]))?;
    let write = move |page: Vec<M::Resp>| page.iter().map(|value| (form.write_response)(value)).collect();
    Ok(M::run(components, request).map(move |page| page.map(write)).boxed())
}

pub(super) fn upload<M: UploadMethod>(
    components: Arc<Components>,
    values: BoxStream<'static, Result<Bytes, RpcError>>,
) -> BoxFuture<'static, Result<(), RpcError>> {
    let Some(form) = M::FORM else {
        return Box::pin(async { Err(RpcError::new(RpcErrorKind::Unauthorized, NO_FORM.to_string())) });
    };
    let read = move |value: Bytes| {
        (form.read_request)(&value).map_err(|error| RpcError::new(RpcErrorKind::Invalid, error.to_string()))
    };
    M::run(components, values.map(move |value| value.and_then(read)).boxed())
}

/// One call that is being answered.
struct Call {
    service: ServiceId,
    out: WriteHalf<Duplex>,
    clock: Arc<dyn Clock>,
    /// What the caller was told instead of an answer, or behind a part of it.
    failed: Option<RpcError>,
}

/// The caller went away or takes nothing: nobody is left to be told.
struct Gone;

impl Rpc {
    /// Answers a stream that a peer opened, within the policy. Ends when the call has.
    ///
    /// *Cancel safety:* dropped, the call is given up as if its caller had gone.
    pub async fn serve(&self, peer: PeerId, stream: Duplex) {
        let Some((_, clock)) = self.wire() else { return };
        let passed = Passed::default();
        let stream: Duplex = Box::new(Counted { inner: stream, passed: passed.clone() });
        let (read, out) = stream.split();
        let mut values = Values::new(read);
        let head = within(&*clock, TRANSFER_MAX, values.next(HEAD_MAX)).await;
        let Some(Ok(Some(head))) = head else { return };
        let service = match ServiceId::from_msgpack(&head) {
            Ok(service) => service,
            Err(error) => return tracing::debug!(%peer, %error, "a call without a head"),
        };
        let mut call = Call { service, out, clock, failed: None };
        let done = match self.admit(&peer, &call.service) {
            Ok((components, row)) => {
                let done = self.run(&mut call, peer, components, row, values).await;
                if let (Ok(()), Some(metrics)) = (&done, self.metrics()) {
                    metrics.call_bytes(row.info.name, passed.received(), passed.sent());
                }
                done
            }
            Err(error) => call.refuse(&error, &mut values).await,
        };
        if done.is_err() {
            tracing::trace!(%peer, method = call.service.method, "the caller went away");
        }
    }

    /// Runs a call that was let in, and tells of it. What it asks of other peers is told to be a part of it.
    async fn run(
        &self,
        call: &mut Call,
        peer: PeerId,
        components: Arc<Components>,
        row: &'static Served,
        values: Values<ReadHalf<Duplex>>,
    ) -> Result<(), Gone> {
        let method = row.info.name;
        let tracer = self.tracer(method);
        let traced = tracer.and_then(Tracer::request);
        let work = self.timed(method, CallSide::Answered, call.run(components, row, values));
        let done = trace::within(traced.clone(), work).await;
        if let (Some(tracer), Some(traced)) = (tracer, traced) {
            tracer.answered(&traced, told(method, &peer, &done, call.failed.as_ref()));
        }
        done
    }

    /// What answers, if this peer may ask it.
    fn admit(&self, peer: &PeerId, service: &ServiceId) -> Result<(Arc<Components>, &'static Served), RpcError> {
        let missing = |what: &str, name: &str| {
            RpcError::new(RpcErrorKind::NoSuchMethod, format!("rpc: can't find {what} {name}"))
        };
        let of_service = |row: &&Served| row.info.name.split_once('.').is_some_and(|(name, _)| name == service.name);
        if !SERVED.iter().any(|row| of_service(&row)) {
            return Err(missing("service", &service.name));
        }
        let is_meant = |row: &&Served| row.info.name.split_once('.').is_some_and(|(_, name)| name == service.method);
        let row = SERVED.iter().filter(of_service).find(is_meant).ok_or_else(|| missing("method", &service.method))?;
        let components = self.local()?;
        let allowed = match row.info.policy {
            _ if self.is_closed(&row.info) => false,
            Policy::Open => true,
            Policy::Trusted => components.consensus.trusts(peer),
            Policy::Closed => false,
        };
        if allowed {
            return Ok((components, row));
        }
        let text = format!("client does not have permissions to call {}", row.info.name);
        Err(RpcError::new(RpcErrorKind::Unauthorized, text))
    }
}

impl Call {
    async fn run(
        &mut self,
        components: Arc<Components>,
        row: &'static Served,
        mut values: Values<ReadHalf<Duplex>>,
    ) -> Result<(), Gone> {
        match row.run {
            Run::Unary(run) => {
                let question = self.question(&mut values).await?.ok_or(Gone)?;
                match run(components, &question) {
                    Ok(answer) => self.answer(answer, &mut values).await,
                    Err(error) => self.refuse(&invalid(error), &mut values).await,
                }
            }
            Run::Stream(run) => {
                let question = self.question(&mut values).await?;
                match run(components, question.as_deref()) {
                    Ok(pages) => self.pages(pages, &mut values).await,
                    Err(error) => self.refuse(&invalid(error), &mut values).await,
                }
            }
            Run::Upload(run) => {
                let clock = Arc::clone(&self.clock);
                match run(components, uploaded(values, clock)).await {
                    Ok(()) => self.close().await,
                    // What the caller still sends is not waited for: the stream is reset behind the answer.
                    Err(error) => self.fail(&error).await,
                }
            }
        }
    }

    async fn question(&self, values: &mut Values<ReadHalf<Duplex>>) -> Result<Option<Bytes>, Gone> {
        within(&*self.clock, TRANSFER_MAX, values.next(VALUE_MAX)).await.ok_or(Gone)?.map_err(|_| Gone)
    }

    /// One value. The caller ends its half only when it no longer wants it.
    async fn answer(
        &mut self,
        answer: BoxFuture<'static, Result<Vec<u8>, RpcError>>,
        values: &mut Values<ReadHalf<Duplex>>,
    ) -> Result<(), Gone> {
        let answer = match select(answer, Box::pin(values.ended())).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => return Err(Gone),
        };
        match answer {
            Ok(value) => self.send(&[&self.success(), &value]).await?,
            Err(error) => return self.refuse(&error, values).await,
        }
        self.end(values).await
    }

    async fn pages(
        &mut self,
        mut pages: PageStream<Vec<u8>, RpcError>,
        values: &mut Values<ReadHalf<Duplex>>,
    ) -> Result<(), Gone> {
        let head = self.success();
        while let Some(page) = pages.next().await {
            match page {
                Ok(page) => {
                    let parts: Vec<&[u8]> = page.iter().flat_map(|value| [head.as_slice(), value]).collect();
                    self.send(&parts).await?;
                }
                Err(error) => return self.refuse(&error, values).await,
            }
        }
        self.end(values).await
    }

    fn success(&self) -> Vec<u8> {
        Response::success(self.service.clone()).to_msgpack()
    }

    /// Tells an error and lets the caller take it before the stream is gone.
    async fn refuse(&mut self, error: &RpcError, values: &mut Values<ReadHalf<Duplex>>) -> Result<(), Gone> {
        self.fail(error).await?;
        self.end(values).await
    }

    async fn fail(&mut self, error: &RpcError) -> Result<(), Gone> {
        self.failed = Some(error.clone());
        let head = Response::failure(self.service.clone(), error).to_msgpack();
        self.send(&[&head, &[0xc0]]).await
    }

    /// Ends our half and waits for the end of the other: dropping it earlier could take back what was sent.
    async fn end(&mut self, values: &mut Values<ReadHalf<Duplex>>) -> Result<(), Gone> {
        self.close().await?;
        within(&*self.clock, TRANSFER_MAX, values.ended()).await.ok_or(Gone)
    }

    async fn close(&mut self) -> Result<(), Gone> {
        within(&*self.clock, TRANSFER_MAX, self.out.close()).await.ok_or(Gone)?.map_err(|_| Gone)
    }

    async fn send(&mut self, parts: &[&[u8]]) -> Result<(), Gone> {
        let bytes = parts.concat();
        let out = &mut self.out;
        let sent = async move {
            out.write_all(&bytes).await?;
            out.flush().await
        };
        within(&*self.clock, TRANSFER_MAX, sent).await.ok_or(Gone)?.map_err(|_| Gone)
    }
}

/// What the span of an answered call tells.
fn told(method: &str, peer: &PeerId, done: &Result<(), Gone>, failed: Option<&RpcError>) -> Answered {
    let mut attributes = told_of(method, peer);
    if let Some(failed) = failed {
        attributes.push(("error.type", Value::Text(failed.kind.word().to_owned())));
    }
    let gone = || done.is_err().then(|| "the caller went away".to_owned());
    let error = failed.map(ToString::to_string).or_else(gone);
    Answered { name: format!("rpc/{method}"), attributes, link: None, error }
}

fn invalid(error: Malformed) -> RpcError {
    // The reference's clients know it by its kind, which is that of a method that is not there.
    RpcError::new(RpcErrorKind::NoSuchMethod, error.to_string())
}

/// Values as they come, until their end; a stream that breaks, or stalls, is an error and no end.
fn uploaded(values: Values<ReadHalf<Duplex>>, clock: Arc<dyn Clock>) -> BoxStream<'static, Result<Bytes, RpcError>> {
    let broken = |error: ReadError| RpcError::new(RpcErrorKind::Failed, error.to_string());
    stream::unfold(Some((values, clock)), move |state| async move {
        let (mut values, clock) = state?;
        match within(&*clock, TRANSFER_MAX, values.next(VALUE_MAX)).await {
            Some(Ok(Some(value))) => Some((Ok(value), Some((values, clock)))),
            Some(Ok(None)) => None,
            Some(Err(error)) => Some((Err(broken(error)), None)),
            None => Some((Err(RpcError::new(RpcErrorKind::Failed, "the caller sends nothing more")), None)),
        }
    })
    .boxed()
}

/// What becomes of a wait that ends after a span: `None` when it has not come by then.
pub(super) async fn within<T>(clock: &dyn Clock, span: Duration, wait: impl Future<Output = T>) -> Option<T> {
    let late = sleep(clock, span);
    futures::pin_mut!(wait, late);
    match select(wait, late).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}
