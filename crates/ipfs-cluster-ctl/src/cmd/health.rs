//! `health`: the graph of connections, metrics, alerts and traffic.

use super::Context;
use crate::cli::Health;
use crate::failure::{Doing, Failure};
use crate::format::{Show, dot};
use cluster_types::graph_svg;
use std::path::Path;

pub(super) async fn run(context: &Context, command: Health) -> Result<(), Failure> {
    let Context { client, encoding } = context;
    match command {
        Health::Graph { file, all_ipfs_peers, svg } => graph(context, file.as_deref(), all_ipfs_peers, svg).await?,
        Health::Metrics { name: None } => client.metric_names().await?.show(*encoding),
        Health::Metrics { name: Some(name) } => client.metrics(&name).await?.show(*encoding),
        Health::Alerts => client.alerts().await?.show(*encoding),
        Health::Bandwidth => client.bandwidth().await?.show(*encoding),
    }
    Ok(())
}

/// The encoding does not matter, as in the reference: a graph is drawn.
async fn graph(context: &Context, file: Option<&Path>, all_ipfs_peers: bool, svg: bool) -> Result<(), Failure> {
    let graph = context.client.connect_graph().await?;
    let is_picture = svg || file.and_then(Path::extension).is_some_and(|extension| extension == "svg");
    let drawn = if is_picture { graph_svg::svg(&graph) } else { dot::dot(&graph, all_ipfs_peers) };
    match file {
        None => print!("{drawn}"),
        Some(file) => {
            let told = |error| format!("open {}: {error}", file.display());
            std::fs::write(file, drawn).map_err(told).doing("creating output file")?;
        }
    }
    Ok(())
}
