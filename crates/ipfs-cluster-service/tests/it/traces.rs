//! What peers tell a collector: a pin's way over several peers is one trace.

use crate::crdt_cluster::{ALONE, all_see, talkative, until};
use crate::peer::{DEADLINE, Peer};
use crate::place::Place;
use crate::raft::cid;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// The context of the client that pins.
const CLIENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Kinds of spans, as OTLP numbers them.
const ANSWERING: i32 = 2;
const ASKING: i32 = 3;

/// A span and the service that told of it.
type Told = (String, Span);

/// Takes what is sent by OTLP over HTTP.
struct Collector {
    endpoint: String,
    told: Arc<Mutex<Vec<Told>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let told = Arc::<Mutex<Vec<Told>>>::default();
        let all = Arc::clone(&told);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let all = Arc::clone(&all);
                std::thread::spawn(move || while take(&stream, &all).is_some() {});
            }
        });
        Self { endpoint, told }
    }

    fn spans(&self) -> Vec<Told> {
        self.told.lock().expect("told").clone()
    }

    /// Waits until what was told is right.
    fn until(&self, right: impl Fn(&[Told]) -> bool) -> Vec<Told> {
        let begun = Instant::now();
        loop {
            let spans = self.spans();
            if right(&spans) {
                return spans;
            }
            let names: Vec<_> = spans.iter().map(|(service, span)| format!("{service}: {}", span.name)).collect();
            assert!(begun.elapsed() < DEADLINE, "{names:#?}");
            std::thread::yield_now();
        }
    }
}

/// Reads one request and answers it.
fn take(mut stream: &TcpStream, all: &Mutex<Vec<Told>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_lowercase());
    }
    assert_eq!(head[0], "post /v1/traces http/1.1");
    assert!(head.contains(&"content-type: application/x-protobuf".to_owned()), "{head:?}");
    let length = head.iter().find_map(|line| line.strip_prefix("content-length: "))?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let request = ExportTraceServiceRequest::decode(&*body).expect("protobuf");
    for of_peer in request.resource_spans {
        let service = text(&of_peer.resource.expect("a resource").attributes, "service.name").expect("a name");
        let spans = of_peer.scope_spans.into_iter().flat_map(|scope| scope.spans);
        all.lock().expect("told").extend(spans.map(|span| (service.clone(), span)));
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n").ok()
}

fn text(attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Any::StringValue(text) => Some(text.clone()),
        Any::IntValue(number) => Some(number.to_string()),
        other => panic!("{key} is {other:?}"),
    }
}

/// Pins as a client does that traces its own work.
fn pin(peer: &Peer, item: &str) {
    let mut parts = peer.api.split('/').skip(2).step_by(2);
    let (ip, port) = (parts.next().expect("an IP address"), parts.next().expect("a port"));
    let mut stream = TcpStream::connect(format!("{ip}:{port}")).expect("connected");
    let request = format!(
        "POST /pins/{item}?replication-min=-1&replication-max=-1 HTTP/1.1\r\nHost: x\r\ntraceparent: {CLIENT}\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn tracing(collector: &Collector, name: &str, part: f64) -> impl Fn(&mut Value) {
    let section = json!({ "enable_tracing": true, "otlp_endpoint": collector.endpoint, "sampling_prob": part,
        "service_name": "test" });
    let name = name.to_owned();
    move |file| {
        talkative(file);
        file["cluster"]["peername"] = json!(name);
        file["observations"]["tracing"] = section.clone();
    }
}

#[test]
fn proc_a_pins_way_over_two_peers_is_one_trace() {
    let _alone = ALONE.blocking_lock();
    let collector = Collector::start();
    let places = [Place::new(&[], "127.0.0.1"), Place::new(&[], "127.0.0.2")];
    places[0].configure(&[], tracing(&collector, "one", 1.0));
    places[1].configure(std::slice::from_ref(&places[0].address), tracing(&collector, "two", 1.0));
    let mut peers: Vec<Peer> = places.iter().map(|place| Peer::start(place.path())).collect();
    all_see(&peers, 1);
    let item = cid(7).to_string();

    pin(&peers[0], &item);
    until(&peers[0], &["status", &item], |answer| answer.matches(": PINNED").count() == 2);

    let about = |(_, span): &&Told| text(&span.attributes, "cid").as_deref() == Some(item.as_str());
    let told = collector.until(|told| told.iter().filter(about).count() >= 3);
    let trace = told.iter().find(about).expect("told").1.trace_id.clone();
    let all = collector.until(|told| told.iter().filter(|(_, span)| span.trace_id == trace).count() >= 7);
    let of = |service: &str, name: &str| {
        let mut found = all.iter().filter(|(s, span)| s == service && span.name == name && span.trace_id == trace);
        found.next().unwrap_or_else(|| panic!("{service} did not tell of {name}: {all:#?}")).1.clone()
    };
    let (request, root) = (of("test-one", "POST Pin"), of("test-one", "cluster/Pin"));
    assert_eq!(text(&request.attributes, "http.response.status_code").as_deref(), Some("200"));
    assert_eq!(hex(&request.links[0].trace_id), CLIENT[3..35]);
    assert_eq!((request.parent_span_id.len(), &root.parent_span_id), (0, &request.span_id));
    assert_eq!(of("test-one", "consensus/LogPin").parent_span_id, root.span_id);
    for service in ["test-one", "test-two"] {
        let work = of(service, "tracker/Pin");
        assert_eq!(work.parent_span_id, root.span_id, "{service}");
        assert_eq!(of(service, "ipfs/Pin").parent_span_id, work.span_id, "{service}");
        assert!(work.start_time_unix_nano <= work.end_time_unix_nano && work.start_time_unix_nano > 0);
    }

    // A list asks the other peer: that is a part of the request, and a trace of its own where it is answered.
    assert_eq!(peers[0].ctl(&["status"]).code, 0);
    let list = "rpc/PinTracker.StatusAll";
    let named = |told: &[Told], service: &str, name: &str| {
        told.iter().filter(|(s, span)| s == service && span.name == name).map(|(_, span)| span.clone()).next()
    };
    let both = |told: &[Told]| named(told, "test-one", list).is_some() && named(told, "test-two", list).is_some();
    let told = collector.until(both);
    let asked = named(&told, "test-one", list).expect("told");
    let answered = named(&told, "test-two", list).expect("told");
    let request = told.iter().find(|(_, span)| span.span_id == asked.parent_span_id).expect("of a request");
    assert_eq!((request.1.name.as_str(), &request.1.trace_id), ("GET StatusAll", &asked.trace_id));
    assert_eq!(text(&asked.attributes, "peer").as_deref(), Some(places[1].id.as_str()));
    assert_eq!(text(&answered.attributes, "peer").as_deref(), Some(places[0].id.as_str()));
    assert_eq!((asked.kind, answered.kind), (ASKING, ANSWERING));

    // What is told last is sent before a peer ends.
    assert_eq!(peers[1].ctl(&["version"]).code, 0);
    assert!(peers.iter_mut().all(|peer| peer.stop().success()));
    let version = |(service, span): &Told| service == "test-two" && span.name == "GET Version";
    assert!(collector.spans().iter().any(version), "the last span is lost");
}

#[test]
fn proc_without_a_collector_a_peer_works_as_ever_and_says_so_once() {
    let place = Place::new(&[], "127.0.0.1");
    let nobody = Collector { endpoint: "http://127.0.0.1:1".into(), told: Arc::default() };
    place.configure(&[], tracing(&nobody, "alone", 1.0));
    let mut peer = Peer::start(place.path());
    let item = cid(8).to_string();

    assert_eq!(peer.ctl(&["pin", "add", "--wait", &item]).code, 0);
    assert!(peer.hear("traces cannot be sent").contains("127.0.0.1:1"));
    assert_eq!(peer.ctl(&["version"]).code, 0);

    assert!(peer.stop().success());
    let again = peer.rest_of_log().into_iter().filter(|line| line.contains("traces cannot be sent")).count();
    assert_eq!(again, 0);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
