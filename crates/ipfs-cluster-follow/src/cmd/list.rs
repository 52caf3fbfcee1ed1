//! `list`: the items, as the running follower says, or as they are on disk.

use crate::failure::{Doing, Failure};
use crate::follower::{Follower, runtime};
use cluster_client::{Client, ClientError};
use cluster_node::config::Configuration;
use cluster_node::state::Offline;
use cluster_types::GlobalPinInfo;
use futures::TryStreamExt;

pub(crate) fn run(follower: &Follower) -> Result<(), Failure> {
    follower.must_be_initialized()?;
    let client = follower.client()?;
    match runtime()?.block_on(online(&client)) {
        Ok(()) => Ok(()),
        Err(ClientError::Transport(_)) => offline(follower),
        Err(error) => Err(Failure::new(format!(
            "The Peer API seems to be running but returned with code {}: {error}",
            error.code()
        ))),
    }
}

async fn online(client: &Client) -> Result<(), ClientError> {
    let mut items = client.status_all("", &[], true).await?;
    while let Some(item) = items.try_next().await? {
        print_item(&item);
    }
    Ok(())
}

fn print_item(item: &GlobalPinInfo) {
    let cid = item.cid.map(|cid| cid.to_string()).unwrap_or_default();
    for here in item.peer_map.values() {
        let error = if here.error.is_empty() { String::new() } else { format!(" ({})", here.error) };
        println!("{:<20} {} {}{error}", here.status.to_string(), cid, item.name);
    }
}

/// What is on disk. The configuration may be out of reach: the folder of the store is what it is without one.
fn offline(follower: &Follower) -> Result<(), Failure> {
    let configuration = follower.configuration().unwrap_or_else(|_| Configuration::new());
    if !follower.folder().path().join(&configuration.datastore.folder).exists() {
        return Ok(());
    }
    let state = Offline::open(&configuration, follower.folder()).doing("error obtaining the pinset")?;
    let shown = state.each(&mut |pin| println!("{:<20} {} {}", "offline", pin.cid, pin.options.name));
    shown.doing("error obtaining the pinset")
}
