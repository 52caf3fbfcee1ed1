//! What only the store on disk can show: folders, locks, formats, torn journals.

use cluster_datastore::{FjallOptions, FjallStore};
use cluster_types::store::{Batch, Datastore, DatastoreRead, StoreError, Table};
use std::fs;
use std::path::{Path, PathBuf};

/// Copies a folder as it is, while it may be in use.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("create");
    for entry in fs::read_dir(from).expect("read folder") {
        let entry = entry.expect("entry");
        if entry.file_type().expect("type").is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("copy");
        }
    }
}

fn open(path: &Path) -> Result<FjallStore, StoreError> {
    FjallStore::open(path, FjallOptions::default())
}

fn put(store: &FjallStore, key: u32, value: &[u8]) {
    let mut batch = Batch::new();
    batch.put(Table::Pins, key.to_be_bytes().to_vec(), value.to_vec());
    batch.put(Table::Status, key.to_be_bytes().to_vec(), value.to_vec());
    store.write(batch).expect("write");
}

fn closed(outcome: Result<FjallStore, StoreError>) -> String {
    match outcome {
        Err(StoreError::Closed(message)) => message,
        other => panic!("expected a closed store, got {other:?}"),
    }
}

#[test]
fn second_opener_is_told_who_holds_what() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("store");
    let first = open(&path).expect("open");

    let message = closed(open(&path));
    assert!(message.contains(&path.display().to_string()) && message.contains("in use"), "{message}");

    drop(first);
    open(&path).expect("free again");
}

#[test]
fn folder_of_another_format_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("store");
    drop(open(&path).expect("open"));
    fs::write(path.join("FORMAT"), "ipfs-cluster datastore 2\n").expect("write");

    let message = closed(open(&path));
    assert!(message.contains("datastore 2") && message.contains("use the version that wrote it"), "{message}");
}

#[test]
fn folder_of_somebody_else_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("pebble");
    fs::create_dir(&path).expect("create");
    fs::write(path.join("MANIFEST-000001"), "theirs").expect("write");

    let message = closed(open(&path));
    assert!(message.contains("move it away"), "{message}");
    assert_eq!(fs::read_dir(&path).expect("read").count(), 1);
}

#[test]
fn creation_that_was_interrupted_is_begun_again() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("store");
    fs::create_dir_all(folder.path().join("store.new/keyspaces")).expect("create");
    fs::write(folder.path().join("store.new/0.jnl"), "half").expect("write");

    put(&open(&path).expect("open"), 1, b"x");
    assert!(!folder.path().join("store.new").exists());
}

#[test]
fn store_closed_in_order_says_so_to_late_callers() {
    let folder = tempfile::tempdir().expect("folder");
    let store = open(&folder.path().join("store")).expect("open");
    put(&store, 1, b"x");
    assert!(store.disk_bytes() > 0);

    store.close().expect("close");
    store.close().expect("closing twice is no fault");

    assert!(matches!(store.get(Table::Pins, b""), Err(StoreError::Closed(_))));
    assert!(matches!(store.write(Batch::new()), Err(StoreError::Closed(_))));
    assert!(matches!(store.sync(), Err(StoreError::Closed(_))));
}

/// The one journal of a small store.
fn journal(store: &Path) -> PathBuf {
    let mut found: Vec<PathBuf> = fs::read_dir(store)
        .expect("read")
        .map(|e| e.expect("entry").path())
        .filter(|p| p.extension().is_some_and(|e| e == "jnl"))
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// Bytes of the journal up to the last that is not zero; the rest is room that the engine reserves.
fn written(journal: &[u8]) -> usize {
    journal.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1)
}

/// Bytes that no compression makes shorter.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// What a loss of power can leave of the unsynced tail of the journal: cut anywhere, or with a page that was never
/// written between pages that were.
#[test]
fn torn_journal_keeps_the_synced_and_a_prefix() {
    const SYNCED: u32 = 30;
    const WRITTEN: u32 = 60;
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("store");
    let store = open(&path).expect("open");
    // Values of several sizes: below and above the size from which the engine compresses, and over many pages.
    let value = |n: u32| noise(n, [10, 300, 5_000, 60_000][n as usize % 4]);
    let mut synced_bytes = 0;
    for number in 0..WRITTEN {
        put(&store, number, &value(number));
        if number == SYNCED - 1 {
            store.sync().expect("sync");
            synced_bytes = written(&fs::read(journal(&path)).expect("read"));
        }
    }
    let whole = fs::read(journal(&path)).expect("read");
    let end = written(&whole);
    assert!(end > synced_bytes + 500_000, "{end} bytes in the journal, {synced_bytes} synced");

    for case in 0..60usize {
        let torn_path = folder.path().join(format!("torn {case}"));
        copy(&path, &torn_path);
        let mut torn = whole.clone();
        let at = synced_bytes + (end - synced_bytes) * case / 60;
        match case % 3 {
            0 => torn[at..].fill(0),
            1 => torn.truncate(at),
            _ => {
                let page = at.next_multiple_of(4096).min(end);
                torn[page..(page + 4096).min(end)].fill(0);
            }
        }
        fs::write(journal(&torn_path), torn).expect("write");

        let opened = open(&torn_path).unwrap_or_else(|e| panic!("case {case}: {e}"));
        let kept = opened
            .last(Table::Pins)
            .expect("last")
            .map_or(0, |(key, _)| u32::from_be_bytes(key[..].try_into().expect("4")) + 1);
        assert!((SYNCED..=WRITTEN).contains(&kept), "case {case}: {kept} batches kept");
        for number in 0..WRITTEN {
            for table in [Table::Pins, Table::Status] {
                let found = opened.get(table, &number.to_be_bytes()).expect("get");
                let expected = (number < kept).then(|| value(number));
                assert_eq!(found.as_deref(), expected.as_deref(), "case {case}, row {number}");
            }
        }
        put(&opened, WRITTEN, b"goes on");
        opened.sync().expect("sync");
        drop(opened);
        let again = open(&torn_path).expect("open again");
        assert_eq!(again.get(Table::Pins, &WRITTEN.to_be_bytes()).expect("get").as_deref(), Some(&b"goes on"[..]));
        drop(again);
        fs::remove_dir_all(&torn_path).expect("remove");
    }
}

/// The folder of the files of the table that was written first. The engine keeps its own tree in folder 0.
fn table_files(store: &Path) -> PathBuf {
    let folders = fs::read_dir(store.join("keyspaces")).expect("read");
    let numbers = folders.filter_map(|e| e.expect("entry").file_name().to_str()?.parse::<u32>().ok());
    let first = numbers.filter(|n| *n > 0).min().expect("a table");
    store.join(format!("keyspaces/{first}/tables"))
}

/// Fills memtables until the engine must write a file, whatever comes of it.
fn write_much(store: &FjallStore, from: u32) -> Result<u32, StoreError> {
    for key in from..from + 400 {
        let mut batch = Batch::new();
        batch.put(Table::Pins, key.to_be_bytes().to_vec(), noise(key, 50_000));
        store.write(batch)?;
    }
    Ok(from + 400)
}

/// The device fails in the background while writers go on: they are told, and when it works again so does the store,
/// with everything that was written before.
#[test]
fn store_outlives_a_failure_of_the_device() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("store");
    let options = FjallOptions { memtable_bytes: 1024 * 1024, ..FjallOptions::default() };
    let store = FjallStore::open(&path, options.clone()).expect("open");
    put(&store, 1, b"before");
    store.sync().expect("sync");

    fs::rename(table_files(&path), folder.path().join("away")).expect("rename");
    fs::write(table_files(&path), "no folder").expect("write");
    let refused = write_much(&store, 1000).expect_err("the engine cannot write files");
    assert!(matches!(refused, StoreError::Closed(_) | StoreError::Io(_)), "{refused}");
    assert!(store.sync().is_err(), "and says so as long as it is so");
    assert!(store.sync().is_err());

    fs::remove_file(table_files(&path)).expect("remove");
    fs::rename(folder.path().join("away"), table_files(&path)).expect("rename");
    put(&store, 2, b"after");
    store.sync().expect("sync");
    write_much(&store, 2000).expect("and it goes on");
    drop(store);

    let store = FjallStore::open(&path, options).expect("open");
    for (key, value) in [(1u32, &b"before"[..]), (2, b"after"), (1000, &noise(1000, 50_000))] {
        let found = store.get(Table::Pins, &key.to_be_bytes()).expect("get");
        assert_eq!(found.as_deref(), Some(value), "row {key}");
    }
}
