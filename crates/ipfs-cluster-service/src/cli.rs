//! The command line, as users type it.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Runs an IPFS Cluster peer.
#[derive(Debug, Parser)]
#[command(
    name = "ipfs-cluster-service",
    version = cmd_version(),
    about = "Runs an IPFS Cluster peer",
    long_about = "ipfs-cluster-service runs an IPFS Cluster peer: it keeps the list of what shall be pinned (the pinset) \
                  and makes the IPFS daemon beside it hold what this peer is to hold.\n\n\
                  Nothing is set up yet? `ipfs-cluster-service up` sets up a peer, starts it and says what to do next.",
    arg_required_else_help = true,
    disable_help_subcommand = false
)]
pub(crate) struct Cli {
    /// Folder of configuration and data
    #[arg(short, long, global = true, env = "IPFS_CLUSTER_PATH", value_name = "FOLDER")]
    pub(crate) config: Option<PathBuf>,

    /// Log everything, of all components
    #[arg(short, long, global = true)]
    pub(crate) debug: bool,

    /// Log levels: LEVEL or COMPONENT:LEVEL, separated by commas (such as info,restapi:debug)
    #[arg(short, long, global = true, env = "IPFS_CLUSTER_LOG_LEVEL", value_name = "LEVELS")]
    pub(crate) loglevel: Option<String>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

fn cmd_version() -> &'static str {
    cluster_node::VERSION
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
    Up,
    /// Manages the pinset of a peer that is not running
    #[command(subcommand)]
    State(State),
    /// Prints the version
    Version,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Ask for the cluster secret (64 hexadecimal digits) instead of making one
    #[arg(short = 's', long)]
    pub(crate) custom_secret: bool,

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

    /// Accepted for compatibility; does nothing
    #[arg(short, long, hide = true)]
    pub(crate) upgrade: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum State {
    /// Writes the pinset as JSON, one pin a line
    Export {
        /// Where to; standard output if not given
        #[arg(short, long, value_name = "FILE")]
        file: Option<PathBuf>,
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
    #[arg(long, visible_alias = "rmin", default_value_t = 0, value_name = "N")]
    pub(crate) replication_min: i32,

    /// Give every pin this maximal replication factor
    #[arg(long, visible_alias = "rmax", default_value_t = 0, value_name = "N")]
    pub(crate) replication_max: i32,

    /// Give every pin these allocations: peer ids separated by commas
    #[arg(long, visible_alias = "allocs", value_delimiter = ',', value_name = "PEERS")]
    pub(crate) allocations: Vec<String>,
}
