//! The command line, as users type it: names, aliases and defaults of the reference.

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use cluster_types::GoDuration;
use std::path::PathBuf;
use std::process::ExitCode;

/// The version of the API that this tool speaks, which is the reference's, as it is printed behind the name.
const VERSION: &str = "version 1.1.6";

/// Exit code of an unknown command, as the reference.
const UNKNOWN_COMMAND: u8 = 3;

/// Manages an IPFS Cluster.
#[derive(Debug, Parser)]
#[command(
    name = "ipfs-cluster-ctl",
    version = VERSION,
    about = "CLI for IPFS Cluster",
    long_about = "ipfs-cluster-ctl manages a cluster through the REST API of one of its peers.\n\nThe peer is expected at \
                  /ip4/127.0.0.1/tcp/9094; --host names another one. Of several hosts, separated by commas, the first \
                  that can be reached is asked.\n\nAn address that ends in /p2p/<id>, or a /dnsaddr that stands for one, \
                  is reached over libp2p: the libp2p_listen_multiaddress of its API, or with raft its cluster address \
                  together with --secret.",
    disable_version_flag = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    /// API addresses, separated by commas, tried in order
    #[arg(short = 'l', long, default_value = "/ip4/127.0.0.1/tcp/9094", value_name = "MULTIADDRS")]
    pub(crate) host: String,

    /// Secret of the cluster, as 64 hexadecimal digits, for hosts over libp2p in its private network
    #[arg(long, hide_default_value = true, value_name = "HEX")]
    pub(crate) secret: Option<String>,

    /// Use https
    #[arg(short = 's', long)]
    pub(crate) https: bool,

    /// Take the server's TLS certificate whoever signed it
    #[arg(long)]
    pub(crate) no_check_certificate: bool,

    /// How to show answers
    #[arg(long, visible_alias = "enc", value_enum, default_value_t = Encoding::Text)]
    pub(crate) encoding: Encoding,

    /// Seconds that a request may take; 0: no limit
    #[arg(short, long, default_value_t = 0, value_name = "SECONDS")]
    pub(crate) timeout: u64,

    /// Name and password, as user:password; turns https on unless --force-http
    #[arg(long, env = "CLUSTER_CREDENTIALS", hide_env_values = true, value_name = "USER[:PASSWORD]")]
    pub(crate) basic_auth: Option<String>,

    /// Send the password over plain http
    #[arg(short, long)]
    pub(crate) force_http: bool,

    /// Tell on standard error what is asked and answered
    #[arg(short, long)]
    pub(crate) debug: bool,

    /// Print the version of this tool
    #[arg(short = 'v', long = "version", action = clap::ArgAction::Version)]
    version: Option<bool>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encoding {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Retrieve peer information
    Id,
    /// List and manage IPFS Cluster peers
    #[command(subcommand, arg_required_else_help = true)]
    Peers(Peers),
    /// Add files and directories to IPFS and pin them in the cluster
    Add(Add),
    /// Pin and unpin and list items in IPFS Cluster
    #[command(subcommand, arg_required_else_help = true)]
    Pin(Pin),
    /// Retrieve the status of tracked items
    Status(Status),
    /// Explain how an item stands at each peer, why, and what to do
    Explain {
        /// The item
        #[arg(value_name = "CID")]
        cid: String,
    },
    /// Recover tracked items in error state
    Recover(Recover),
    /// Retrieve cluster version
    Version,
    /// Cluster monitoring information
    #[command(subcommand, arg_required_else_help = true)]
    Health(Health),
    /// Look at the pinset of the contacted peer as a whole
    #[command(subcommand, arg_required_else_help = true)]
    State(State),
    /// Manage IPFS daemon
    #[command(subcommand, arg_required_else_help = true)]
    Ipfs(Ipfs),
    /// Prints completions for a shell, such as: source <(ipfs-cluster-ctl completions bash)
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Lists all commands
    #[command(hide = true)]
    Commands,
    /// Writes manual pages into a folder
    #[command(hide = true)]
    Man {
        /// Where to
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Peers {
    /// List the members of the cluster
    Ls,
    /// Take in a peer that is connected
    Add {
        /// Its name
        #[arg(value_name = "PEER ID")]
        peer: String,
    },
    /// Move a peer's pins to others and put it out of the cluster
    Rm {
        /// Its name
        #[arg(value_name = "PEER ID")]
        peer: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Do not ask for the status afterwards
    #[arg(long, visible_alias = "ns")]
    pub(crate) no_status: bool,

    /// Wait until the item stands as it should
    #[arg(short, long)]
    pub(crate) wait: bool,

    /// At how many peers to wait for it; if not given, the minimal replication factor
    #[arg(long, visible_alias = "wl", default_value_t = 0, value_name = "PEERS", allow_negative_numbers = true)]
    pub(crate) wait_limit: i64,

    /// How long to wait, such as 30s or 5m; 0s: for ever
    #[arg(long, visible_alias = "wt", default_value = "0s", value_name = "DURATION")]
    pub(crate) wait_timeout: GoDuration,
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Fewest peers that must hold it; -1: every peer; 0: the cluster's default
    #[arg(long, visible_alias = "rmin", default_value_t = 0, value_name = "N", allow_negative_numbers = true)]
    pub(crate) replication_min: i32,

    /// Most peers that shall hold it; -1: every peer; 0: the cluster's default
    #[arg(long, visible_alias = "rmax", default_value_t = 0, value_name = "N", allow_negative_numbers = true)]
    pub(crate) replication_max: i32,

    /// A name for the pin
    #[arg(short, long, default_value = "", value_name = "NAME")]
    pub(crate) name: String,

    /// Peers that should hold it, separated by commas
    #[arg(long, visible_alias = "allocs", default_value = "", value_name = "PEERS")]
    pub(crate) allocations: String,

    /// Remove the pin after so long, such as 48h
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub(crate) expire_in: Option<String>,

    /// Words to keep with the pin; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) metadata: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Files, directories and http or https URLs; `-` is standard input
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<String>,

    /// Add directories with everything in them
    #[arg(short, long)]
    pub(crate) recursive: bool,

    /// Print CIDs only
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Print the last CID only
    #[arg(short = 'Q', long)]
    pub(crate) quieter: bool,

    /// Print everything at the end
    #[arg(long)]
    pub(crate) no_stream: bool,

    /// Put all blocks at the contacted peer
    #[arg(long)]
    pub(crate) local: bool,

    #[command(flatten)]
    pub(crate) options: Options,

    /// Put blocks, pin nothing
    #[arg(long)]
    pub(crate) no_pin: bool,

    /// Wait until it is pinned
    #[arg(long)]
    pub(crate) wait: bool,

    /// How long to wait, such as 30s or 5m; 0s: for ever
    #[arg(long, visible_alias = "wt", default_value = "0s", value_name = "DURATION")]
    pub(crate) wait_timeout: GoDuration,

    /// Put everything into one directory
    #[arg(short = 'w', long)]
    pub(crate) wrap_with_directory: bool,

    /// What is added: unixfs (files) or car
    #[arg(long, default_value = "unixfs", value_name = "FORMAT")]
    pub(crate) format: String,

    /// Shape of the trees: balanced or trickle
    #[arg(long, default_value = "", value_name = "LAYOUT")]
    pub(crate) layout: String,

    /// Take in hidden files of directories
    #[arg(short = 'H', long)]
    pub(crate) hidden: bool,

    /// How files are cut: size-N, rabin, buzhash
    #[arg(short = 's', long, default_value = "size-262144", value_name = "CHUNKER")]
    pub(crate) chunker: String,

    /// Leaves are bare bytes
    #[arg(long)]
    pub(crate) raw_leaves: bool,

    /// Leave the content of URLs where it is; our peers refuse that
    #[arg(long)]
    pub(crate) nocopy: bool,

    /// Version of the CIDs
    #[arg(long, default_value_t = 0, value_name = "VERSION")]
    pub(crate) cid_version: u64,

    /// Hash function; another than sha2-256 means CID version 1
    #[arg(long, default_value = "sha2-256", value_name = "HASH")]
    pub(crate) hash: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Pin {
    /// Pin an item in the cluster
    Add(PinAdd),
    /// Unpin an item from the cluster
    Rm(PinRm),
    /// Pin a new item in the place of an existing one
    Update(PinUpdate),
    /// List items in the cluster pinset
    Ls(PinLs),
}

#[derive(Debug, Args)]
pub(crate) struct PinAdd {
    /// What to pin
    #[arg(value_name = "CID|PATH", default_value = "")]
    pub(crate) path: String,

    /// Both replication factors at once
    #[arg(short = 'r', long, default_value_t = 0, value_name = "N", allow_negative_numbers = true)]
    pub(crate) replication: i32,

    #[command(flatten)]
    pub(crate) options: Options,

    /// recursive: the whole DAG; direct: its root block
    #[arg(long, default_value = "recursive", value_name = "MODE")]
    pub(crate) mode: String,

    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Debug, Args)]
pub(crate) struct PinRm {
    /// What to unpin
    #[arg(value_name = "CID|PATH", default_value = "")]
    pub(crate) path: String,

    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Debug, Args)]
pub(crate) struct PinUpdate {
    /// What is pinned
    #[arg(value_name = "EXISTING-CID", default_value = "")]
    pub(crate) from: String,

    /// What shall be pinned with its options
    #[arg(value_name = "NEW-CID|PATH", default_value = "")]
    pub(crate) to: String,

    /// A name for the new pin
    #[arg(short, long, default_value = "", value_name = "NAME")]
    pub(crate) name: String,

    /// Remove the new pin after so long, such as 48h
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub(crate) expire_in: Option<String>,

    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Debug, Args)]
pub(crate) struct PinLs {
    /// One item
    #[arg(value_name = "CID")]
    pub(crate) cid: Option<String>,

    /// Types of pins, separated by commas: all, pin, meta-pin, clusterdag-pin, shard-pin
    #[arg(long, default_value = "all", value_name = "TYPES")]
    pub(crate) filter: String,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Items; all if none is given
    #[arg(value_name = "CID")]
    pub(crate) cids: Vec<String>,

    /// At the contacted peer only
    #[arg(long)]
    pub(crate) local: bool,

    /// States, separated by commas, such as pinned,pin_error or error or queued
    #[arg(long, default_value = "", value_name = "STATES")]
    pub(crate) filter: String,
}

#[derive(Debug, Args)]
pub(crate) struct Recover {
    /// One item; all if not given
    #[arg(value_name = "CID")]
    pub(crate) cid: Option<String>,

    /// At the contacted peer only
    #[arg(long)]
    pub(crate) local: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Health {
    /// Draw who is connected to whom
    Graph {
        /// Write it to this file instead of printing it
        #[arg(short, long, value_name = "FILE")]
        file: Option<PathBuf>,

        /// Draw every daemon that a daemon is connected to
        #[arg(long)]
        all_ipfs_peers: bool,

        /// Draw a picture (SVG) and not a graph for dot; without it so for a FILE that ends in .svg
        #[arg(long)]
        svg: bool,
    },
    /// List how much has passed, by protocol
    Bandwidth,
    /// List metrics
    Metrics {
        /// Which one; their names if not given
        name: Option<String>,
    },
    /// List alerts
    Alerts,
}

#[derive(Debug, Subcommand)]
pub(crate) enum State {
    /// Show its digest and how many pins it has: peers with the same pinset show the same
    Digest,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ipfs {
    /// Run garbage collection on the IPFS repositories of the cluster's peers
    Gc {
        /// At the contacted peer only
        #[arg(long)]
        local: bool,
    },
}

/// Tells what is wrong with the command line, or what was asked for in place of a command.
pub(crate) fn refuse(error: &clap::Error) -> ExitCode {
    let _best_effort = error.print(); // There is nowhere else to tell it.
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            ExitCode::SUCCESS
        }
        ErrorKind::InvalidSubcommand => ExitCode::from(UNKNOWN_COMMAND),
        _ => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_stand_before_and_after_what_they_are_for() {
        let cli = Cli::try_parse_from(["ctl", "--enc", "json", "status", "--local", "QmX", "--filter", "pinned"]);
        let Command::Status(status) = cli.expect("parsed").command else { panic!("a status") };
        assert_eq!((status.local, status.filter.as_str(), status.cids.len()), (true, "pinned", 1));
    }
}
