//! Spans as OpenTelemetry's library has them.

use cluster_component::trace::{Span, SpanId, SpanKind, TraceId, Value};
use cluster_types::Timestamp;
use opentelemetry::trace::{self as otel, SpanContext, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use std::time::{Duration, SystemTime};

/// The span in the library's form.
pub(crate) fn data(span: Span, scope: &InstrumentationScope) -> SpanData {
    let mut links = SpanLinks::default();
    links.links.extend(span.link.map(|(trace, id)| otel::Link::with_context(context(trace, id, true))));
    SpanData {
        span_context: context(span.trace, span.id, false),
        parent_span_id: span.parent.map_or(otel::SpanId::INVALID, |id| otel::SpanId::from_bytes(id.0)),
        parent_span_is_remote: false,
        span_kind: match span.kind {
            SpanKind::Internal => otel::SpanKind::Internal,
            SpanKind::Server => otel::SpanKind::Server,
            SpanKind::Client => otel::SpanKind::Client,
        },
        name: span.name.into(),
        start_time: moment(span.begun),
        end_time: moment(span.ended),
        attributes: span.attributes.into_iter().map(attribute).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links,
        status: span.error.map_or(Status::Unset, Status::error),
        instrumentation_scope: scope.clone(),
    }
}

fn context(trace: TraceId, span: SpanId, remote: bool) -> SpanContext {
    let (trace, span) = (otel::TraceId::from_bytes(trace.0), otel::SpanId::from_bytes(span.0));
    SpanContext::new(trace, span, TraceFlags::SAMPLED, remote, TraceState::default())
}

fn attribute((key, value): (&'static str, Value)) -> KeyValue {
    match value {
        Value::Text(text) => KeyValue::new(key, text),
        Value::Number(number) => KeyValue::new(key, number),
    }
}

fn moment(timestamp: Timestamp) -> SystemTime {
    let since = Duration::from_nanos(u64::try_from(timestamp.unix_nanos()).unwrap_or(0));
    SystemTime::UNIX_EPOCH + since
}
