//! The commands, one file for each group.

mod add;
mod health;
mod options;
mod pin;
mod status;
mod wait;

use crate::cli::{Cli, Command, Encoding, Ipfs, Peers, State};
use crate::failure::{Doing, Failure};
use crate::format::Show;
use clap::CommandFactory;
use cluster_client::{Client, ClientError, Host};
use cluster_types::PeerId;
use futures::Stream;
use futures::StreamExt;
use std::process::ExitCode;
use std::time::Duration;

/// As which it is known to scripts.
const PROGRAM: &str = "ipfs-cluster-ctl";

/// What every command needs.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) encoding: Encoding,
}

/// Runs the command and tells how it ended.
pub(crate) async fn run(cli: Cli) -> ExitCode {
    let encoding = cli.encoding;
    let done = match cli.command {
        Command::Completions { shell } => {
            cluster_cli::pages::completions(shell, Cli::command());
            Ok(())
        }
        Command::Commands => {
            list_commands(&Cli::command(), "");
            Ok(())
        }
        Command::Man { ref folder } => cluster_cli::pages::manual(folder, Cli::command()).doing("writing manual pages"),
        _ => match client(&cli) {
            Ok(client) => command(&Context { client, encoding }, cli.command).await,
            Err(failure) => Err(failure),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => ExitCode::from(failure.report(encoding)),
    }
}

/// As the reference: each command on a line, below the one that it belongs to.
fn list_commands(command: &clap::Command, above: &str) {
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        let path = format!("{above} {}", command.get_name());
        println!("{PROGRAM}{path}");
        list_commands(command, &path);
    }
}

async fn command(context: &Context, command: Command) -> Result<(), Failure> {
    let Context { client, encoding } = context;
    match command {
        Command::Id => client.id().await?.show(*encoding),
        Command::Version => client.version().await?.show(*encoding),
        Command::Peers(Peers::Ls) => show_all(client.peers().await?, *encoding).await?,
        Command::Peers(Peers::Add { peer }) => client.peer_add(&peer_id(&peer)?).await?.show(*encoding),
        Command::Peers(Peers::Rm { peer }) => client.peer_rm(&peer_id(&peer)?).await?,
        Command::Add(args) => add::run(context, args).await?,
        Command::Pin(args) => pin::run(context, args).await?,
        Command::Status(args) => status::status(context, args).await?,
        Command::Recover(args) => status::recover(context, args).await?,
        Command::Health(args) => health::run(context, args).await?,
        Command::Explain { cid } => client.explain(&cid.parse().doing("parsing CID")?).await?.show(*encoding),
        Command::State(State::Digest) => client.state_digest().await?.show(*encoding),
        Command::Completions { .. } | Command::Commands | Command::Man { .. } => {} // Done by `run`: they need no peer.
        Command::Ipfs(Ipfs::Gc { local }) => client.repo_gc(local).await?.show(*encoding),
    }
    Ok(())
}

fn peer_id(text: &str) -> Result<PeerId, Failure> {
    cluster_types::peer_id::parse(text).doing("parsing peer ID")
}

/// Shows each item as it comes; an error ends it.
pub(super) async fn show_all<T: Show>(
    mut items: impl Stream<Item = Result<T, ClientError>> + Unpin,
    encoding: Encoding,
) -> Result<(), Failure> {
    while let Some(item) = items.next().await {
        item?.show(encoding);
    }
    Ok(())
}

/// The secret that hexadecimal digits write down.
fn secret(text: &str) -> Result<[u8; 32], Failure> {
    let bytes = hex::decode(text).doing("parsing secret")?;
    bytes
        .try_into()
        .map_err(|_| "length of ProtectorKey should be 32: give 64 hexadecimal digits")
        .doing("creating API client")
}

/// The client that the global flags ask for.
fn client(cli: &Cli) -> Result<Client, Failure> {
    let credentials = cli.basic_auth.as_deref().filter(|text| !text.is_empty());
    // A password goes over https unless the user says that it may go openly.
    let tls = cli.https || (credentials.is_some() && !cli.force_http);
    let mut builder = Client::builder();
    if let Some(text) = cli.secret.as_deref().filter(|text| !text.is_empty()) {
        builder = builder.secret(secret(text)?);
    }
    for text in cli.host.split(',') {
        builder = builder.host(Host::parse(text, tls).doing("parsing host multiaddress")?);
    }
    if let Some(text) = credentials {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        builder = builder.basic_auth(user, password);
    }
    if cli.timeout > 0 {
        builder = builder.timeout(Duration::from_secs(cli.timeout));
    }
    if cli.no_check_certificate {
        builder = builder.accept_any_certificate();
    }
    builder.build().doing("creating API client")
}
