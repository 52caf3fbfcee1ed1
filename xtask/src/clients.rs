//! Programs of others that the peer is tested with: installed below `target`, in fixed versions.

use crate::ci::cargo;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// From PyPI.
const PYTHON: &str = "schemathesis==4.32.5";

/// From npm.
const JAVASCRIPT: [&str; 2] = ["@nftstorage/ipfs-cluster@5.0.1", "@ipfs-shipyard/pinning-service-compliance@1.8.1"];

/// What names the folder to the tests.
pub(crate) const VARIABLE: &str = "IPFS_CLUSTER_TEST_CLIENTS";

/// Installs into a folder that is not there yet.
type Installer = fn(&Path) -> Result<()>;

/// Installs them and runs their tests.
pub(crate) fn test() -> Result<()> {
    let folder = install()?;
    cargo(&["build", "--workspace", "--locked", "--bins"], &[])?;
    let args = ["test", "--workspace", "--locked", "--test", "it", "clients::", "--", "--nocapture"];
    cargo(&args, &[(VARIABLE, &folder.display().to_string())])
}

/// Installs what is not there yet; the folder. What this machine has no installer for is left out, and its tests say so.
pub(crate) fn install() -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let folder = target.join("clients");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let folder = folder.canonicalize()?;
    let installers: [(&str, Installer); 2] = [("python", python), ("js", javascript)];
    for (name, install) in installers {
        let (place, done) = (folder.join(name), folder.join(format!("{name}.done")));
        let wanted = format!("{PYTHON} {JAVASCRIPT:?}");
        if std::fs::read_to_string(&done).is_ok_and(|versions| versions == wanted) {
            continue;
        }
        // Half of an earlier try is of no use.
        let _not_there = std::fs::remove_dir_all(&place);
        match install(&place) {
            Ok(()) => std::fs::write(&done, wanted)?,
            Err(error) => {
                let _not_there = std::fs::remove_dir_all(&place);
                println!("left out: clients in {name}: {error:#}");
            }
        }
    }
    Ok(folder)
}

fn python(place: &Path) -> Result<()> {
    run(Command::new("python3").args(["-m", "venv"]).arg(place))?;
    run(Command::new(place.join("bin/pip")).args(["install", "--quiet", "--disable-pip-version-check", PYTHON]))
}

/// Without their scripts: one of them would fetch a daemon, which no test needs.
fn javascript(place: &Path) -> Result<()> {
    std::fs::create_dir_all(place)?;
    std::fs::write(place.join("package.json"), "{ \"private\": true }")?;
    let flags = ["install", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--loglevel=error"];
    run(Command::new("npm").args(flags).args(JAVASCRIPT).current_dir(place))
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().display().to_string();
    let status = command.status().with_context(|| format!("{name} is not there"))?;
    ensure!(status.success(), "{name} failed");
    Ok(())
}
