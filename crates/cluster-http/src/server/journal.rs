//! What is told of each request, whichever API it is for: a line of the access log, figures, and a span.

use super::access_log::AccessLog;
use super::body::{RequestBody, ResponseBody};
use cluster_component::metrics::{Metrics, RequestKind};
use cluster_component::trace::{self, Answered, SpanId, TraceId, Tracer, Value};
use http::{Method, Request, Response, StatusCode};
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

/// Where requests are told of.
pub(crate) struct Journal {
    log: AccessLog,
    metrics: Arc<Metrics>,
    tracer: Tracer,
}

impl Journal {
    pub(crate) fn new(log: AccessLog, metrics: Arc<Metrics>) -> Self {
        Self { log, metrics, tracer: Tracer::default() }
    }

    /// Tells this tracer too.
    pub(crate) fn trace(&mut self, tracer: Tracer) {
        self.tracer = tracer;
    }

    /// Has a request answered, and tells of it. `route` is the name of what it is for, of a closed set.
    ///
    /// *Cancel safety:* dropped, the request is in the log and in none of the times.
    pub(crate) async fn follow<F>(
        &self,
        from: Arc<str>,
        route: &'static str,
        mut request: Request<RequestBody>,
        answer: impl FnOnce(Request<RequestBody>) -> F,
    ) -> Response<ResponseBody>
    where
        F: Future<Output = Response<ResponseBody>>,
    {
        let entry = self.log.entry(from, &request).counted(&self.metrics);
        request.body_mut().count(&self.metrics);
        let (begun, method) = (Instant::now(), request.method().clone());
        let traced = self.tracer.request();
        let link = traced.as_ref().and_then(|_| client_span(&request));
        let response = trace::within(traced.clone(), answer(request)).await;
        let status = response.status();
        if let Some(traced) = traced {
            self.tracer.answered(&traced, told(&method, route, status, link));
        }
        let kind = RequestKind { route, method: known(&method).to_owned(), status: status.as_u16() };
        self.metrics.request(kind, begun.elapsed());
        entry.follow(response)
    }
}

/// The span of a client that traces its own work.
fn client_span<B>(request: &Request<B>) -> Option<(TraceId, SpanId)> {
    trace::parse_traceparent(request.headers().get("traceparent")?.to_str().ok()?)
}

/// The method, or OpenTelemetry's word for one that somebody made up: there is no end of those.
fn known(method: &Method) -> &str {
    let known = [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::HEAD, Method::OPTIONS, Method::PATCH];
    if known.contains(method) { method.as_str() } else { "_OTHER" }
}

/// What is told of a request, by OpenTelemetry's names.
fn told(method: &Method, route: &'static str, status: StatusCode, link: Option<(TraceId, SpanId)>) -> Answered {
    let text = |text: &str| Value::Text(text.to_owned());
    let method = known(method);
    Answered {
        name: format!("{method} {route}"),
        attributes: vec![
            ("http.request.method", text(method)),
            ("http.route", text(route)),
            ("http.response.status_code", Value::Number(i64::from(status.as_u16()))),
        ],
        link,
        error: status.is_server_error().then(|| status.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_named_by_methods_that_there_are() {
        let name = |method: &str| {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            told(&method, "Pin", StatusCode::OK, None).name
        };
        assert_eq!((name("POST").as_str(), name("MADEUP").as_str()), ("POST Pin", "_OTHER Pin"));
        let failed = told(&Method::GET, "Id", StatusCode::INTERNAL_SERVER_ERROR, None).error;
        assert_eq!(failed.as_deref(), Some("500 Internal Server Error"));
    }
}
