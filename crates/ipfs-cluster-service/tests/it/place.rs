//! Folders of peers that will form a cluster: one secret, addresses that are known before they run.

use crate::peer::{init_by, service};
use cluster_testkit::kubo::FakeKubo;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A peer's folder, and how others reach it.
pub(crate) struct Place {
    folder: tempfile::TempDir,
    pub(crate) id: String,
    pub(crate) address: String,
    pub(crate) kubo: FakeKubo,
}

/// The JSON in a file.
pub(crate) fn read(path: PathBuf) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).expect("there")).expect("JSON")
}

/// The TCP port that a multiaddr names first.
fn port_of(address: &str) -> u16 {
    let after = address.split("/tcp/").nth(1).expect("a TCP address");
    after.split(|c: char| !c.is_ascii_digit()).next().expect("a part").parse().expect("a port")
}

impl Place {
    /// A folder that `init` made with these arguments, for a peer that listens at this address of the loopback interface.
    pub(crate) fn new(args: &[&str], ip: &str) -> Self {
        Self::with(args, FakeKubo::start(), ip, None)
    }

    /// The same with this daemon, and this port instead of a free one.
    pub(crate) fn with(args: &[&str], kubo: FakeKubo, ip: &str, port: Option<u16>) -> Self {
        Self::made_by(service(), args, kubo, ip, port)
    }

    /// The same by this program, which may be the reference's.
    pub(crate) fn made_by(program: Command, args: &[&str], kubo: FakeKubo, ip: &str, port: Option<u16>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        init_by(program, folder.path(), &kubo, args);
        let chosen = read(folder.path().join("service.json"))["cluster"]["listen_multiaddress"].to_string();
        let port = port.unwrap_or_else(|| port_of(&chosen));
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
