//! The command line, as users type it.

use crate::cmd::PEERS_MAX;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::sync::LazyLock;

/// As the reference prints it behind the name.
static VERSION: LazyLock<String> = LazyLock::new(|| format!("version {}", cluster_node::VERSION));

/// Runs an IPFS Cluster peer.
#[derive(Debug, Parser)]
#[command(
    name = "ipfs-cluster-service",
    version = VERSION.as_str(),
    about = "Runs an IPFS Cluster peer",
    long_about = "ipfs-cluster-service runs an IPFS Cluster peer: it keeps the list of what shall be pinned (the pinset) \
                  and makes the IPFS daemon beside it hold what this peer is to hold.\n\n\
                  Nothing is set up yet? `ipfs-cluster-service up` sets up a peer, starts it and says what to do next.",
    arg_required_else_help = true,
    disable_version_flag = true,
    disable_help_subcommand = false
)]
pub(crate) struct Cli {
    /// Folder of configuration and data
    #[arg(short, long, global = true, env = "IPFS_CLUSTER_PATH", value_name = "FOLDER")]
    pub(crate) config: Option<PathBuf>,

    /// Ask nothing before something is overwritten or removed
    #[arg(id = "global_force", short = 'f', long = "force")]
    pub(crate) force: bool,

    /// Log everything, of all components
    #[arg(short, long, global = true)]
    pub(crate) debug: bool,

    /// Log levels: LEVEL or COMPONENT:LEVEL, separated by commas (such as info,restapi:debug)
    #[arg(short, long, global = true, env = "IPFS_CLUSTER_LOG_LEVEL", value_name = "LEVELS")]
    pub(crate) loglevel: Option<String>,

    /// Print the version of this program
    #[arg(short = 'v', long = "version", action = clap::ArgAction::Version)]
    version: Option<bool>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// The log levels asked for.
    pub(crate) fn level(&self) -> &str {
        if self.debug { "debug" } else { self.loglevel.as_deref().unwrap_or("info") }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Creates a configuration and an identity
    Init(Init),
    /// Runs the peer
    Daemon(Daemon),
    /// Sets up a peer if there is none, runs it, and says what to do next
    Up(Up),
    /// Manages the pinset of a peer that is not running
    #[command(subcommand)]
    State(State),
    /// Manages the embedded IPFS node's repository of a peer that is not running
    #[command(subcommand)]
    Embedded(Embedded),
    /// Checks and shows the configuration
    #[command(subcommand)]
    Config(Config),
    /// Prints the version
    Version,
    /// Prints completions for a shell, such as: source <(ipfs-cluster-service completions bash)
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Writes manual pages into a folder
    #[command(hide = true)]
    Man {
        /// Where to
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// So many peers in one process, each with a folder and an IPFS node of its own, to try a cluster out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(PEERS_MAX)))]
    pub(crate) peers: Option<u16>,

    /// With --peers: give the first one free ports too, instead of the default ones
    #[arg(long, requires = "peers")]
    pub(crate) randomports: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Ask for the cluster secret (64 hexadecimal digits) instead of making one
    #[arg(short = 's', long)]
    pub(crate) custom_secret: bool,

    /// Where the configuration is fetched from at every start; the file then only names this URL
    #[arg(value_name = "URL")]
    pub(crate) source: Option<String>,

    /// More words are passed over, as the reference does
    #[arg(hide = true)]
    pub(crate) more: Vec<String>,

    /// Addresses of peers to connect to, separated by commas; the crdt trusts these peers and no others
    #[arg(long, value_name = "ADDRESSES")]
    pub(crate) peers: Option<String>,

    /// Accepted for compatibility (badger, badger3, leveldb, pebble): the pinset is kept in fjall
    #[arg(long, default_value = "fjall", value_name = "STORE")]
    pub(crate) datastore: String,

    /// How peers agree: crdt or raft
    #[arg(long, default_value = "crdt", value_name = "COMPONENT")]
    pub(crate) consensus: String,

    /// Overwrite a configuration that is there
    #[arg(short, long)]
    pub(crate) force: bool,

    /// Listen on free ports instead of the default ones
    #[arg(long)]
    pub(crate) randomports: bool,

    /// Use an IPFS node within the peer instead of a Kubo beside it
    #[arg(long)]
    pub(crate) embedded: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Daemon {
    /// Addresses of members that take this peer in, separated by commas
    #[arg(short = 'j', long, value_delimiter = ',', value_name = "ADDRESSES")]
    pub(crate) bootstrap: Vec<String>,

    /// Do not trust those members (crdt)
    #[arg(long)]
    pub(crate) no_trust: bool,

    /// Leave the cluster when this run stops
    #[arg(short = 'x', long)]
    pub(crate) leave: bool,

    /// Serve metrics in this run (section observations.metrics)
    #[arg(long)]
    pub(crate) stats: bool,

    /// Send traces in this run (section observations.tracing)
    #[arg(long)]
    pub(crate) tracing: bool,

    /// Accepted for compatibility; does nothing
    #[arg(short, long, hide = true)]
    pub(crate) upgrade: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Finds all mistakes at once, with their lines; ends with 1 if there is one
    Check,
    /// Prints the page of all keys, docs/config.md
    #[command(hide = true)]
    Reference,
    /// Prints the description of the REST API, docs/openapi.json
    #[command(hide = true)]
    Openapi,
    /// Shows the values that are in effect, and where each comes from
    Show {
        /// Show secrets too
        #[arg(long)]
        secrets: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Crdt {
    /// Prints information about the CRDT store
    Info,
    /// Draws the CRDT-DAG for Graphviz
    Dot {
        /// Where to; standard output if not given
        #[arg(short, long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Says that blocks may be missing: the next start looks for them
    MarkDirty,
    /// Says that no block is missing
    MarkClean,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Embedded {
    /// Takes in CAR files, or all that a Kubo has pinned, and pins it at this peer's embedded IPFS node
    ///
    /// Prints each root when it is pinned. An import that was interrupted can be made again: what is there is not
    /// written twice. The pinset of the cluster is not changed: `ipfs-cluster-ctl pin add ROOT` does that, and finds
    /// everything here.
    Import(EmbeddedImport),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct EmbeddedImport {
    /// CAR files (version 1 or 2), whose roots are pinned; - is standard input
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub(crate) car: Vec<PathBuf>,

    /// The API of a Kubo (such as http://127.0.0.1:5001), all of whose pins are taken over
    #[arg(long, value_name = "URL")]
    pub(crate) kubo: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum State {
    /// CRDT-state commands
    #[command(subcommand)]
    Crdt(Crdt),
    /// Writes the pinset as JSON, one pin a line
    Export {
        /// Where to; standard output if not given
        #[arg(short, long, value_name = "FILE")]
        file: Option<PathBuf>,

        /// More words are passed over, as the reference does
        #[arg(hide = true)]
        more: Vec<String>,
    },
    /// Replaces the pinset by one that export wrote
    Import(Import),
    /// Removes the pinset
    Cleanup {
        /// Do not ask
        #[arg(short, long)]
        force: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The file; standard input if not given
    pub(crate) file: Option<PathBuf>,

    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,

    /// Under raft: begin anew with this peer as the only member, when the others are lost for good
    #[arg(long)]
    pub(crate) alone: bool,

    /// Give every pin this minimal replication factor
    #[arg(long, visible_alias = "rmin", default_value_t = 0, allow_negative_numbers = true, value_name = "N")]
    pub(crate) replication_min: i32,

    /// Give every pin this maximal replication factor
    #[arg(long, visible_alias = "rmax", default_value_t = 0, allow_negative_numbers = true, value_name = "N")]
    pub(crate) replication_max: i32,

    /// Give every pin these allocations: peer ids separated by commas
    #[arg(long, visible_alias = "allocs", value_delimiter = ',', value_name = "PEERS")]
    pub(crate) allocations: Vec<String>,
}
