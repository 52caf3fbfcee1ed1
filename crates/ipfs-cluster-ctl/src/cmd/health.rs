//! `health`: metrics and alerts.

use super::Context;
use crate::cli::Health;
use crate::failure::Failure;
use crate::format::Show;

pub(super) async fn run(context: &Context, command: Health) -> Result<(), Failure> {
    let Context { client, encoding } = context;
    match command {
        Health::Metrics { name: None } => client.metric_names().await?.show(*encoding),
        Health::Metrics { name: Some(name) } => client.metrics(&name).await?.show(*encoding),
        Health::Alerts => client.alerts().await?.show(*encoding),
    }
    Ok(())
}
