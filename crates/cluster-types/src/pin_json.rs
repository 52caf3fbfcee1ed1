//! The JSON of pins and of their statuses, written by hand: lists of millions of them are streamed.
//!
//! What is written is equal to what `serde` writes with [`crate::json`]; a test holds the two together.

use crate::json::{write_go_json, write_go_text};
use crate::{Cid, GlobalPinInfo, Multiaddr, PeerId, Pin, PinInfo, PinInfoShort, PinMode, Timestamp};
use data_encoding::{Encoding, Specification};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::LazyLock;

/// Lower-case base32 without padding, as version 1 CIDs are written.
static BASE32_LOWER: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    specification.encoding().expect("thirty-two different symbols are an encoding")
});

impl Cid {
    /// Appends the text form.
    pub fn write_text(&self, out: &mut Vec<u8>) {
        if self.0.version() == ::cid::Version::V0 {
            // The text of a version 0 CID is ASCII and has at most 46 characters.
            let start = out.len();
            out.resize(start + 64, 0);
            let written = bs58::encode(self.to_bytes()).onto(&mut out[start..]).unwrap_or(0);
            out.truncate(start + written);
            return;
        }
        let mut bytes = [0_u8; 96];
        let mut rest = bytes.as_mut_slice();
        if self.0.write_bytes(&mut rest).is_err() {
            out.extend_from_slice(self.to_string().as_bytes());
            return;
        }
        let left = rest.len();
        let used = bytes.len() - left;
        let start = out.len();
        out.push(b'b');
        out.resize(start + 1 + BASE32_LOWER.encode_len(used), 0);
        BASE32_LOWER.encode_mut(&bytes[..used], &mut out[start + 1..]);
    }
}

fn cid(out: &mut Vec<u8>, value: Option<&Cid>) {
    match value {
        None => out.extend_from_slice(b"null"),
        Some(cid) => {
            out.push(b'"');
            cid.write_text(out);
            out.push(b'"');
        }
    }
}

/// Texts of the last values written: lists name the same few peers and addresses again and again, and base58 is slow.
struct Texts<T>(Vec<(T, Vec<u8>)>);

/// Values that are remembered.
const TEXTS_MAX: usize = 16;

impl<T: PartialEq + Clone> Texts<T> {
    fn write(&mut self, out: &mut Vec<u8>, value: &T, text: impl FnOnce(&T) -> String) {
        if let Some((_, known)) = self.0.iter().find(|(known, _)| known == value) {
            return out.extend_from_slice(known);
        }
        if self.0.len() == TEXTS_MAX {
            self.0.clear();
        }
        let text = crate::json::to_go_json(&text(value));
        out.extend_from_slice(&text);
        self.0.push((value.clone(), text));
    }
}

thread_local! {
    static PEERS: RefCell<Texts<PeerId>> = const { RefCell::new(Texts(Vec::new())) };
    static ADDRESSES: RefCell<Texts<Multiaddr>> = const { RefCell::new(Texts(Vec::new())) };
}

fn peer(out: &mut Vec<u8>, value: &PeerId) {
    PEERS.with_borrow_mut(|texts| texts.write(out, value, PeerId::to_string));
}

fn list<T>(out: &mut Vec<u8>, items: Option<&[T]>, write: impl Fn(&mut Vec<u8>, &T)) {
    let Some(items) = items else {
        out.extend_from_slice(b"null");
        return;
    };
    out.push(b'[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

fn address(out: &mut Vec<u8>, value: &Multiaddr) {
    ADDRESSES.with_borrow_mut(|texts| texts.write(out, value, Multiaddr::to_string));
}

fn integer(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    let _cannot_fail = write!(out, "{value}"); // Writing to memory.
}

fn time(out: &mut Vec<u8>, value: Timestamp) {
    out.push(b'"');
    if value.is_zero() {
        out.extend_from_slice(b"0001-01-01T00:00:00Z");
    } else {
        value.write_text(out);
    }
    out.push(b'"');
}

fn metadata(out: &mut Vec<u8>, value: Option<&BTreeMap<String, String>>) {
    match value {
        None => out.extend_from_slice(b"null"),
        Some(map) => write_go_json(out, map),
    }
}

/// Appends a key, with what stands before it.
macro_rules! key {
    ($out:expr, $text:literal) => {
        $out.extend_from_slice($text.as_bytes())
    };
}

impl Pin {
    /// Appends the JSON, without a line end.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let options = &self.options;
        key!(out, "{\"replication_factor_min\":");
        integer(out, options.replication_factor_min);
        key!(out, ",\"replication_factor_max\":");
        integer(out, options.replication_factor_max);
        key!(out, ",\"name\":");
        write_go_text(out, &options.name);
        out.extend_from_slice(match options.mode {
            PinMode::Recursive => b",\"mode\":\"recursive\",\"shard_size\":".as_slice(),
            PinMode::Direct => b",\"mode\":\"direct\",\"shard_size\":".as_slice(),
        });
        integer(out, options.shard_size);
        key!(out, ",\"user_allocations\":");
        list(out, options.user_allocations.as_deref(), peer);
        key!(out, ",\"expire_at\":");
        time(out, options.expire_at);
        key!(out, ",\"metadata\":");
        metadata(out, options.metadata.as_ref());
        key!(out, ",\"pin_update\":");
        cid(out, options.pin_update.as_ref());
        key!(out, ",\"origins\":");
        list(out, options.origins.as_deref(), address);
        key!(out, ",\"cid\":");
        cid(out, Some(&self.cid));
        key!(out, ",\"type\":\"");
        out.extend_from_slice(self.kind.as_str().as_bytes());
        key!(out, "\",\"allocations\":");
        list(out, Some(&self.allocations), peer);
        key!(out, ",\"max_depth\":");
        integer(out, self.max_depth);
        key!(out, ",\"reference\":");
        cid(out, self.reference.as_ref());
        key!(out, ",\"timestamp\":");
        time(out, self.timestamp);
        out.push(b'}');
    }
}

impl PinInfoShort {
    fn write_json(&self, out: &mut Vec<u8>) {
        key!(out, "{\"peername\":");
        write_go_text(out, &self.peername);
        if let Some(id) = &self.ipfs_peer_id {
            key!(out, ",\"ipfs_peer_id\":");
            peer(out, id);
        }
        if !self.ipfs_peer_addresses.is_empty() {
            key!(out, ",\"ipfs_peer_addresses\":");
            list(out, Some(&self.ipfs_peer_addresses), address);
        }
        key!(out, ",\"status\":\"");
        match self.status.word() {
            Some(word) => out.extend_from_slice(word.as_bytes()),
            None => integer(out, self.status),
        }
        key!(out, "\",\"timestamp\":");
        time(out, self.timestamp);
        key!(out, ",\"error\":");
        write_go_text(out, &self.error);
        key!(out, ",\"attempt_count\":");
        integer(out, self.attempt_count);
        out.extend_from_slice(match self.priority_pin {
            true => b",\"priority_pin\":true".as_slice(),
            false => b",\"priority_pin\":false".as_slice(),
        });
        if let Some(progress) = &self.progress {
            key!(out, ",\"progress\":");
            write_go_json(out, progress);
        }
        out.push(b'}');
    }
}

/// The fields that all peers share.
struct Shared<'a> {
    cid: Option<&'a Cid>,
    name: &'a str,
    allocations: Option<&'a [PeerId]>,
    origins: Option<&'a [Multiaddr]>,
    created: Timestamp,
    metadata: Option<&'a BTreeMap<String, String>>,
}

impl Shared<'_> {
    fn write_json(&self, out: &mut Vec<u8>) {
        key!(out, "{\"cid\":");
        cid(out, self.cid);
        key!(out, ",\"name\":");
        write_go_text(out, self.name);
        key!(out, ",\"allocations\":");
        list(out, self.allocations, peer);
        key!(out, ",\"origins\":");
        list(out, self.origins, address);
        key!(out, ",\"created\":");
        time(out, self.created);
        key!(out, ",\"metadata\":");
        metadata(out, self.metadata);
        key!(out, ",\"peer_map\":{");
    }
}

impl GlobalPinInfo {
    /// Appends the JSON, without a line end.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let shared = Shared {
            cid: self.cid.as_ref(),
            name: &self.name,
            allocations: self.allocations.as_deref(),
            origins: self.origins.as_deref(),
            created: self.created,
            metadata: self.metadata.as_ref(),
        };
        shared.write_json(out);
        let text = |id: &PeerId| {
            let mut text = Vec::with_capacity(64);
            peer(&mut text, id);
            text
        };
        let mut peers: Vec<_> = self.peer_map.iter().map(|(id, info)| (text(id), info)).collect();
        peers.sort_by(|a, b| a.0.cmp(&b.0));
        for (i, (id, info)) in peers.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend_from_slice(id);
            out.push(b':');
            info.write_json(out);
        }
        out.extend_from_slice(b"}}");
    }
}

impl PinInfo {
    /// Appends the JSON of the [`GlobalPinInfo`] that holds this peer alone, without a line end.
    pub fn write_global_json(&self, out: &mut Vec<u8>) {
        let shared = Shared {
            cid: Some(&self.cid),
            name: &self.name,
            allocations: self.allocations.as_deref(),
            origins: self.origins.as_deref(),
            created: self.created,
            metadata: self.metadata.as_ref(),
        };
        shared.write_json(out);
        peer(out, &self.peer);
        out.push(b':');
        self.status.write_json(out);
        out.extend_from_slice(b"}}");
    }
}

#[cfg(test)]
mod tests {
    use crate::json::to_go_json;
    use crate::*;
    use proptest::prelude::*;

    fn cid() -> impl Strategy<Value = Cid> {
        (any::<[u8; 32]>(), 0..3).prop_map(|(digest, kind)| {
            let hash = ::cid::multihash::Multihash::wrap(0x12, &digest).expect("32 bytes");
            Cid(match kind {
                0 => ::cid::Cid::new_v0(hash).expect("sha2-256"),
                1 => ::cid::Cid::new_v1(0x55, hash),
                _ => ::cid::Cid::new_v1(0x70, hash),
            })
        })
    }

    fn peer() -> impl Strategy<Value = PeerId> {
        any::<[u8; 32]>().prop_map(|digest| {
            let hash = ::cid::multihash::Multihash::<64>::wrap(0x12, &digest).expect("32 bytes");
            PeerId::from_bytes(&hash.to_bytes()).expect("sha2-256")
        })
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    fn time() -> impl Strategy<Value = Timestamp> {
        prop_oneof![
            Just(Timestamp::ZERO),
            (0_i64..4_000_000_000, 0_u32..1_000_000_000).prop_map(|(s, n)| Timestamp::from_unix(s, n))
        ]
    }

    fn metadata() -> impl Strategy<Value = Option<std::collections::BTreeMap<String, String>>> {
        proptest::option::of(proptest::collection::btree_map(".{0,5}", ".{0,5}", 0..3))
    }

    prop_compose! {
        fn pin()(cid in cid(), name in ".{0,10}", min in -1..5, max in -1..5, direct in any::<bool>(), shard_size in any::<u64>(),
                 users in proptest::option::of(proptest::collection::vec(peer(), 0..3)), expire_at in time(),
                 metadata in metadata(), pin_update in proptest::option::of(cid()),
                 ports in proptest::option::of(proptest::collection::vec(any::<u16>(), 0..3)))
               (kind in 0..5_usize, allocations in proptest::collection::vec(peer(), 0..3),
                reference in proptest::option::of(self::cid()), timestamp in time(), max_depth in -1..3,
                cid in Just(cid), name in Just(name), min in Just(min), max in Just(max), direct in Just(direct),
                shard_size in Just(shard_size), users in Just(users), expire_at in Just(expire_at),
                metadata in Just(metadata), pin_update in Just(pin_update), ports in Just(ports)) -> Pin {
            Pin {
                cid,
                options: PinOptions {
                    replication_factor_min: min,
                    replication_factor_max: max,
                    name,
                    mode: if direct { PinMode::Direct } else { PinMode::Recursive },
                    shard_size,
                    user_allocations: users,
                    expire_at,
                    metadata,
                    pin_update,
                    origins: ports.map(|p| p.iter().map(|p| format!("/ip4/1.2.3.4/tcp/{p}").parse().expect("address")).collect()),
                },
                kind: PinType::ALL[kind],
                allocations,
                max_depth,
                reference,
                timestamp,
            }
        }
    }

    prop_compose! {
        fn short()(peername in ".{0,8}", id in proptest::option::of(peer()), bit in 0..13_u32, timestamp in time(),
                   error in ".{0,12}", attempt_count in any::<u32>(), priority_pin in any::<bool>(), address in any::<bool>(),
                   progress in proptest::option::of((any::<u64>(), any::<u64>()))) -> PinInfoShort {
            PinInfoShort {
                peername,
                ipfs_peer_id: id,
                ipfs_peer_addresses: if address { vec!["/ip4/10.0.0.1/tcp/1".parse().expect("address")] } else { vec![] },
                status: TrackerStatus(if bit == 0 { 0 } else { 1 << bit }),
                timestamp,
                error,
                attempt_count,
                priority_pin,
                progress: progress.map(|(blocks, bytes)| PinProgress { blocks, bytes }),
                retry_at: None,
            }
        }
    }

    proptest! {
        #[test]
        fn a_pin_by_hand_is_a_pin_by_serde(pin in pin()) {
            let mut by_hand = Vec::new();
            pin.write_json(&mut by_hand);
            prop_assert_eq!(text(&by_hand), text(&to_go_json(&pin)));
            prop_assert_eq!(serde_json::from_slice::<Pin>(&by_hand).expect("own JSON"), pin);
        }

        #[test]
        fn a_status_by_hand_is_a_status_by_serde(pin in pin(), peers in proptest::collection::vec((peer(), short()), 1..4)) {
            let mut global = GlobalPinInfo::default();
            for (peer, status) in peers {
                let info = PinInfo {
                    cid: pin.cid, name: pin.options.name.clone(), peer, allocations: Some(pin.allocations.clone()),
                    origins: pin.options.origins.clone(), created: pin.timestamp, metadata: pin.options.metadata.clone(), status,
                };
                let (mut alone, mut by_hand) = (GlobalPinInfo::default(), Vec::new());
                alone.add(info.clone());
                info.write_global_json(&mut by_hand);
                prop_assert_eq!(text(&by_hand), text(&to_go_json(&alone)));
                global.add(info);
            }
            let mut by_hand = Vec::new();
            global.write_json(&mut by_hand);
            prop_assert_eq!(text(&by_hand), text(&to_go_json(&global)));
            prop_assert_eq!(serde_json::from_slice::<GlobalPinInfo>(&by_hand).expect("own JSON"), global);
        }
    }

    /// Samples of what the reference answered.
    #[test]
    fn answers_of_the_reference_are_written_back_as_they_were() {
        let pin = r#"{"replication_factor_min":1,"replication_factor_max":2,"name":"hi there","mode":"recursive","shard_size":7,"user_allocations":["12D3KooWPcfh7QFj4XshFCQqpdrJ9trE6d6xHmDt7sGVzMcorkaZ"],"expire_at":"2026-11-24T08:55:08.416606508Z","metadata":{"a b":"c","k1":"v1"},"pin_update":null,"origins":["/ip4/1.2.3.4/tcp/4001/p2p/12D3KooWB2pyAPqKinENSFY7hmXwP69xfqNhzpvxvkqtFHzHrVji"],"cid":"QmW3J3czdUzxRaaN31Gtu5T1U5br3t631b8AHdvxHdsHWg","type":"pin","allocations":["12D3KooWPcfh7QFj4XshFCQqpdrJ9trE6d6xHmDt7sGVzMcorkaZ","12D3KooWB2pyAPqKinENSFY7hmXwP69xfqNhzpvxvkqtFHzHrVji"],"max_depth":-1,"reference":null,"timestamp":"2026-11-22T08:55:08.416747126Z"}"#;
        let mut out = Vec::new();
        serde_json::from_str::<Pin>(pin).expect("pin").write_json(&mut out);
        assert_eq!(String::from_utf8_lossy(&out), pin);

        let status = r#"{"cid":"QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN","name":"foo","allocations":["12D3KooWPcfh7QFj4XshFCQqpdrJ9trE6d6xHmDt7sGVzMcorkaZ"],"origins":[],"created":"2026-11-22T08:54:26Z","metadata":null,"peer_map":{"12D3KooWB2pyAPqKinENSFY7hmXwP69xfqNhzpvxvkqtFHzHrVji":{"peername":"peer0","ipfs_peer_id":"12D3KooWAreZ4X83KHAnoa41Lz4tGjK3JeGPAkTmng5fCTgauK9T","status":"remote","timestamp":"2026-11-22T08:54:27.414325054Z","error":"","attempt_count":0,"priority_pin":false}}}"#;
        out.clear();
        serde_json::from_str::<GlobalPinInfo>(status).expect("status").write_json(&mut out);
        assert_eq!(String::from_utf8_lossy(&out), status);

        let id = r#"{"id":"12D3KooWPcfh7QFj4XshFCQqpdrJ9trE6d6xHmDt7sGVzMcorkaZ","addresses":null,"cluster_peers":null,"cluster_peers_addresses":null,"version":"","commit":"","rpc_protocol_version":"","error":"failed to dial","ipfs":{"addresses":null,"error":""},"peername":""}"#;
        assert_eq!(String::from_utf8_lossy(&to_go_json(&serde_json::from_str::<PeerInfo>(id).expect("id"))), id);

        let alert = r#"{"name":"freespace","peer":"12D3KooWPcfh7QFj4XshFCQqpdrJ9trE6d6xHmDt7sGVzMcorkaZ","value":"9996441285","expire":1795338112007957714,"valid":true,"weight":9996441285,"partitionable":false,"received_at":1795338107008355972,"triggered_at":"2026-11-22T09:01:52.110332202Z"}"#;
        assert_eq!(String::from_utf8_lossy(&to_go_json(&serde_json::from_str::<Alert>(alert).expect("alert"))), alert);

        let gc = r#"{"peer_map":{"12D3KooWB2pyAPqKinENSFY7hmXwP69xfqNhzpvxvkqtFHzHrVji":{"peer":"12D3KooWB2pyAPqKinENSFY7hmXwP69xfqNhzpvxvkqtFHzHrVji","peername":"peer0","keys":[{"key":"bafkreihnfkx4pl6wi5gxvjfhehtgqor6f7psyfla7zf3rotezqh7fdguua"},{"key":null,"error":"no"}]}}}"#;
        assert_eq!(String::from_utf8_lossy(&to_go_json(&serde_json::from_str::<GlobalRepoGc>(gc).expect("gc"))), gc);
    }
}
