//! Content to add: a directory tree and large files, the same in every run.

use std::collections::BTreeMap;
use std::path::Path;

/// Bytes without a pattern that repeats, from a seed.
pub(crate) fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(length);
    out
}

/// Writes a tree; returns the content of each file by its path.
pub(crate) fn write(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = BTreeMap::from([
        ("tree/a.txt".to_owned(), b"hello\n".to_vec()),
        ("tree/empty".to_owned(), Vec::new()),
        ("tree/sub/one-chunk".to_owned(), bytes(1, 262_144)),
        ("tree/sub/deep/er/two-chunks".to_owned(), bytes(2, 262_145)),
        ("tree/a name with spaces & signs".to_owned(), bytes(3, 1_000)),
        ("tree/sub/a megabyte".to_owned(), bytes(4, 1 << 20)),
    ]);
    for (path, content) in &files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        std::fs::write(path, content).expect("a file");
    }
    files
}
