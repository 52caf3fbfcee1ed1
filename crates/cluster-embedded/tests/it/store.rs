//! Segments after crashes: torn ends, lost indexes, turned bits.

use crate::support::{bytes, file};
use bytes::Bytes;
use cid::Cid;
use cluster_datastore::MemoryStore;
use cluster_embedded::store::{BlockError, Blockstore, Root};
use cluster_types::store::Datastore;
use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

type Blocks = Vec<(Cid, Bytes)>;

fn blocks(seed: u64, length: usize) -> (Cid, Blocks) {
    let (root, blocks) = file(&bytes(seed, length));
    (*root, blocks.into_iter().map(|block| (*block.cid, block.data)).collect())
}

fn open(folder: &Path, store: &Arc<MemoryStore>) -> Blockstore {
    Blockstore::open(folder, Arc::clone(store) as _, u64::MAX).expect("opened")
}

fn put(store: &Blockstore, blocks: &Blocks) {
    let lease = store.lease();
    store.put(blocks).expect("put");
    store.commit(&lease).expect("durable");
}

fn has_all(store: &Blockstore, blocks: &Blocks) -> bool {
    blocks.iter().all(|(cid, data)| store.get(cid).expect("read").as_ref() == Some(data))
}

fn first_segment(folder: &Path) -> std::path::PathBuf {
    folder.join("00000000.seg")
}

#[test]
fn a_torn_end_is_cut_wherever_it_was_torn() {
    let (_, kept) = blocks(1, 3_000);
    let (_, torn) = blocks(2, 900);
    for cut in [1, 5, 11, 40, 100, 900] {
        let folder = tempfile::tempdir().expect("temp folder");
        let memory = Arc::new(MemoryStore::new());
        let store = open(folder.path(), &memory);
        put(&store, &kept);
        let whole = std::fs::metadata(first_segment(folder.path())).expect("a segment").len();
        store.put(&torn).expect("put, not synced");
        let file = OpenOptions::new().write(true).open(first_segment(folder.path())).expect("opened");
        file.set_len(file.metadata().expect("metadata").len() - cut).expect("torn");
        drop(store);

        let store = open(folder.path(), &Arc::new(memory.crash()));

        assert_eq!(store.bytes(), whole, "cut {cut}");
        assert!(has_all(&store, &kept));
        assert_eq!(store.get(&torn[0].0), Ok(None));
        put(&store, &torn);
        assert!(has_all(&store, &torn));
    }
}

#[test]
fn a_lost_index_is_made_anew_from_the_segments() {
    let folder = tempfile::tempdir().expect("temp folder");
    let (_, all) = blocks(3, 100_000);
    let store = open(folder.path(), &Arc::new(MemoryStore::new()));
    put(&store, &all);
    store.close().expect("closed");
    drop(store);

    let store = open(folder.path(), &Arc::new(MemoryStore::new()));

    assert!(has_all(&store, &all));
}

#[test]
fn nothing_is_in_the_index_that_is_not_synced() {
    let folder = tempfile::tempdir().expect("temp folder");
    let memory = Arc::new(MemoryStore::new());
    let (_, all) = blocks(4, 5_000);
    let store = open(folder.path(), &memory);

    store.put(&all).expect("put");
    assert!(has_all(&store, &all));
    drop(store);
    // The segment's bytes were lost, and the index happens to be whole.
    std::fs::write(first_segment(folder.path()), b"").expect("emptied");

    let store = open(folder.path(), &memory);
    assert!(all.iter().all(|(cid, _)| store.get(cid) == Ok(None)));
    put(&store, &all);
    assert!(has_all(&store, &all));
}

/// Turns a bit of the first segment.
fn turn_bit(folder: &Path, at: u64) {
    let mut file = OpenOptions::new().read(true).write(true).open(first_segment(folder)).expect("opened");
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).expect("sought");
    file.read_exact(&mut byte).expect("read");
    file.seek(SeekFrom::Start(at)).expect("sought");
    file.write_all(&[byte[0] ^ 1]).expect("written");
}

#[test]
fn a_turned_bit_is_noticed_when_the_block_is_read() {
    let folder = tempfile::tempdir().expect("temp folder");
    let memory = Arc::new(MemoryStore::new());
    let (_, all) = blocks(5, 900);
    let store = open(folder.path(), &memory);
    put(&store, &all);
    turn_bit(folder.path(), 500);

    assert_eq!(store.get(&all[0].0), Err(BlockError::Damaged(all[0].0)));
}

/// The end of a segment and a damaged block look alike to who reads it from the front, and what lay behind the block was
/// removed with the segment.
#[test]
fn a_collection_keeps_what_lies_behind_a_damaged_block() {
    for damaged_is_needed in [false, true] {
        let folder = tempfile::tempdir().expect("temp folder");
        let memory = Arc::new(MemoryStore::new());
        let store = open(folder.path(), &memory);
        let (before, first) = blocks(20, 900);
        let (rotten, second) = blocks(21, 900);
        let (behind, third) = blocks(22, 900);
        [&first, &second, &third].into_iter().for_each(|all| put(&store, all));
        put(&store, &blocks(23, 900).1);
        turn_bit(folder.path(), 1_400);

        let collected = store.collect(|tell| {
            tell(Root::Single(before))?;
            tell(Root::Single(behind))?;
            if damaged_is_needed { tell(Root::Single(rotten)) } else { Ok(()) }
        });

        let collected = collected.expect("collected");
        assert_eq!(collected.failures.len(), usize::from(damaged_is_needed), "{collected:?}");
        assert_eq!(first_segment(folder.path()).exists(), damaged_is_needed);
        let expected = if damaged_is_needed { Err(BlockError::Damaged(rotten)) } else { Ok(None) };
        let check = |store: &Blockstore| {
            assert!(has_all(store, &first) && has_all(store, &third));
            assert_eq!(store.get(&rotten), expected);
        };
        check(&store);
        drop(store);
        check(&open(folder.path(), &Arc::new(memory.crash())));
    }
}

/// What the index leads to was synced: no crash tore it.
#[test]
fn the_last_segment_is_not_cut_at_a_damaged_block_that_others_lie_behind() {
    let folder = tempfile::tempdir().expect("temp folder");
    let memory = Arc::new(MemoryStore::new());
    let store = open(folder.path(), &memory);
    let (rotten, first) = blocks(24, 900);
    let (_, second) = blocks(25, 900);
    put(&store, &first);
    put(&store, &second);
    drop(store);
    turn_bit(folder.path(), 500);

    let store = open(folder.path(), &memory);
    assert!(has_all(&store, &second));
    assert_eq!(store.get(&rotten), Err(BlockError::Damaged(rotten)));
    // What comes now is found after a crash that takes its row.
    let (_, third) = blocks(26, 3_000);
    let memory = Arc::new(memory.reopen());
    drop(store);
    let store = open(folder.path(), &memory);
    memory.sync().expect("synced");
    put(&store, &third);
    drop(store);
    let store = open(folder.path(), &Arc::new(memory.crash()));
    assert!(has_all(&store, &second) && has_all(&store, &third));
}

#[test]
fn a_block_is_stored_once_and_checked() {
    let folder = tempfile::tempdir().expect("temp folder");
    let store = open(folder.path(), &Arc::new(MemoryStore::new()));
    let (_, all) = blocks(6, 5_000);
    put(&store, &all);
    let size = store.bytes();
    put(&store, &all);
    assert_eq!(store.bytes(), size);

    let error = store.put(&[(all[0].0, Bytes::from_static(b"something else"))]).expect_err("a lie");
    assert!(error.to_string().contains(&all[0].0.to_string()), "{error}");
}

#[test]
fn a_block_in_its_own_name_is_always_there() {
    let folder = tempfile::tempdir().expect("temp folder");
    let store = open(folder.path(), &Arc::new(MemoryStore::new()));
    let cid: Cid = "bafkqabdbmjrwi".parse().expect("an identity CID");
    assert_eq!(store.get(&cid), Ok(Some(Bytes::from_static(b"abcd"))));
    assert!(store.present(&cid).expect("looked up").is_some());
}

#[test]
fn a_pinned_dag_with_a_hole_ends_a_collection_before_anything_is_removed() {
    let folder = tempfile::tempdir().expect("temp folder");
    let store = open(folder.path(), &Arc::new(MemoryStore::new()));
    let (root, all) = blocks(7, 5_000);
    let without_first: Blocks = all[1..].to_vec();
    put(&store, &without_first);

    let error = store.collect(|tell| tell(Root::Pinned(root))).expect_err("a hole");

    assert!(error.to_string().contains(&all[0].0.to_string()), "{error}");
    assert!(has_all(&store, &without_first));
    // What is merely wanted may have holes.
    let collected = store.collect(|tell| tell(Root::Wanted(root))).expect("collected");
    assert_eq!(collected.removed, Vec::<Cid>::new());
}

#[test]
fn what_was_moved_is_found_after_a_crash_at_any_moment_of_the_move() {
    let folder = tempfile::tempdir().expect("temp folder");
    let memory = Arc::new(MemoryStore::new());
    let (root, kept) = blocks(8, 100_000);
    let (_, gone) = blocks(9, 100_000);
    let store = open(folder.path(), &memory);
    put(&store, &gone);
    put(&store, &kept);
    let old = std::fs::read(first_segment(folder.path())).expect("a segment");

    let collected = store.collect(|tell| tell(Root::Pinned(root))).expect("collected");
    assert!(collected.freed_bytes > 90_000 && collected.failures.is_empty(), "{collected:?}");
    assert!(has_all(&store, &kept));
    drop(store);
    // As if the old segment had not been removed.
    std::fs::write(first_segment(folder.path()), old).expect("written");

    for index in [memory.crash(), MemoryStore::new()] {
        let index = Arc::new(index);
        let store = open(folder.path(), &index);
        assert!(has_all(&store, &kept));
        store.collect(|tell| tell(Root::Pinned(root))).expect("collected");
        assert!(has_all(&store, &kept));
        assert_eq!(store.get(&gone[0].0), Ok(None));
    }
}

#[test]
fn a_lease_that_is_dropped_during_a_collection_counts_to_its_end() {
    let folder = tempfile::tempdir().expect("temp folder");
    let store = open(folder.path(), &Arc::new(MemoryStore::new()));
    let (_, all) = blocks(10, 5_000);
    let lease = store.lease();
    put(&store, &all);

    // Whoever drops it has pinned meanwhile, too late for this collection to see.
    let collected = store.collect(|_| {
        drop(lease);
        // There is one at a time.
        assert!(matches!(store.collect(|_| Ok(())), Err(BlockError::Busy(_))));
        Ok(())
    });

    assert_eq!(collected.expect("collected").removed, Vec::<Cid>::new());
    assert!(has_all(&store, &all));
}
