//! A history of two replicas, recorded from go-ds-crdt 0.6.8: the same blocks, names, heads, values, announcements.

use cluster_core::crdt::delta::{decode_heads, encode_heads};
use cluster_core::crdt::keys::{Row, cid_of_key, row_key};
use cluster_core::crdt::{Change, Effect, Event, LocalChange, Node, Replica};
use cluster_datastore::MemoryStore;
use cluster_types::Cid;
use cluster_types::store::{Datastore, DatastoreRead, Table};
use serde_json::Value;
use std::collections::BTreeMap;

struct Peer {
    replica: Replica,
    store: MemoryStore,
}

impl Peer {
    fn new() -> Self {
        let store = MemoryStore::new();
        Self { replica: Replica::load(&store).expect("an empty store"), store }
    }

    /// Steps; returns what is not the batch, which it writes.
    fn step(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.replica.step(event, &self.store, &mut effects).expect("stepped");
        let write = |effect: Effect| match effect {
            Effect::Write(batch) => {
                self.store.write(batch).expect("written");
                None
            }
            other => Some(other),
        };
        effects.into_iter().filter_map(write).collect()
    }
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("a text")).expect("hexadecimal")
}

fn cid(value: &Value) -> Cid {
    text(value).parse().expect("a CID")
}

fn key_cid(element: &Value) -> Cid {
    cid_of_key(&text(&element["key"])).expect("the key of a CID")
}

/// The changes that made a step's nodes.
fn changes(step: &Value) -> Vec<LocalChange> {
    let name = text(&step["step"]);
    let c: Cid = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi".parse().expect("a CID");
    if name.contains("pin C then unpin C in the same batch") {
        return vec![LocalChange::Put(c, b"dropped".to_vec()), LocalChange::Remove(c)];
    }
    if name.contains("unpin B again") {
        return vec![LocalChange::Remove(
            "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku".parse().expect("a CID"),
        )];
    }
    let mut changes = Vec::new();
    for node in list(&step["nodes"]) {
        changes.extend(list(&node["elements"]).iter().map(|e| LocalChange::Put(key_cid(e), bytes(&e["value_hex"]))));
        let mut removed: Vec<Cid> = list(&node["tombstones"]).iter().map(key_cid).collect();
        removed.dedup();
        changes.extend(removed.into_iter().map(LocalChange::Remove));
    }
    changes
}

/// What the hooks of the reference were told, in our words.
fn hooks(step: &Value) -> Vec<Change> {
    let change = |hook: &Value| {
        let hook = text(hook);
        let mut words = hook.split(' ');
        let (kind, key) = (words.next(), words.next().and_then(cid_of_key).expect("a key"));
        match kind {
            Some("put") => Change::Put(key, hex::decode(words.next().expect("a value")).expect("hexadecimal")),
            _ => Change::Removed(key),
        }
    };
    list(&step["hooks"]).iter().map(change).collect()
}

/// The winning values and priorities that a step wrote, by row key.
fn rows(step: &Value) -> BTreeMap<Vec<u8>, (u64, Vec<u8>)> {
    let mut rows = BTreeMap::new();
    for (key, value) in step["datastore_set"].as_object().expect("keys") {
        let Some(name) = key.strip_prefix("/c/s/k/").and_then(|k| k.strip_suffix("/v")) else { continue };
        // Priorities are stored plus one, as one-byte numbers here.
        let priority = step["datastore_set"].get(format!("/c/s/k/{name}/p"));
        let Some(priority) = priority else { continue };
        rows.insert(row_key(&format!("/{name}")), (u64::from(bytes(priority)[0]) - 1, bytes(value)));
    }
    rows
}

#[test]
fn the_recorded_history_comes_out_the_same() {
    let trace: Value = serde_json::from_str(include_str!("../data/crdt_trace.json")).expect("trace");
    let (mut one, mut two) = (Peer::new(), Peer::new());
    let mut blocks = BTreeMap::new();
    let mut checked = 0;
    for step in list(&trace["steps"]) {
        let name = text(&step["step"]);
        let announced: Vec<Cid> = two.replica.heads().keys().copied().collect();
        let peer = if name.starts_with("replica2") { &mut two } else { &mut one };
        let effects = if name.contains("received broadcast") {
            let heads = decode_heads(&encode_heads(&announced)).expect("heads");
            let mut effects = peer.step(Event::Heads(heads.clone()));
            for head in heads {
                let block: &Vec<u8> = blocks.get(&head).expect("a block of the other replica");
                effects.extend(peer.step(Event::Blocks(vec![(head, block.clone().into())])));
            }
            effects
        } else {
            let changes = changes(&step);
            if changes.is_empty() { Vec::new() } else { peer.step(Event::Local(changes)) }
        };

        // Blocks first: where a name differs, the bytes tell why.
        let last = peer.store.last(Table::CrdtBlocks).expect("read").map(|(_, block)| hex::encode(block));
        if let Some(node) = list(&step["nodes"]).last() {
            assert_eq!(last, Some(text(&node["block_hex"])), "{name}");
        }
        for node in list(&step["nodes"]) {
            let (cid, block) = (cid(&node["cid"]), bytes(&node["block_hex"]));
            let number = peer.store.get(Table::CrdtIndex, &cid.hash().to_bytes()).expect("read").expect(&name);
            let stored = peer.store.get(Table::CrdtBlocks, &number[..8]).expect("read").expect(&name);
            assert_eq!(hex::encode(&stored), hex::encode(&block), "{name}");
            assert_eq!(Node::decode(&block).expect("a node").encode(), block, "{name}");
            blocks.insert(cid, block);
            checked += 1;
        }
        let expected: Vec<Cid> = list(&step["heads_after"]).iter().map(cid).collect();
        let mut heads: Vec<Cid> = peer.replica.heads().keys().copied().collect();
        heads.sort_by_key(|head| expected.iter().position(|e| e == head));
        assert_eq!(heads, expected, "{name}");
        let changed: Vec<Change> = effects
            .iter()
            .filter_map(|effect| if let Effect::Changed(changes) = effect { Some(changes.clone()) } else { None })
            .flatten()
            .collect();
        assert_eq!(changed, hooks(&step), "{name}");
        for (key, expected) in rows(&step) {
            let row = peer.store.get(Table::CrdtElements, &key).expect("read").expect(&name);
            let row = Row::decode(&row).expect("a row");
            assert_eq!((row.priority, row.value), expected, "{name}");
        }
        let announced = effects.iter().find_map(|e| if let Effect::Announce(heads) = e { Some(heads) } else { None });
        match list(&step["broadcasts"]).first() {
            None => assert_eq!(announced, None, "{name}"),
            Some(broadcast) => {
                let sent = announced.map(|heads| hex::encode(encode_heads(heads)));
                assert_eq!(sent, Some(text(&broadcast["hex"])), "{name}");
            }
        }
        assert_eq!(Replica::load(&peer.store).expect("loaded").heads(), peer.replica.heads(), "{name}");
    }
    assert_eq!(checked, 9, "nodes of the trace");
}
