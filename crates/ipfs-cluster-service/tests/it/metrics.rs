//! Figures of a running peer.

use crate::crdt_cluster::{ALONE, all_see, lists, talkative};
use crate::peer::{DEADLINE, Peer, free_port, init};
use crate::place::Place;
use crate::raft::cid;
use cluster_testkit::kubo::FakeKubo;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

/// The metrics of the cluster that the reference has, with their kinds.
const OF_THE_REFERENCE: [(&str, &str); 26] = [
    ("pins", "gauge"),
    ("pins_pin_queued", "gauge"),
    ("pins_pinning", "gauge"),
    ("pins_pin_error", "gauge"),
    ("pins_ipfs_pins", "gauge"),
    ("pins_pin_add", "counter"),
    ("pins_pin_add_errors", "counter"),
    ("blocks_put", "counter"),
    ("blocks_added", "counter"),
    ("blocks_added_size", "counter"),
    ("blocks_put_errors", "counter"),
    ("informer_disk", "gauge"),
    ("gorpc_libp2p_io_server_completed_rpcs", "counter"),
    ("gorpc_libp2p_io_server_server_latency", "histogram"),
    ("gorpc_libp2p_io_server_received_bytes_per_rpc", "histogram"),
    ("gorpc_libp2p_io_server_sent_bytes_per_rpc", "histogram"),
    ("opencensus_io_http_client_completed_count", "counter"),
    ("opencensus_io_http_client_received_bytes", "histogram"),
    ("opencensus_io_http_client_roundtrip_latency", "histogram"),
    ("opencensus_io_http_client_sent_bytes", "histogram"),
    ("opencensus_io_http_server_latency", "histogram"),
    ("opencensus_io_http_server_request_bytes", "histogram"),
    ("opencensus_io_http_server_request_count", "counter"),
    ("opencensus_io_http_server_request_count_by_method", "counter"),
    ("opencensus_io_http_server_response_bytes", "histogram"),
    ("opencensus_io_http_server_response_count_by_status_code", "counter"),
];

fn get(port: u16, path: &str) -> String {
    ask(port, "GET", path)
}

fn ask(port: u16, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream
        .write_all(format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
        .expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}

#[test]
fn proc_metrics_have_the_names_of_the_reference_and_count_what_happens() {
    let home = tempfile::tempdir().expect("home");
    let (source, kubo) = (home.path().join("a.txt"), FakeKubo::start());
    std::fs::write(&source, "hello\n").expect("written");
    init(home.path(), &kubo);
    let file = home.path().join("service.json");
    let free = free_port();
    let text = std::fs::read_to_string(&file).expect("a configuration");
    let config: Value = serde_json::from_str(&text).expect("JSON");
    let listen = config["api"]["ipfsproxy"]["listen_multiaddress"].as_str().expect("an address");
    let proxy = listen.rsplit('/').next().and_then(|port| port.parse().ok()).expect("a port");
    std::fs::write(&file, text.replace("127.0.0.1/tcp/8888", &format!("127.0.0.1/tcp/{free}"))).expect("written");
    let peer = Peer::start_with(home.path(), &["--stats"]);

    let added = peer.ctl(&["add", "--wait", source.to_str().expect("a path")]);
    assert_eq!(added.code, 0, "{added:?}");
    // The proxy's daemon is another one, which is not there.
    for (command, status) in [("pin/ls", "200"), ("version", "502")] {
        let answer = ask(proxy, "POST", &format!("/api/v0/{command}"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    let page = get(free, "/metrics");

    assert!(page.contains("content-type: text/plain; version=0.0.4"), "{page}");
    for (name, kind) in OF_THE_REFERENCE {
        assert!(page.contains(&format!("# TYPE ipfscluster_{name} {kind}\n")), "{name} is missing:\n{page}");
    }
    for line in [
        "ipfscluster_pins 1",
        "ipfscluster_pins_pin_add 1",
        "ipfscluster_pins_pin_error 0",
        "ipfscluster_blocks_put 1",
        "ipfscluster_blocks_added_size 14",
        "ipfscluster_http_request_duration_seconds_count{route=\"Add\",method=\"POST\",status=\"200\"} 1",
        "ipfscluster_http_request_duration_seconds_count{route=\"proxy/pin/ls\",method=\"POST\",status=\"200\"} 1",
        "ipfscluster_http_request_duration_seconds_count{route=\"proxy/daemon\",method=\"POST\",status=\"502\"} 1",
    ] {
        assert!(page.contains(&format!("{line}\n")), "{line} is missing:\n{page}");
    }
    let asked = "{http_client_method=\"POST\",http_client_status=\"200\"}";
    for figure in [
        "datastore_disk_bytes",
        "datastore_write_duration_seconds_count",
        "datastore_sync_duration_seconds_count",
        "opencensus_io_http_server_request_bytes_sum",
        "opencensus_io_http_server_response_bytes_sum",
        &format!("opencensus_io_http_client_roundtrip_latency_count{asked}"),
        &format!("opencensus_io_http_client_received_bytes_sum{asked}"),
        &format!("opencensus_io_http_client_sent_bytes_sum{asked}"),
    ] {
        assert!(value(&page, &format!("ipfscluster_{figure}")) > 0.0, "{figure} is nothing:\n{page}");
    }
    assert!(get(free, "/other").starts_with("HTTP/1.1 404"));
}

/// The figure of these labels; nothing is 0.
fn value(page: &str, figure: &str) -> f64 {
    let found = page.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(' '));
    found.map_or(0.0, |text| text.parse().expect("a number"))
}

/// What peers do with each other: calls in both directions, lists among them, and following the other's changes.
#[test]
fn proc_two_peers_count_their_calls_and_how_far_they_are_behind() {
    let _alone = ALONE.blocking_lock();
    let places = [Place::new(&[], "127.0.0.1"), Place::new(&[], "127.0.0.2")];
    let ports = [free_port(), free_port()];
    for (at, place) in places.iter().enumerate() {
        let others = if at == 0 { Vec::new() } else { vec![places[0].address.clone()] };
        place.configure(&others, |file| {
            talkative(file);
            let endpoint = format!("/ip4/127.0.0.1/tcp/{}", ports[at]);
            file["observations"]["metrics"] = json!({ "enable_stats": true, "prometheus_endpoint": endpoint });
        });
    }
    let peers: Vec<Peer> = places.iter().map(|place| Peer::start(place.path())).collect();
    all_see(&peers, 1);
    assert_eq!(peers[0].ctl(&["pin", "add", &cid(1).to_string()]).code, 0);
    peers.iter().for_each(|peer| lists(peer, 1));
    assert_eq!(peers[0].ctl(&["status"]).code, 0);

    let until = |port: u16, figure: &str| {
        let begun = Instant::now();
        loop {
            let page = get(port, "/metrics");
            if value(&page, figure) > 0.0 {
                return page;
            }
            assert!(begun.elapsed() < DEADLINE, "{figure} is nothing:\n{page}");
        }
    };
    let list = "PinTracker.StatusAll";
    until(ports[0], &format!("ipfscluster_rpc_asked_duration_seconds_count{{method=\"{list}\",result=\"ok\"}}"));
    let prefix = "ipfscluster_gorpc_libp2p_io_server";
    for direction in ["received", "sent"] {
        let figure = format!("{prefix}_{direction}_bytes_per_rpc_sum{{gorpc_server_method=\"{list}\"}}");
        until(ports[1], &figure);
    }
    let page = until(ports[1], "ipfscluster_crdt_convergence_seconds_count");
    assert!(page.contains("ipfscluster_crdt_lag_seconds 0\n"), "{page}");
    assert!(page.contains(&format!("{prefix}_server_latency_bucket{{gorpc_server_method=\"{list}\",le=\"0.01\"}}")));
}
