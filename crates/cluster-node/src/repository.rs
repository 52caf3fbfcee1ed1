//! The embedded IPFS node's repository of a peer that is not running: CAR files are taken into it, and what a Kubo has
//! pinned.

use crate::choice::ConnectorChoice;
use crate::config::Configuration;
use crate::folder::Folder;
use crate::ports::SystemClock;
use cluster_component::errors::{ConnectorError, StartError};
use cluster_datastore::{FjallOptions, FjallStore};
use cluster_ipfs::Source;
use cluster_types::store::{Datastore, StoreError};
use cluster_types::{Cid, IpfsPin, IpfsPinStatus};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write};
use std::sync::Arc;

/// Bytes of a file that are read at a time.
const READ_BYTES: usize = 256 << 10;

/// Pins of a Kubo that are made durable together: so many are fetched again after an end in the middle.
const PINS_AT_ONCE: usize = 256;

/// Bytes of their blocks after which they are.
const BYTES_AT_ONCE: u64 = 256 << 20;

/// Most bytes of a line of the list of pins on disk: a CID and its kind.
const LINE_MAX: u64 = 1 << 10;

/// Why something was not taken in. What was pinned before stays pinned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoryError {
    /// The peer has no such repository.
    #[error(
        "this peer has no embedded IPFS node: its ipfs_connector is ipfshttp (the Kubo at {0}). Add the content to that \
         (`ipfs dag import`), or choose ipfs_connector.embedded in service.json"
    )]
    NotEmbedded(String),
    /// It could not be opened.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The datastore failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What came is not right, the Kubo failed, or the disk refused.
    #[error(transparent)]
    Node(#[from] ConnectorError),
    /// The file could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file holds nothing that could be pinned.
    #[error("it names no roots, so that nothing of it would be kept: make one with roots (`ipfs dag export CID`)")]
    NoRoots,
}

/// Who is told how an import goes on.
pub trait Watcher {
    /// So many bytes more have been read.
    fn read(&mut self, bytes: u64);

    /// So many pins are to be taken over, as far as known.
    fn expects(&mut self, pins: u64);

    /// It is pinned and durable: since now, or it was before.
    fn holds(&mut self, pin: &IpfsPin, since_now: bool);

    /// It could not be taken over, and the next one is tried.
    fn failed(&mut self, pin: &IpfsPin, error: &ConnectorError);
}

/// The repository. Hold the folder's lock meanwhile.
#[derive(Debug)]
pub struct Repository {
    node: cluster_embedded::Repository,
    store: Arc<FjallStore>,
}

impl Repository {
    /// Opens it, with what a crash left mended.
    ///
    /// # Errors
    /// When the configuration chooses another daemon, or the folder cannot be used.
    pub fn open(configuration: &Configuration, folder: &Folder) -> Result<Self, RepositoryError> {
        let config = match &configuration.connector {
            ConnectorChoice::Embedded(config) => config,
            other => return Err(RepositoryError::NotEmbedded(other.address().to_owned())),
        };
        folder.create()?;
        let path = folder.path().join(&configuration.datastore.folder);
        let store = Arc::new(FjallStore::open(path, FjallOptions::default())?);
        let shared = Arc::clone(&store) as Arc<dyn Datastore>;
        Ok(Self { node: cluster_embedded::Repository::open(config, &folder.embedded(), shared)?, store })
    }

    /// Takes in a CAR file, and pins its roots recursively: all of them, or none. A file whose roots are pinned already is
    /// not read to its end.
    ///
    /// # Errors
    /// When the file is not right or does not have all of what is below its roots, or the disk refuses.
    pub fn import_car(&self, file: &mut impl Read, watcher: &mut dyn Watcher) -> Result<(), RepositoryError> {
        let (mut car, mut buffer, mut begun) = (self.node.car(), vec![0; READ_BYTES], false);
        loop {
            let count = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            car.push(&buffer[..count])?;
            watcher.read(count as u64);
            if let Some(roots) = car.roots().filter(|_| !begun) {
                begun = true;
                let pins = recursive(roots);
                if pins.is_empty() {
                    return Err(RepositoryError::NoRoots);
                }
                if self.holds_all(&pins)? {
                    pins.iter().for_each(|pin| watcher.holds(pin, false));
                    return Ok(());
                }
            }
        }
        let pins = recursive(&car.finish()?);
        self.node.check(&pins)?;
        self.node.pin(&pins)?;
        pins.iter().for_each(|pin| watcher.holds(pin, true));
        Ok(())
    }

    fn holds_all(&self, pins: &[IpfsPin]) -> Result<bool, ConnectorError> {
        for pin in pins {
            if !self.node.holds(pin)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes over all that a Kubo has pinned: recursive pins with all below, direct pins with one block. What is pinned
    /// here already is not fetched. The address is a URL or a multiaddr.
    ///
    /// # Errors
    /// When the Kubo does not answer (any more), or the disk refuses. A pin that alone cannot be had is told to the
    /// watcher, and is no error.
    pub fn import_kubo(&self, address: &str, watcher: &mut dyn Watcher) -> Result<(), RepositoryError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            let source = Source::new(address, Arc::new(SystemClock::new()))?;
            let (list, count) = list_of(&source).await?;
            watcher.expects(count);
            let mut fetched = Fetched { repository: self, pins: Vec::new(), bytes: 0 };
            for pin in list {
                let pin = pin?;
                if self.node.holds(&pin)? {
                    watcher.holds(&pin, false);
                    continue;
                }
                match self.fetch(&source, &pin, watcher).await {
                    Ok(bytes) => fetched.add(pin, bytes, watcher)?,
                    Err(trouble) => {
                        let (error, is_end) = trouble.judge(&source).await;
                        if is_end {
                            fetched.flush(watcher)?;
                            return Err(error.into());
                        }
                        watcher.failed(&pin, &error);
                    }
                }
            }
            fetched.flush(watcher)
        })
    }

    /// Brings all of a pin here; returns how many bytes came.
    async fn fetch(&self, source: &Source, pin: &IpfsPin, watcher: &mut dyn Watcher) -> Result<u64, Trouble> {
        if pin.status == IpfsPinStatus::Direct {
            let data = source.block(&pin.cid).await.map_err(Trouble::There)?;
            let bytes = data.len() as u64;
            self.node.put(&pin.cid, data).map_err(Trouble::Here)?;
            watcher.read(bytes);
            return Ok(bytes);
        }
        let mut export = source.export(&pin.cid).await.map_err(Trouble::There)?;
        let (mut car, mut bytes) = (self.node.car(), 0);
        while let Some(piece) = export.next().await.map_err(Trouble::There)? {
            car.push(&piece).map_err(Trouble::Here)?;
            watcher.read(piece.len() as u64);
            bytes += piece.len() as u64;
        }
        car.finish().map_err(Trouble::Here)?;
        self.node.check(std::slice::from_ref(pin)).map_err(Trouble::Here)?;
        Ok(bytes)
    }

    /// Ends in order.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn close(self) -> Result<(), RepositoryError> {
        self.node.close()?;
        Ok(self.store.close()?)
    }
}

fn recursive(roots: &[Cid]) -> Vec<IpfsPin> {
    let roots: BTreeSet<&Cid> = roots.iter().collect();
    roots.into_iter().map(|cid| IpfsPin { cid: *cid, status: IpfsPinStatus::Recursive }).collect()
}

/// Where a pin could not be taken over.
enum Trouble {
    /// The Kubo failed.
    There(ConnectorError),
    /// What it sent is not right, or the disk refused.
    Here(ConnectorError),
}

impl Trouble {
    /// Whether it is the end of all, or of this pin alone.
    async fn judge(self, source: &Source) -> (ConnectorError, bool) {
        match self {
            Self::Here(error) => {
                let is_end = matches!(error, ConnectorError::Full(_) | ConnectorError::Unavailable(_));
                (error, is_end)
            }
            Self::There(error) => {
                let is_end = error.is_retryable() && !source.answers().await;
                (error, is_end)
            }
        }
    }
}

/// Pins that are here and not yet durable.
struct Fetched<'a> {
    repository: &'a Repository,
    pins: Vec<IpfsPin>,
    bytes: u64,
}

impl Fetched<'_> {
    fn add(&mut self, pin: IpfsPin, bytes: u64, watcher: &mut dyn Watcher) -> Result<(), RepositoryError> {
        self.pins.push(pin);
        self.bytes += bytes;
        if self.pins.len() < PINS_AT_ONCE && self.bytes < BYTES_AT_ONCE { Ok(()) } else { self.flush(watcher) }
    }

    fn flush(&mut self, watcher: &mut dyn Watcher) -> Result<(), RepositoryError> {
        self.repository.node.pin(&self.pins)?;
        self.pins.drain(..).for_each(|pin| watcher.holds(&pin, true));
        self.bytes = 0;
        Ok(())
    }
}

/// The list of a Kubo's pins in a temporary file, since there can be millions, and how many. It is read whole before
/// anything is fetched, so that the Kubo is not kept from changing its pins meanwhile.
async fn list_of(
    source: &Source,
) -> Result<(impl Iterator<Item = Result<IpfsPin, RepositoryError>> + use<>, u64), RepositoryError> {
    let (mut out, mut count) = (BufWriter::new(tempfile::tempfile()?), 0);
    for status in [IpfsPinStatus::Recursive, IpfsPinStatus::Direct] {
        let mut pins = source.pins(status).await?;
        while let Some(pin) = pins.next().await? {
            let kind = if status == IpfsPinStatus::Direct { 'd' } else { 'r' };
            writeln!(out, "{kind}{}", pin.cid)?;
            count += 1;
        }
    }
    let mut file: File = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    let mut lines = BufReader::new(file);
    let next = move || {
        let mut line = String::new();
        match lines.by_ref().take(LINE_MAX).read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(pin_of(line.trim_end()).ok_or_else(|| damaged(&line))),
            Err(error) => Some(Err(error.into())),
        }
    };
    Ok((std::iter::from_fn(next), count))
}

fn pin_of(line: &str) -> Option<IpfsPin> {
    let (kind, cid) = line.split_at_checked(1)?;
    let status = if kind == "d" { IpfsPinStatus::Direct } else { IpfsPinStatus::Recursive };
    Some(IpfsPin { cid: cid.parse().ok()?, status })
}

fn damaged(line: &str) -> RepositoryError {
    io::Error::other(format!("the temporary list of pins is damaged: {line:?}")).into()
}
