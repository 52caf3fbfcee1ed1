//! Measures the store on disk: `cargo run --release -p cluster-datastore --example store -- <folder> [rows]`.
//!
//! Rows have random keys of 36 bytes and values of 150, the worst case for sorted stores and the usual one of a pinset.
//! The folder must not exist; it is left for inspection.

use cluster_datastore::{FjallOptions, FjallStore};
use cluster_types::store::{Batch, Datastore, DatastoreRead, StoreError, Table, Visit};
use std::ops::Bound::Unbounded;
use std::path::Path;
use std::time::Instant;

fn main() -> Result<(), StoreError> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| "load.store".into());
    let rows: u64 = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let options = FjallOptions::default();

    let began = Instant::now();
    let store = FjallStore::open(&folder, options.clone())?;
    report("create", began, 1);

    let began = Instant::now();
    let mut slowest = 0.0f64;
    for from in (0..rows).step_by(1000) {
        let one = Instant::now();
        let mut batch = Batch::new();
        for n in from..(from + 1000).min(rows) {
            batch.put(Table::Pins, key(n), vec![n as u8; 150]);
        }
        store.write(batch)?;
        store.sync()?;
        slowest = slowest.max(one.elapsed().as_secs_f64());
    }
    report("insert, a sync per 1000", began, rows);
    println!("  slowest batch {:.1} ms", slowest * 1000.0);

    let began = Instant::now();
    report("scan", began, scan(&store)?);

    let began = Instant::now();
    for n in 0..10_000 {
        store.get(Table::Pins, &key(n * (rows / 10_000).max(1)))?;
    }
    report("get", began, 10_000);

    let began = Instant::now();
    for n in 0..10_000u64 {
        let mut batch = Batch::new();
        batch.put(Table::Status, key(n), vec![0; 20]);
        store.write(batch)?;
        store.sync()?;
    }
    report("single durable put", began, 10_000);
    killed(Path::new(&folder), &options)?;

    let began = Instant::now();
    store.close()?;
    drop(store);
    report("close in order", began, 1);

    let began = Instant::now();
    let store = FjallStore::open(&folder, options)?;
    report("reopen", began, 1);
    let began = Instant::now();
    report("scan", began, scan(&store)?);
    println!("on disk {} MB", store.disk_bytes() / 1_000_000);
    Ok(())
}

/// Opens a copy of the folder as a killed process leaves it.
fn killed(folder: &Path, options: &FjallOptions) -> Result<(), StoreError> {
    let copy = folder.with_extension("killed");
    copy_folder(folder, &copy).map_err(|e| StoreError::Io(e.to_string()))?;
    let began = Instant::now();
    let store = FjallStore::open(&copy, options.clone())?;
    report("reopen after a kill", began, 1);
    drop(store);
    std::fs::remove_dir_all(&copy).map_err(|e| StoreError::Io(e.to_string()))
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn scan(store: &FjallStore) -> Result<u64, StoreError> {
    let mut rows = 0;
    store.scan(Table::Pins, Unbounded, Unbounded, &mut |_, _| {
        rows += 1;
        Visit::Continue(())
    })?;
    Ok(rows)
}

fn key(n: u64) -> Vec<u8> {
    let mut key = vec![1, 0x55, 0x12, 0x20];
    for part in 0..4u64 {
        let mut z = (n * 4 + part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        key.extend((z ^ (z >> 31)).to_be_bytes());
    }
    key
}

fn report(what: &str, began: Instant, count: u64) {
    let seconds = began.elapsed().as_secs_f64();
    println!("{what}: {seconds:.3} s, {:.0}/s, resident {}", count as f64 / seconds, resident());
}

/// Resident memory now and at its peak, where the system tells.
fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = |name: &str| {
        let kib = status.lines().find_map(|l| l.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.map_or_else(|| "?".into(), |kib| format!("{} MB", kib / 1000))
    };
    format!("{} (peak {})", line("VmRSS:"), line("VmHWM:"))
}
