//! `embedded`: the embedded IPFS node's repository of a peer that is not running.

use super::daemon::load;
use crate::cli::EmbeddedImport;
use crate::failure::{Doing, Failure};
use cluster_cli::progress::Progress;
use cluster_component::errors::{ConnectorError, io_text};
use cluster_node::folder::Folder;
use cluster_node::repository::{Repository, Watcher};
use cluster_types::IpfsPin;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Takes in files or the pins of a Kubo.
pub(crate) fn import(folder: &Folder, args: &EmbeddedImport) -> Result<(), Failure> {
    let doing = "opening the embedded repository";
    let _lock = folder.lock().doing("obtaining execution lock")?;
    let repository = Repository::open(&load(folder)?, folder).doing(doing)?;
    let mut told = Told::default();
    let imported = match &args.kubo {
        Some(address) => import_kubo(&repository, address, &mut told),
        None => args.car.iter().try_for_each(|path| import_car(&repository, path, &mut told)),
    };
    told.progress.done();
    // In order also behind an error, so that the next start is quick; the error is what is told then.
    let closed = repository.close().doing("closing the embedded repository");
    tracing::info!(pinned = told.pinned, were_pinned = told.were_pinned, failed = told.failed, "import ended");
    imported.and(closed)?;
    match told.failed {
        0 => Ok(()),
        1 => Err(Failure::new("importing", "a pin could not be taken over, see above: mend it and import again")),
        count => {
            let text = format!("{count} pins could not be taken over, see above: mend them and import again");
            Err(Failure::new("importing", text))
        }
    }
}

fn import_car(repository: &Repository, path: &Path, told: &mut Told) -> Result<(), Failure> {
    let failed = |reason: String| Failure::of(format!("importing {}", path.display()), reason);
    let mut file: Box<dyn Read> = if path == Path::new("-") {
        told.progress = Progress::without_end();
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(path).map_err(|e| failed(io_text(&e)))?;
        let metadata = file.metadata().map_err(|e| failed(io_text(&e)))?;
        told.progress = if metadata.is_file() { Progress::new(metadata.len(), true) } else { Progress::without_end() };
        Box::new(file)
    };
    told.by_pins = false;
    let imported = repository.import_car(&mut file, told).map_err(|e| failed(e.to_string()));
    told.progress.done();
    imported
}

fn import_kubo(repository: &Repository, address: &str, told: &mut Told) -> Result<(), Failure> {
    let failed = |reason: &dyn std::fmt::Display| Failure::of(format!("importing from {address}"), reason);
    repository.import_kubo(address, told).map_err(|e| failed(&e))
}

/// What the user sees: roots on standard output, how far it is and what failed on standard error.
struct Told {
    progress: Progress,
    /// The bar counts pins, and not bytes.
    by_pins: bool,
    bytes: u64,
    pinned: u64,
    were_pinned: u64,
    failed: u64,
}

impl Default for Told {
    fn default() -> Self {
        let progress = Progress::new(0, false);
        Self { progress, by_pins: false, bytes: 0, pinned: 0, were_pinned: 0, failed: 0 }
    }
}

impl Watcher for Told {
    fn read(&mut self, bytes: u64) {
        self.bytes += bytes;
        if self.by_pins {
            self.progress.say(format!("pins, {} MB", self.bytes / 1_000_000));
        } else {
            self.progress.advance(bytes);
        }
    }

    fn expects(&mut self, pins: u64) {
        (self.by_pins, self.progress) = (true, Progress::of_items(pins));
        self.progress.say("pins".into());
    }

    fn holds(&mut self, pin: &IpfsPin, since_now: bool) {
        *(if since_now { &mut self.pinned } else { &mut self.were_pinned }) += 1;
        self.progress.aside(|| println!("{}", pin.cid));
        if self.by_pins {
            self.progress.advance(1);
        }
    }

    fn failed(&mut self, pin: &IpfsPin, error: &ConnectorError) {
        self.failed += 1;
        self.progress.aside(|| eprintln!("{} was not taken over: {error}", pin.cid));
        self.progress.advance(1);
    }
}
