//! The file of known addresses, in the reference's form: an address with the peer's name on each line.

use super::{Book, Lasting, is_named, split};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

/// The largest file that is read: some 4,096 peers with all their addresses.
const BYTES_MAX: u64 = 16 << 20;

/// Notes what the file says; a file that is not there says nothing. Peers are dialed in its order.
///
/// # Errors
/// When the file cannot be read. Lines that make no sense are passed over.
pub(crate) fn read(path: &Path, book: &mut Book, now: Instant) -> io::Result<()> {
    let bytes = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if bytes > BYTES_MAX {
        return Err(io::Error::other(format!("it has {bytes} bytes, and more than {BYTES_MAX} are not read")));
    }
    let text = std::fs::read_to_string(path)?;
    let lines = text.lines().map(str::trim).filter(|line| line.starts_with('/'));
    let mut priority = 0;
    for line in lines {
        match line.parse::<Multiaddr>().map(|address| split(&address)) {
            Ok((address, Some(peer))) => {
                priority += 1;
                book.add(peer, address, Lasting::Seen, now);
                book.set_priority(peer, priority);
            }
            _ => tracing::warn!(line, "passed over in the file of peers: no address that ends with /p2p/<id>"),
        }
    }
    Ok(())
}

/// Writes the file anew, so that it is whole at any time.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write(path: &Path, peers: &[(PeerId, Vec<Multiaddr>)]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = io::BufWriter::new(std::fs::File::create(&temporary)?);
    for (peer, addresses) in peers {
        for address in worth_keeping(addresses) {
            writeln!(file, "{}", address.clone().with(Protocol::P2p(*peer)))?;
        }
    }
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    std::fs::rename(temporary, path)
}

/// As go: `pstoremgr.PeerInfos` and `SavePeerstore`: with names, the numbers behind them are left out.
fn worth_keeping(addresses: &[Multiaddr]) -> impl Iterator<Item = &Multiaddr> {
    let some_named = addresses.iter().any(is_named);
    addresses.iter().filter(move |address| !some_named || is_named(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Multiaddr {
        text.parse().expect(text)
    }

    #[test]
    fn what_is_written_is_read_back_in_its_order() {
        let temp = tempfile::tempdir().expect("temp folder");
        let path = temp.path().join("peerstore");
        let [one, two] = [PeerId::random(), PeerId::random()];
        let named = vec![parse("/ip4/1.2.3.4/tcp/1"), parse("/dns4/example.org/tcp/1")];
        let given = [(two, named), (one, vec![parse("/ip4/1.2.3.4/tcp/2"), parse("/ip4/1.2.3.4/tcp/3/ws")])];

        write(&path, &given).expect("written");
        let now = Instant::now();
        let mut book = Book::default();
        read(&path, &mut book, now).expect("read");

        let expected = [(two, vec![parse("/dns4/example.org/tcp/1")]), given[1].clone()];
        assert_eq!(book.by_priority(now), expected);
    }

    #[test]
    fn a_missing_file_and_lines_without_sense_are_passed_over() {
        let temp = tempfile::tempdir().expect("temp folder");
        let path = temp.path().join("peerstore");
        let mut book = Book::default();
        read(&path, &mut book, Instant::now()).expect("nothing to read");

        std::fs::write(&path, "# peers\n\n/ip4/1.2.3.4/tcp/1\n/nonsense\nip4/1.2.3.4\n").expect("written");
        read(&path, &mut book, Instant::now()).expect("read");
        assert_eq!(book.by_priority(Instant::now()), []);
    }
}
