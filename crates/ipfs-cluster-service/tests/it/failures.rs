//! What goes wrong is told, with what to do, and nothing is lost.

use crate::peer::{Peer, init, service};
use cluster_testkit::kubo::FakeKubo;
use std::net::TcpListener;
use std::path::Path;

/// Runs the daemon, which must end with an error, and returns what it said.
fn refused(folder: &Path, variables: &[(&str, &str)]) -> String {
    let mut command = service();
    command.arg("--config").arg(folder).arg("daemon").envs(variables.iter().copied());
    let output = command.output().expect("the program runs");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("panicked"), "{text}");
    text
}

#[test]
fn a_folder_without_a_configuration_is_named() {
    let home = tempfile::tempdir().expect("home");
    let text = refused(home.path(), &[]);
    assert!(text.contains("error loading configurations: ") && text.contains("service.json"), "{text}");
    assert!(text.contains("ipfs-cluster-service init"), "{text}");
}

#[test]
fn a_configuration_that_is_no_json_is_refused_with_its_place() {
    let home = tempfile::tempdir().expect("home");
    init(home.path(), &FakeKubo::start());
    std::fs::write(home.path().join("service.json"), "{\n\"cluster\": }").expect("written");
    let text = refused(home.path(), &[]);
    assert!(text.contains("line 2"), "{text}");
}

#[test]
fn an_identity_that_does_not_fit_is_refused() {
    let (home, other) = (tempfile::tempdir().expect("home"), tempfile::tempdir().expect("other"));
    init(home.path(), &FakeKubo::start());
    init(other.path(), &FakeKubo::start());
    let read = |folder: &Path| std::fs::read_to_string(folder.join("identity.json")).expect("identity");
    let (mine, theirs) = (read(home.path()), read(other.path()));
    let id = |text: &str| text.split('"').nth(3).expect("an id").to_owned();
    std::fs::write(home.path().join("identity.json"), mine.replace(&id(&mine), &id(&theirs))).expect("written");

    let text = refused(home.path(), &[]);
    assert!(text.contains("identity ID does not match the private_key"), "{text}");
}

#[test]
fn a_port_in_use_is_named() {
    let home = tempfile::tempdir().expect("home");
    init(home.path(), &FakeKubo::start());
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("address").port();
    let address = format!("/ip4/127.0.0.1/tcp/{port}");

    let text = refused(home.path(), &[("CLUSTER_RESTAPI_HTTPLISTENMULTIADDRESS", &address)]);
    assert!(text.contains(&format!("127.0.0.1:{port}")) && text.contains("address already in use"), "{text}");
}

#[test]
fn a_second_peer_in_the_same_folder_is_kept_out() {
    let home = tempfile::tempdir().expect("home");
    let mut peer = Peer::with(home.path(), &FakeKubo::start());
    let text = refused(home.path(), &[]);
    assert!(text.contains("error obtaining execution lock: "), "{text}");
    assert!(peer.stop().success());
}
