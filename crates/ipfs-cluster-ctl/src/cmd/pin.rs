//! `pin`: add, rm, update, ls.

use super::options::{self, BadAllocations, expiry, path};
use super::wait::{Goal, finish};
use super::{Context, show_all};
use crate::cli::{Pin, PinAdd, PinLs, PinRm, PinUpdate};
use crate::failure::{Doing, Failure};
use crate::format::Show;
use cluster_types::pin::PinTypeFilter;
use cluster_types::{Cid, PinMode, PinOptions};

pub(super) async fn run(context: &Context, command: Pin) -> Result<(), Failure> {
    match command {
        Pin::Add(args) => add(context, args).await,
        Pin::Rm(args) => remove(context, args).await,
        Pin::Update(args) => update(context, args).await,
        Pin::Ls(args) => list(context, args).await,
    }
}

async fn add(context: &Context, args: PinAdd) -> Result<(), Failure> {
    let path = path(&args.path)?;
    let mut options = options::options(&args.options, BadAllocations::Refuse)?;
    if args.replication != 0 {
        options.replication_factor_min = args.replication;
        options.replication_factor_max = args.replication;
    }
    // As the reference: a mode that is none means the whole DAG.
    options.mode = if args.mode == "direct" { PinMode::Direct } else { PinMode::Recursive };
    let pin = context.client.pin_path(&path, &options).await?;
    finish(context, &pin, &args.wait, Goal::Pinned).await
}

async fn remove(context: &Context, args: PinRm) -> Result<(), Failure> {
    let path = path(&args.path)?;
    let pin = context.client.unpin_path(&path).await?;
    finish(context, &pin, &args.wait, Goal::Unpinned).await
}

async fn update(context: &Context, args: PinUpdate) -> Result<(), Failure> {
    let from: Cid = args.from.parse().doing("parsing from Cid")?;
    let to = path(&args.to)?;
    let mut options = PinOptions { pin_update: Some(from), name: args.name, ..PinOptions::default() };
    if let Some(text) = &args.expire_in {
        options.expire_at = expiry(text)?;
    }
    let pin = context.client.pin_path(&to, &options).await?;
    finish(context, &pin, &args.wait, Goal::Pinned).await
}

async fn list(context: &Context, args: PinLs) -> Result<(), Failure> {
    if let Some(text) = args.cid {
        let cid: Cid = text.parse().doing("parsing cid")?;
        context.client.allocation(&cid).await?.show(context.encoding);
        return Ok(());
    }
    // As the reference: names that are none are left out, and where nothing remains everything is listed.
    let known = args.filter.split(',').filter(|name| PinTypeFilter::parse(name).is_ok());
    let filter = known.collect::<Vec<_>>().join(",");
    show_all(context.client.allocations(&filter).await?, context.encoding).await
}
