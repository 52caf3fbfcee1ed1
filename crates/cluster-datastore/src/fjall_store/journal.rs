//! Mending the engine's journal after a loss of power.
//!
//! What was written after the last sync may be on the device in part, and pages in any order: a page in the middle may
//! be missing while later ones are there. The engine's own recovery copes with a journal that ends early, but takes a
//! hole for damage (or panics over it) and would refuse to open a store whose synced part is sound. So before it
//! opens, we find the last batch up to which everything is whole, by the journal's own checksums, and cut there, as
//! RocksDB's point-in-time recovery does. The synced part is never cut, since it is whole.
//!
//! The format is that of fjall 3 (`journal/entry.rs`): a batch is a start with the count of its items, the items,
//! and an end with the XXH3 checksum of the items' bytes. The start is in no checksum; it is shorter than the sector
//! that a device writes whole, so that a hole over it also covers an item or the batch before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

/// The file by which the engine keeps other processes out.
const ENGINE_LOCK: &str = "lock";

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: [u8; 4] = [b'F', b'J', b'L', 3];

/// Cuts the journal that was being written, if it has a torn end.
pub(super) fn mend(store: &Path) -> io::Result<()> {
    let lock = OpenOptions::new().read(true).write(true).open(store.join(ENGINE_LOCK))?;
    if lock.try_lock().is_err() {
        // Another process writes this journal. The engine will say so when it opens.
        return Ok(());
    }
    let Some(path) = newest(store)? else { return Ok(()) };
    let file = File::open(&path)?;
    let length = file.metadata()?.len();
    let whole = whole_bytes(&mut BufReader::with_capacity(256 * 1024, file))?;
    let torn = bytes_after(&path, whole)?;
    if torn > 0 {
        tracing::warn!(
            journal = %path.display(), whole, torn, length,
            "the last writes before the end of power are incomplete; cutting what was never synced"
        );
        let file = OpenOptions::new().write(true).open(&path)?;
        file.set_len(whole)?;
        file.sync_all()?;
    }
    Ok(())
}

/// The journal with the highest number: the only one that can be torn, since the engine syncs one before it begins
/// the next.
fn newest(store: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest: Option<(u64, PathBuf)> = None;
    for entry in fs::read_dir(store)? {
        let path = entry?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse().ok())
            .filter(|number| newest.as_ref().is_none_or(|(highest, _)| number > highest));
        if let Some(number) = number {
            newest = Some((number, path));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

/// Length of the part that consists of whole batches.
fn whole_bytes(journal: &mut impl Read) -> io::Result<u64> {
    let mut whole = 0;
    let mut body = Vec::new();
    loop {
        match batch(journal, &mut body) {
            Ok(Some(length)) => whole += length,
            Ok(None) => return Ok(whole),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(whole),
            Err(e) => return Err(e),
        }
    }
}

/// Length of the batch that begins here; `None` if it is not whole.
fn batch(journal: &mut impl Read, body: &mut Vec<u8>) -> io::Result<Option<u64>> {
    let [START] = bytes(journal)? else { return Ok(None) };
    let items = u32::from_le_bytes(bytes(journal)?);
    let _sequence_number: [u8; 8] = bytes(journal)?;
    let mut length = 1 + 4 + 8;
    let mut checksum = Xxh3::new();
    for _ in 0..items {
        if !item(journal, body)? {
            return Ok(None);
        }
        checksum.update(body);
        length += body.len() as u64;
    }
    let [END] = bytes(journal)? else { return Ok(None) };
    let expected = u64::from_le_bytes(bytes(journal)?);
    let trailer: [u8; 4] = bytes(journal)?;
    length += 1 + 8 + 4;
    Ok((trailer == TRAILER && checksum.digest() == expected).then_some(length))
}

/// Reads one item's bytes into `body`; whether there was one.
fn item(journal: &mut impl Read, body: &mut Vec<u8>) -> io::Result<bool> {
    body.clear();
    let [tag] = bytes(journal)?;
    body.push(tag);
    match tag {
        CLEAR => {
            let keyspace: [u8; 8] = bytes(journal)?;
            body.extend_from_slice(&keyspace);
            Ok(true)
        }
        ITEM => {
            // Kind, compression, keyspace; then the lengths of key, value, and value as it is stored.
            let head: [u8; 10] = bytes(journal)?;
            let key: [u8; 2] = bytes(journal)?;
            let value: [u8; 4] = bytes(journal)?;
            let stored: [u8; 4] = bytes(journal)?;
            body.extend_from_slice(&head);
            body.extend_from_slice(&key);
            body.extend_from_slice(&value);
            body.extend_from_slice(&stored);
            // A torn length may say anything: nothing is reserved by it.
            let rest = u64::from(u16::from_le_bytes(key)) + u64::from(u32::from_le_bytes(stored));
            let read = journal.by_ref().take(rest).read_to_end(body)?;
            Ok(read as u64 == rest)
        }
        _ => Ok(false),
    }
}

fn bytes<const N: usize>(journal: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    journal.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// How far after `whole` the last byte lies that is not zero: zeros are room that the engine reserved.
fn bytes_after(path: &Path, whole: u64) -> io::Result<u64> {
    let mut file = File::open(path)?;
    io::Seek::seek(&mut file, io::SeekFrom::Start(whole))?;
    // Mostly there is nothing but room: that is found by comparing, which is ten times as fast as looking at each byte.
    let zeros = vec![0u8; 256 * 1024];
    let mut buffer = zeros.clone();
    let (mut at, mut torn) = (0u64, 0u64);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(torn);
        }
        if buffer[..read] != zeros[..read] {
            let last = buffer[..read].iter().rposition(|byte| *byte != 0).unwrap_or(0);
            torn = at + last as u64 + 1;
        }
        at += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch with one item, as the engine writes it.
    fn sample(value: &[u8]) -> Vec<u8> {
        let mut body = vec![ITEM, 0, 0];
        body.extend(7u64.to_le_bytes());
        body.extend(1u16.to_le_bytes());
        body.extend((value.len() as u32).to_le_bytes());
        body.extend((value.len() as u32).to_le_bytes());
        body.push(b'k');
        body.extend(value);
        let mut checksum = Xxh3::new();
        checksum.update(&body);
        let mut out = vec![START];
        out.extend(1u32.to_le_bytes());
        out.extend(9u64.to_le_bytes());
        out.extend(&body);
        out.push(END);
        out.extend(checksum.digest().to_le_bytes());
        out.extend(TRAILER);
        out
    }

    #[test]
    fn whole_batches_are_counted_and_reserved_room_is_not() {
        let mut journal = sample(b"one");
        journal.extend(sample(b"two, longer"));
        let length = journal.len() as u64;
        assert_eq!(whole_bytes(&mut &journal[..]).expect("read"), length);

        journal.extend([0; 5000]);
        assert_eq!(whole_bytes(&mut &journal[..]).expect("read"), length);
    }

    #[test]
    fn any_damage_ends_the_whole_part_before_its_batch() {
        let first = sample(b"one").len();
        let mut journal = sample(b"one");
        journal.extend(sample(b"two"));
        journal.extend(sample(b"three"));
        let second = first + sample(b"two").len();
        for at in first..second {
            // The sequence number is in no checksum; the module text says why that does no harm.
            if (first + 5..first + 13).contains(&at) {
                continue;
            }
            let mut damaged = journal.clone();
            damaged[at] ^= 0x55;
            assert_eq!(whole_bytes(&mut &damaged[..]).expect("read"), first as u64, "damage at {at}");
            assert_eq!(whole_bytes(&mut &journal[..at]).expect("read"), first as u64, "cut at {at}");
        }
    }

    #[test]
    fn damaged_length_reserves_no_memory() {
        let mut journal = sample(b"one");
        let at = 13 + 3 + 8 + 2 + 4;
        journal[at..at + 4].fill(0xff);
        assert_eq!(whole_bytes(&mut &journal[..]).expect("read"), 0);
    }
}
