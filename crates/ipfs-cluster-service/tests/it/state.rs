//! Export and import of a pinset, in the reference's form.

use crate::peer::{Peer, init, service};
use cluster_testkit::kubo::FakeKubo;
use cluster_types::PinOptions;
use std::path::Path;
use std::process::Output;

/// Recorded from the reference.
pub(crate) const EXPORT: &str = include_str!("../data/state-export.ndjson");

pub(crate) fn state(folder: &Path, args: &[&str]) -> Output {
    service().arg("--config").arg(folder).arg("state").args(args).output().expect("the program runs")
}

pub(crate) fn export(folder: &Path) -> String {
    let output = state(folder, &["export"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

pub(crate) fn import(folder: &Path, text: &str) -> Output {
    let file = folder.join("import.json");
    std::fs::write(&file, text).expect("written");
    state(folder, &["import", "--force", file.to_str().expect("a path")])
}

#[test]
fn what_the_reference_exported_is_imported_and_exported_as_it_was() {
    let home = tempfile::tempdir().expect("home");
    init(home.path(), &FakeKubo::start());

    assert!(import(home.path(), EXPORT).status.success());
    assert_eq!(export(home.path()), EXPORT);
    assert!(import(home.path(), &export(home.path())).status.success());
    assert_eq!(export(home.path()), EXPORT);
}

#[test]
fn an_import_that_makes_no_sense_leaves_everything_as_it_was() {
    let home = tempfile::tempdir().expect("home");
    init(home.path(), &FakeKubo::start());
    assert!(import(home.path(), EXPORT).status.success());

    let broken = format!("{EXPORT}{{\"cid\": \"nonsense\"}}\n");
    let output = import(home.path(), &broken);

    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("error importing state: pin ") && text.contains("nothing was changed"), "{text}");
    assert_eq!(export(home.path()), EXPORT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_peer_s_pins_are_in_the_export() {
    let home = tempfile::tempdir().expect("home");
    let mut peer = Peer::with(home.path(), &FakeKubo::start());
    let cid = "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN".parse().expect("a CID");
    let options = PinOptions { name: "kept".into(), ..PinOptions::default() };
    peer.client().pin(&cid, &options).await.expect("pinned");
    assert!(peer.stop().success());

    let exported = export(home.path());
    assert!(exported.contains("\"name\":\"kept\"") && exported.contains(&cid.to_string()), "{exported}");
}

/// The flag of the program was accepted and meant nothing.
#[test]
fn the_force_of_the_program_is_that_of_the_command() {
    let home = tempfile::tempdir().expect("home");
    init(home.path(), &FakeKubo::start());
    assert!(import(home.path(), EXPORT).status.success());

    let asked = state(home.path(), &["cleanup"]);
    assert!(asked.status.success() && export(home.path()) == EXPORT, "nobody said yes: {asked:?}");
    let forced =
        service().arg("-f").arg("--config").arg(home.path()).args(["state", "cleanup"]).output().expect("runs");

    assert!(forced.status.success(), "{forced:?}");
    assert_eq!(export(home.path()), "");
}

#[test]
fn a_secret_may_stand_in_a_file_of_its_own() {
    let home = tempfile::tempdir().expect("home");
    let secret = "ab".repeat(32);
    let file = home.path().join("secret");
    std::fs::write(&file, format!("{secret}\n")).expect("written");
    let folder = home.path().join("peer");
    let run = |args: &[&str]| {
        let mut program = service();
        program.env("CLUSTER_SECRET_FILE", &file).arg("--config").arg(&folder).args(args).output().expect("it runs")
    };

    assert!(run(&["init"]).status.success());
    let shown = run(&["config", "show", "--secrets"]);

    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains(&format!("cluster.secret = \"{secret}\"")), "{shown}");
    std::fs::remove_file(&file).expect("removed");
    let refused = run(&["config", "check"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("CLUSTER_SECRET_FILE names the file"), "{told}");
}
