//! What `--help` says.

/// Of the program.
pub(crate) fn program() -> String {
    "ipfs-cluster-follow - follows clusters of others: holds part of their pinsets, and changes nothing of them

USAGE
  ipfs-cluster-follow [--config FOLDER] [<cluster> [info|init|run|list]]

  Without a cluster it lists those that are followed. Each has a folder of its own below FOLDER, with identity,
  configuration and data.

COMMANDS
  <cluster> init <url>   sets up a follower with the configuration at this URL (or DNSLink name)
  <cluster> run          runs it until it is stopped
  <cluster> info         shows whether it runs, and where its configuration is
  <cluster> list         lists its items

OPTIONS
  --config FOLDER        where the followers are [IPFS_CLUSTER_PATH] (default: ~/.ipfs-cluster-follow)
  --completions SHELL    prints completions: bash, elvish, fish, powershell or zsh
  --version, -v          prints the version
  --help, -h             shows this, and after a cluster or a command what there is to know of that"
        .into()
}

/// Of one cluster.
pub(crate) fn cluster(name: &str) -> String {
    format!(
        "ipfs-cluster-follow {name} - the follower of the cluster \"{name}\"

COMMANDS
  init <url>   sets it up with the configuration at this URL
  run          runs it
  info         shows whether it runs
  list         lists its items"
    )
}

/// Of one command.
pub(crate) fn command(name: &str, command: &str) -> String {
    let (usage, text) = match command {
        "init" => (
            "init <url>",
            "Sets up a follower with an identity of its own. The configuration stays where it is, and is read again at
each start. A URL without http:// or https:// counts as a DNSLink name, which the gateway of the local IPFS
daemon resolves (IPFS_GATEWAY says where that is).",
        ),
        "run" => (
            "run [--init <url>] [--embedded] [--space <size>]",
            "Runs the follower until it is stopped (Ctrl-C). It waits up to two minutes for the IPFS daemon. Its API is on
the socket `api-socket` in its folder; nothing can be written through it. With --init it is set up first, unless
it is already. With --embedded it needs no daemon: an IPFS node in the process holds the content,\nwith --space of no more bytes than that (such as 100GB); items that do not fit are left out.",
        ),
        "list" => ("list", "Lists the items: how they stand here if the follower runs, and what it has on disk if not."),
        "info" => ("info", "Shows where the follower's folder and configuration are, and whether it and its IPFS daemon run."),
        _ => return cluster(name),
    };
    format!("USAGE\n  ipfs-cluster-follow {name} {usage}\n\n{text}")
}
