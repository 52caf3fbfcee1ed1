//! The command line: `[--config FOLDER] [<cluster> [info|init|run|list] …]`. Names of clusters stand where other programs
//! have their commands, so that it is read by hand.

use crate::follower::Follower;
use crate::help;
use std::ffi::OsString;
use std::iter::Peekable;
use std::path::PathBuf;

/// What the user wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Help(String),
    Version,
    /// Completions for this shell.
    Completions(String),
    /// Manual pages into this folder, for packages.
    Man(String),
    /// Which clusters are followed.
    Clusters(PathBuf),
    Info(Follower),
    Init {
        follower: Follower,
        url: Option<String>,
        gateway: String,
    },
    Run {
        follower: Follower,
        init: Option<String>,
        gateway: String,
        /// `Some`: an IPFS node in the process, with so much room as that says if it says anything.
        embedded: Option<String>,
    },
    List(Follower),
}

/// Where the local daemon serves content, unless the variable or the flag says otherwise.
const GATEWAY: &str = "127.0.0.1:8080";

/// Reads the arguments after the program's name.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn read(args: impl Iterator<Item = String>, folder: Option<OsString>) -> Result<Order, String> {
    let mut args = args.peekable();
    let mut folder = folder.filter(|folder| !folder.is_empty()).map(PathBuf::from);
    while let Some(arg) = args.next_if(|arg| arg.starts_with('-')) {
        match split(&arg) {
            ("help" | "h", None) => return Ok(Order::Help(help::program())),
            ("version" | "v", None) => return Ok(Order::Version),
            // Flags, since a cluster may have any name.
            ("completions", value) => return Ok(Order::Completions(value_of("completions", value, &mut args)?)),
            ("man", value) => return Ok(Order::Man(value_of("man", value, &mut args)?)),
            ("config", value) => folder = Some(value_of("config", value, &mut args)?.into()),
            (name, _) => return Err(format!("flag provided but not defined: -{name}")),
        }
    }
    let folder = match folder {
        Some(folder) => std::path::absolute(&folder).map_err(|e| format!("{}: {e}", folder.display()))?,
        None => home()?.join(".ipfs-cluster-follow"),
    };
    let Some(name) = args.next() else { return Ok(Order::Clusters(folder)) };
    if name == "help" || name == "h" {
        return Ok(Order::Help(help::program()));
    }
    if name.contains('/') || name == "." || name == ".." {
        return Err(format!("{name} is no name of a cluster: it names a folder below {}", folder.display()));
    }
    command(Follower::new(&folder, &name), args)
}

fn home() -> Result<PathBuf, String> {
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    home.ok_or_else(|| "there is no home folder: say where with --config FOLDER or IPFS_CLUSTER_PATH".to_owned())
}

fn command(follower: Follower, mut args: Peekable<impl Iterator<Item = String>>) -> Result<Order, String> {
    let name = follower.name().to_owned();
    let Some(command) = args.next() else { return Ok(Order::Info(follower)) };
    let (mut init, mut embedded, mut rest) = (None, None, Vec::new());
    let mut gateway = std::env::var("IPFS_GATEWAY").ok().filter(|g| !g.is_empty()).unwrap_or_else(|| GATEWAY.into());
    if command.starts_with('-') {
        return match split(&command) {
            ("help" | "h", None) => Ok(Order::Help(help::cluster(&name))),
            (other, _) => Err(format!("flag provided but not defined: -{other}")),
        };
    }
    while let Some(arg) = args.next() {
        match split(&arg) {
            _ if !arg.starts_with('-') => rest.push(arg),
            ("help" | "h", None) => return Ok(Order::Help(help::command(&name, &command))),
            ("gateway", value) if matches!(command.as_str(), "init" | "run") => {
                gateway = value_of("gateway", value, &mut args)?;
            }
            ("embedded", None) if command == "run" => embedded = embedded.or(Some(String::new())),
            ("space", value) if command == "run" => embedded = Some(value_of("space", value, &mut args)?),
            ("init", value) if command == "run" => init = Some(value_of("init", value, &mut args)?),
            (other, _) => return Err(format!("flag provided but not defined: -{other}")),
        }
    }
    Ok(match command.as_str() {
        "help" | "h" => Order::Help(help::cluster(&name)),
        "init" => Order::Init { follower, url: rest.into_iter().next(), gateway },
        "run" => Order::Run { follower, init, gateway, embedded },
        "list" => Order::List(follower),
        // As the reference: what is no command is taken for a look at the cluster.
        _ => Order::Info(follower),
    })
}

/// A flag's name, and its value if it stands in the same word.
fn split(arg: &str) -> (&str, Option<&str>) {
    let name = arg.trim_start_matches('-');
    match name.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (name, None),
    }
}

fn value_of(name: &str, value: Option<&str>, args: &mut impl Iterator<Item = String>) -> Result<String, String> {
    let value = value.map(str::to_owned).or_else(|| args.next());
    value.ok_or_else(|| format!("flag needs an argument: -{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(args: &[&str]) -> Result<Order, String> {
        read(args.iter().map(|arg| (*arg).to_owned()), Some("/f".into()))
    }

    fn follower(name: &str) -> Follower {
        Follower::new("/f".as_ref(), name)
    }

    #[test]
    fn the_name_of_the_cluster_stands_before_the_command() {
        assert_eq!(order(&[]), Ok(Order::Clusters("/f".into())));
        assert_eq!(order(&["--config", "/g"]), Ok(Order::Clusters("/g".into())));
        assert_eq!(order(&["--completions", "bash"]), Ok(Order::Completions("bash".into())));
        assert_eq!(order(&["tc", "list"]), Ok(Order::List(follower("tc"))));
        assert_eq!(order(&["tc", "info"]), Ok(Order::Info(follower("tc"))));
        assert_eq!(order(&["tc"]), Ok(Order::Info(follower("tc"))));
        let init = Some("http://x".into());
        let run = Order::Run { follower: follower("tc"), init, gateway: "g".into(), embedded: Some("5GB".into()) };
        assert_eq!(order(&["tc", "run", "--init=http://x", "--gateway", "g", "--space", "5GB", "--embedded"]), Ok(run));
    }

    #[test]
    fn what_is_no_flag_is_told_by_name() {
        assert_eq!(order(&["-c", "x"]), Err("flag provided but not defined: -c".into()));
        assert_eq!(order(&["tc", "init", "--nope"]), Err("flag provided but not defined: -nope".into()));
        assert_eq!(order(&["--config"]), Err("flag needs an argument: -config".into()));
        assert!(order(&["../x"]).is_err());
    }
}
