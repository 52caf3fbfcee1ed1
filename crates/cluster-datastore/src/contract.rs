//! What every [`Datastore`] must do, as tests that any store can be put through.
//!
//! ```
//! use cluster_datastore::{MemoryStore, contract};
//! use cluster_types::store::Datastore;
//! use std::sync::Arc;
//!
//! struct Memory(Arc<MemoryStore>);
//! impl contract::Subject for Memory {
//!     fn store(&self) -> Arc<dyn Datastore> { self.0.clone() }
//!     fn reopen(&mut self) { self.0 = Arc::new(self.0.reopen()); }
//!     fn crash(&mut self) { self.0 = Arc::new(self.0.crash()); }
//! }
//! contract::run(&mut || Box::new(Memory(Arc::new(MemoryStore::new()))));
//! ```

use bytes::Bytes;
use cluster_types::store::{Batch, Datastore, DatastoreReadExt, Row, Table, Visit};
use std::collections::BTreeMap;
use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::sync::Arc;

/// A store under test, together with what a process does to it.
pub trait Subject {
    /// The store as it is open now.
    fn store(&self) -> Arc<dyn Datastore>;

    /// Closes the store in order and opens it again.
    fn reopen(&mut self);

    /// Ends the process without warning, or the power, and opens the store again.
    fn crash(&mut self);
}

type Check = fn(Box<dyn Subject>);

/// Runs every check, each on a store of its own from `make`. Panics at the first that fails.
pub fn run(make: &mut dyn FnMut() -> Box<dyn Subject>) {
    let checks: &[(&str, Check)] = &[
        ("rows are sorted by the bytes of their keys", rows_are_sorted),
        ("bounds include and exclude", bounds_include_and_exclude),
        ("a prefix ends where it ends", prefixes_end_where_they_end),
        ("tables are apart", tables_are_apart),
        ("empty values, long keys and big values are kept, impossible keys refused", odd_rows_are_kept),
        ("of two changes of a row the later counts", later_change_counts),
        ("deletes remove, also what is not there", deletes_remove),
        ("a scan sees one moment", scan_sees_one_moment),
        ("a batch is seen whole or not at all", batch_is_seen_whole),
        ("a store agrees with a sorted map", agrees_with_a_map),
        ("an orderly close keeps everything", close_keeps_everything),
        ("a crash keeps what was synced and a prefix of the rest", crash_keeps_a_prefix),
    ];
    for (name, check) in checks {
        let subject = make();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || check(subject)));
        assert!(outcome.is_ok(), "datastore contract: \"{name}\" failed, see the message above");
    }
}

const T: Table = Table::Pins;

fn rows(store: &dyn Datastore, table: Table, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Vec<Row> {
    let mut found = Vec::new();
    let scanned = store.scan(table, from, to, &mut |key, value| {
        found.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        Visit::Continue(())
    });
    scanned.expect("scan");
    found
}

fn all(store: &dyn Datastore, table: Table) -> Vec<Row> {
    rows(store, table, Unbounded, Unbounded)
}

fn keys(store: &dyn Datastore, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Vec<String> {
    rows(store, T, from, to).into_iter().map(|(key, _)| String::from_utf8_lossy(&key).into_owned()).collect()
}

fn put(store: &dyn Datastore, table: Table, pairs: &[(&[u8], &[u8])]) {
    let mut batch = Batch::new();
    for (key, value) in pairs {
        batch.put(table, key.to_vec(), value.to_vec());
    }
    store.write(batch).expect("write");
}

fn rows_are_sorted(subject: Box<dyn Subject>) {
    let store = subject.store();
    put(&*store, T, &[(b"b", b"2"), (b"\xff", b"4"), (b"a\x00", b"1"), (b"a", b"0"), (b"ba", b"3")]);

    let found: Vec<_> = all(&*store, T).into_iter().map(|(key, _)| key).collect();

    assert_eq!(found, [&b"a"[..], b"a\x00", b"b", b"ba", b"\xff"]);
    assert_eq!(store.last(T).expect("last"), Some((Bytes::from_static(b"\xff"), Bytes::from_static(b"4"))));
    assert_eq!(store.last(Table::Status).expect("last"), None);
}

fn bounds_include_and_exclude(subject: Box<dyn Subject>) {
    let store = subject.store();
    put(&*store, T, &[(b"a", b""), (b"c", b""), (b"e", b""), (b"g", b"")]);
    let (c, d, e) = (&b"c"[..], &b"d"[..], &b"e"[..]);

    assert_eq!(keys(&*store, Included(c), Included(e)), ["c", "e"]);
    assert_eq!(keys(&*store, Excluded(c), Included(e)), ["e"]);
    assert_eq!(keys(&*store, Included(c), Excluded(e)), ["c"]);
    assert_eq!(keys(&*store, Excluded(c), Unbounded), ["e", "g"]);
    assert_eq!(keys(&*store, Unbounded, Excluded(d)), ["a", "c"]);
    // Bounds between which nothing can lie are an empty scan and no fault.
    assert_eq!(keys(&*store, Included(e), Included(c)), [""; 0]);
    assert_eq!(keys(&*store, Excluded(c), Excluded(c)), [""; 0]);
    assert_eq!(keys(&*store, Included(c), Excluded(c)), [""; 0]);

    let page = store.page(T, Excluded(c), 1).expect("page");
    assert_eq!(page.len(), 1, "a visitor that breaks gets no more rows");
    assert_eq!(page[0].0, e);
}

fn prefixes_end_where_they_end(subject: Box<dyn Subject>) {
    let store = subject.store();
    put(&*store, T, &[(b"a", b""), (b"b", b""), (b"b\xff", b""), (b"b\xff\xff", b""), (b"c", b""), (b"\xff\xff", b"")]);
    let under = |prefix: &[u8]| {
        let mut found = Vec::new();
        let scanned = store.scan_prefix(T, prefix, &mut |key, _| {
            found.push(key.to_vec());
            Visit::Continue(())
        });
        scanned.map(|()| found).expect("scan")
    };

    assert_eq!(under(b"b"), [&b"b"[..], b"b\xff", b"b\xff\xff"]);
    assert_eq!(under(b"b\xff"), [&b"b\xff"[..], b"b\xff\xff"]);
    assert_eq!(under(b"\xff"), [b"\xff\xff"]);
    assert_eq!(under(b"").len(), 6);
}

fn tables_are_apart(subject: Box<dyn Subject>) {
    let store = subject.store();
    for (i, &table) in Table::ALL.iter().enumerate() {
        put(&*store, table, &[(b"same", &[i as u8])]);
    }
    for (i, &table) in Table::ALL.iter().enumerate() {
        assert_eq!(store.get(table, b"same").expect("get"), Some(Bytes::copy_from_slice(&[i as u8])), "{table:?}");
        assert_eq!(all(&*store, table).len(), 1, "{table:?}");
    }
}

fn odd_rows_are_kept(mut subject: Box<dyn Subject>) {
    let long_key = vec![7u8; 40_000];
    let big = |seed: u8| -> Vec<u8> {
        (0..1_200_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed).collect()
    };
    for table in [T, Table::CrdtBlocks] {
        put(&*subject.store(), table, &[(b"\0", b"low key"), (b"empty value", b""), (&long_key, b"long")]);
        put(&*subject.store(), table, &[(b"big 1", &big(1)), (b"big 2", &big(2))]);
        subject.store().sync().expect("sync");
    }
    for round in 0..2 {
        let store = subject.store();
        for table in [T, Table::CrdtBlocks] {
            let get = |key: &[u8]| store.get(table, key).expect("get").map(Vec::from);
            assert_eq!(get(b"\0").as_deref(), Some(&b"low key"[..]), "round {round}");
            assert_eq!(get(b""), None, "round {round}");
            assert_eq!(get(b"empty value").as_deref(), Some(&b""[..]), "round {round}");
            assert_eq!(get(&long_key).as_deref(), Some(&b"long"[..]), "round {round}");
            assert!(get(b"big 1") == Some(big(1)) && get(b"big 2") == Some(big(2)), "round {round}");
            assert_eq!(all(&*store, table).len(), 5, "round {round}");
        }
        drop(store);
        subject.reopen();
    }
    for impossible in [vec![], vec![1u8; 70_000]] {
        let mut batch = Batch::new();
        batch.put(T, "innocent", "");
        batch.put(T, impossible, "");
        assert!(subject.store().write(batch).is_err(), "a key that stores cannot take is refused");
        assert_eq!(subject.store().get(T, b"innocent").expect("get"), None, "and its batch with it");
    }
}

fn later_change_counts(subject: Box<dyn Subject>) {
    let store = subject.store();
    let mut batch = Batch::new();
    batch.put(T, "put twice", "1");
    batch.put(T, "put twice", "2");
    batch.put(T, "put, deleted", "1");
    batch.delete(T, "put, deleted");
    batch.delete(T, "deleted, put");
    batch.put(T, "deleted, put", "2");
    batch.put(Table::Status, "put twice", "other table");
    store.write(batch).expect("write");

    assert_eq!(store.get(T, b"put twice").expect("get").as_deref(), Some(&b"2"[..]));
    assert_eq!(store.get(T, b"put, deleted").expect("get"), None);
    assert_eq!(store.get(T, b"deleted, put").expect("get").as_deref(), Some(&b"2"[..]));
    assert_eq!(store.get(Table::Status, b"put twice").expect("get").as_deref(), Some(&b"other table"[..]));
    assert_eq!(all(&*store, T).len(), 2);
}

fn deletes_remove(mut subject: Box<dyn Subject>) {
    put(&*subject.store(), T, &[(b"a", b"1"), (b"b", b"2")]);
    let mut batch = Batch::new();
    batch.delete(T, "a");
    batch.delete(T, "never there");
    batch.delete(Table::RaftLog, "no such table yet");
    subject.store().write(batch).expect("write");
    subject.store().write(Batch::new()).expect("an empty batch is no fault");

    for _ in 0..2 {
        assert_eq!(subject.store().get(T, b"a").expect("get"), None);
        assert_eq!(keys(&*subject.store(), Unbounded, Unbounded), ["b"]);
        subject.reopen();
    }
}

fn scan_sees_one_moment(subject: Box<dyn Subject>) {
    let store = subject.store();
    put(&*store, T, &[(b"a", b"old"), (b"b", b"old"), (b"c", b"old")]);

    let mut seen = Vec::new();
    let scanned = store.scan(T, Unbounded, Unbounded, &mut |key, value| {
        if seen.is_empty() {
            let mut batch = Batch::new();
            batch.put(T, "b", "new");
            batch.delete(T, "c");
            batch.put(T, "d", "new");
            store.write(batch).expect("write during a scan");
        }
        seen.push((key.to_vec(), value.to_vec()));
        Visit::Continue(())
    });
    scanned.expect("scan");

    let old = |key: &[u8]| (key.to_vec(), b"old".to_vec());
    assert_eq!(seen, [old(b"a"), old(b"b"), old(b"c")]);
    assert_eq!(keys(&*store, Unbounded, Unbounded), ["a", "b", "d"]);
}

/// A reader that runs beside a writer finds all rows of a table at the same count, however often it looks.
fn batch_is_seen_whole(subject: Box<dyn Subject>) {
    const ROWS: u32 = 200;
    let store = subject.store();
    let batch_of = |count: u32| {
        let mut batch = Batch::new();
        for row in 0..ROWS {
            batch.put(T, row.to_be_bytes().to_vec(), count.to_be_bytes().to_vec());
        }
        batch
    };
    store.write(batch_of(0)).expect("write");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for count in 1..200 {
                store.write(batch_of(count)).expect("write");
            }
        });
        while !writer.is_finished() {
            let found = all(&*store, T);
            assert_eq!(found.len(), ROWS as usize);
            assert!(found.iter().all(|(_, value)| *value == found[0].1), "a scan saw half a batch");
            let first = store.get(T, &0u32.to_be_bytes()).expect("get");
            let last = store.get(T, &(ROWS - 1).to_be_bytes()).expect("get");
            assert!(first <= last, "two reads, the second one older than the first");
        }
    });
}

/// Many small batches of random changes, with the same done to a `BTreeMap`.
fn agrees_with_a_map(mut subject: Box<dyn Subject>) {
    let mut random = Random(0x5eed);
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for round in 0..400u32 {
        let mut batch = Batch::new();
        for _ in 0..random.below(12) {
            let key = vec![random.below(5) as u8; 1 + random.below(4) as usize];
            if random.below(3) == 0 {
                model.remove(&key);
                batch.delete(T, key);
            } else {
                let value = round.to_be_bytes().to_vec();
                model.insert(key.clone(), value.clone());
                batch.put(T, key, value);
            }
        }
        subject.store().write(batch).expect("write");
        if round % 100 == 99 {
            subject.reopen();
        }
        let found: Vec<(Vec<u8>, Vec<u8>)> =
            all(&*subject.store(), T).into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        assert_eq!(found, model.clone().into_iter().collect::<Vec<_>>(), "round {round}");
        let last = subject.store().last(T).expect("last").map(|(k, _)| Vec::from(k));
        assert_eq!(last.as_ref(), model.keys().next_back(), "round {round}");
    }
}

fn close_keeps_everything(mut subject: Box<dyn Subject>) {
    put(&*subject.store(), T, &[(b"synced", b"1")]);
    subject.store().sync().expect("sync");
    put(&*subject.store(), T, &[(b"not synced", b"2")]);
    subject.reopen();

    assert_eq!(keys(&*subject.store(), Unbounded, Unbounded), ["not synced", "synced"]);
    put(&*subject.store(), T, &[(b"later", b"3")]);
    subject.reopen();

    assert_eq!(keys(&*subject.store(), Unbounded, Unbounded), ["later", "not synced", "synced"]);
}

fn crash_keeps_a_prefix(mut subject: Box<dyn Subject>) {
    let mut synced = 0u32;
    for round in 0..3 {
        let from = next_number(&*subject.store());
        for number in from..from + 20 {
            // Each batch touches two tables, so that a half batch would show.
            let mut batch = Batch::new();
            batch.put(T, number.to_be_bytes().to_vec(), "");
            batch.put(Table::Status, number.to_be_bytes().to_vec(), "");
            subject.store().write(batch).expect("write");
            if number == from + 12 {
                subject.store().sync().expect("sync");
                synced = number + 1;
            }
        }
        subject.crash();

        let store = subject.store();
        let kept = next_number(&*store);
        assert!(kept >= synced, "round {round}: {kept} of {synced} synced batches were kept");
        let expected: Vec<_> = (0..kept).map(|n| Bytes::copy_from_slice(&n.to_be_bytes())).collect();
        for table in [T, Table::Status] {
            let found: Vec<_> = all(&*store, table).into_iter().map(|(key, _)| key).collect();
            assert_eq!(found, expected, "round {round}: not a prefix in {table:?}");
        }
    }
}

fn next_number(store: &dyn Datastore) -> u32 {
    store.last(T).expect("last").map_or(0, |(key, _)| u32::from_be_bytes(key.as_ref().try_into().expect("4")) + 1)
}

/// SplitMix64: the suite needs the same numbers everywhere and no quality.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
