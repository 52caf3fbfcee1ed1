//! Folders of peers that will form a cluster: one secret, addresses that are known before they run.

use crate::peer::init_with;
use cluster_testkit::kubo::FakeKubo;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A peer's folder, and how others reach it.
pub(crate) struct Place {
    folder: tempfile::TempDir,
    pub(crate) id: String,
    pub(crate) address: String,
    pub(crate) kubo: FakeKubo,
}

fn read(path: PathBuf) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).expect("there")).expect("JSON")
}

impl Place {
    /// A folder that `init` made with these arguments, for a peer that listens at this address of the loopback interface.
    pub(crate) fn new(args: &[&str], ip: &str) -> Self {
        let port = std::net::TcpListener::bind((ip, 0)).expect("a port").local_addr().expect("bound").port();
        Self::with(args, FakeKubo::start(), ip, port)
    }

    /// The same with this daemon, for a peer that listens here.
    pub(crate) fn with(args: &[&str], kubo: FakeKubo, ip: &str, port: u16) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        init_with(folder.path(), &kubo, args);
        let id = read(folder.path().join("identity.json"))["id"].as_str().expect("an id").to_owned();
        Self { folder, address: format!("/ip4/{ip}/tcp/{port}/p2p/{id}"), id, kubo }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The same secret everywhere, fixed ports, these others, and what else is set.
    pub(crate) fn configure(&self, others: &[String], set: impl FnOnce(&mut Value)) {
        let path = self.path().join("service.json");
        let mut file = read(path.clone());
        let listen = self.address.split("/p2p/").next().expect("an address");
        file["cluster"]["secret"] = json!(SECRET);
        file["cluster"]["listen_multiaddress"] = json!([listen]);
        file["cluster"]["peer_addresses"] = json!(others);
        file["cluster"]["mdns_interval"] = json!("0s");
        set(&mut file);
        std::fs::write(path, file.to_string()).expect("written");
    }
}
