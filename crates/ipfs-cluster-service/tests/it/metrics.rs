//! Figures of a running peer.

use crate::peer::{Peer, free_port, init};
use cluster_testkit::kubo::FakeKubo;
use std::io::{Read, Write};
use std::net::TcpStream;

/// The metrics of the cluster that the reference has, with their kinds.
const OF_THE_REFERENCE: [(&str, &str); 14] = [
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
];

fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).expect("sent");
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
    std::fs::write(&file, text.replace("127.0.0.1/tcp/8888", &format!("127.0.0.1/tcp/{free}"))).expect("written");
    let peer = Peer::start_with(home.path(), &["--stats"]);

    let added = peer.ctl(&["add", "--wait", source.to_str().expect("a path")]);
    assert_eq!(added.code, 0, "{added:?}");
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
    ] {
        assert!(page.contains(&format!("{line}\n")), "{line} is missing:\n{page}");
    }
    assert!(get(free, "/other").starts_with("HTTP/1.1 404"));
}
