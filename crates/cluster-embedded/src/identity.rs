//! Who the embedded node is: a key of its own in a file, made at the first start. It is not the cluster peer's, since
//! the two speak in different networks.

use libp2p_identity::Keypair;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The node's key, from this file, which is made if it is not there.
///
/// # Errors
/// When the file cannot be read or written, or holds no key.
pub fn load_or_make(path: &Path) -> io::Result<Keypair> {
    match std::fs::read(path) {
        Ok(bytes) => Keypair::from_protobuf_encoding(&bytes).map_err(|e| {
            let text = format!("{} holds no key ({e}): restore it, or remove it for a new identity", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path),
        Err(error) => Err(error),
    }
}

fn make(path: &Path) -> io::Result<Keypair> {
    let key = Keypair::generate_ed25519();
    let bytes = key.to_protobuf_encoding().map_err(io::Error::other)?;
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_kept() {
        let folder = tempfile::tempdir().expect("temp folder");
        let path = folder.path().join("key");
        let first = load_or_make(&path).expect("made").public();
        assert_eq!(load_or_make(&path).expect("read").public(), first);

        std::fs::write(&path, b"nonsense").expect("written");
        assert!(load_or_make(&path).expect_err("no key").to_string().contains("holds no key"));
    }
}
