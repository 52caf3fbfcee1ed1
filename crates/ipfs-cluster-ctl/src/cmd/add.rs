//! `add`: content from files, directories and standard input.

use super::Context;
use super::options::{self, BadAllocations};
use super::wait::{Goal, wait};
use crate::cli::{Add, Encoding};
use crate::failure::Failure;
use crate::format::{Progress, Show};
use cluster_client::upload::{Take, entries_of, entry_of_url};
use cluster_client::{Client, Entry, EntryKind, Upload};
use cluster_types::{AddFormat, AddLayout, AddParams, Added};
use futures::StreamExt;
use std::path::Path;
use std::sync::Arc;

/// Shards of this size are what clients of the reference always ask for.
const SHARD_BYTES: u64 = 100 << 20;

pub(super) async fn run(context: &Context, args: Add) -> Result<(), Failure> {
    let params = params(&args)?;
    let upload = Upload::new(entries(&args)?);
    let wanted = context.encoding == Encoding::Text && !args.quiet && !args.quieter;
    let progress = Progress::new(upload.size(), wanted);
    let sent = progress.clone();
    let upload = upload.on_sent(Arc::new(move |bytes| sent.advance(bytes)));
    let last = receive(context, &args, upload, &params, &progress).await;
    progress.done();
    match last? {
        Some(last) if args.wait && !args.no_pin => wait_for(&context.client, context, &args, &last).await,
        _ => Ok(()),
    }
}

/// Shows what is added as it is told; returns the last item, which is the root.
async fn receive(
    context: &Context,
    args: &Add,
    upload: Upload,
    params: &AddParams,
    progress: &Progress,
) -> Result<Option<Added>, Failure> {
    let mut items = context.client.add(upload, params).await?;
    let (mut kept, mut last, mut failed) = (Vec::new(), None, None);
    while let Some(item) = items.next().await {
        match item {
            Ok(added) if args.no_stream => kept.push(added),
            Ok(added) => {
                if !args.quieter {
                    progress.aside(|| show(context.encoding, args.quiet, &added));
                }
                last = Some(added);
            }
            Err(error) => failed = Some(error),
        }
    }
    progress.done();
    if args.no_stream {
        last = kept.last().cloned();
        show_kept(context.encoding, args, kept);
    } else if let (true, Some(added)) = (args.quieter, &last) {
        show(context.encoding, true, added);
    }
    failed.map_or(Ok(last), |error| Err(error.into()))
}

fn show(encoding: Encoding, quiet: bool, added: &Added) {
    match (encoding, added.cid) {
        (Encoding::Text, Some(cid)) if quiet => println!("{cid}"),
        _ => added.show(encoding),
    }
}

fn show_kept(encoding: Encoding, args: &Add, mut kept: Vec<Added>) {
    if args.quieter {
        kept.drain(..kept.len().saturating_sub(1));
    }
    match encoding {
        Encoding::Json => kept.show(encoding),
        Encoding::Text => kept.iter().for_each(|added| show(encoding, args.quiet || args.quieter, added)),
    }
}

async fn wait_for(client: &Client, context: &Context, args: &Add, last: &Added) -> Result<(), Failure> {
    let Some(cid) = last.cid else { return Ok(()) };
    let pin = client.allocation(&cid).await;
    let limit = pin.map_or(args.options.replication_min, |pin| pin.options.replication_factor_min);
    wait(context, cid, Goal::Pinned, i64::from(limit), args.wait_timeout).await.map(drop)
}

fn entries(args: &Add) -> Result<Vec<Entry>, Failure> {
    let take = Take { recursive: args.recursive, hidden: args.hidden };
    let mut entries = Vec::new();
    for path in &args.paths {
        if path == "-" {
            entries.push(Entry { name: String::new(), kind: EntryKind::Stdin });
        } else if path.starts_with("http://") || path.starts_with("https://") {
            entries.push(entry_of_url(path)?);
        } else if args.nocopy {
            return Err(Failure::local("", "nocopy option is only valid for URLs"));
        } else {
            entries.extend(entries_of(Path::new(path), take)?);
        }
    }
    Ok(entries)
}

fn params(args: &Add) -> Result<AddParams, Failure> {
    let wrap = args.wrap_with_directory || args.paths.len() > 1;
    let format = match args.format.as_str() {
        "" | "unixfs" => AddFormat::Unixfs,
        "car" if wrap => {
            let text = "only a single CAR file can be added and wrap-with-directory is not supported";
            return Err(Failure::local("", text));
        }
        "car" => AddFormat::Car,
        _ => return Err(Failure::local("", "format parameter is invalid")),
    };
    let layout = match args.layout.as_str() {
        "" | "balanced" => AddLayout::Balanced,
        "trickle" => AddLayout::Trickle,
        _ => return Err(Failure::local("", "layout parameter is invalid")),
    };
    let cid_version = if args.hash == "sha2-256" { args.cid_version } else { args.cid_version.max(1) };
    let mut pin = options::options(&args.options, BadAllocations::LeaveOut)?;
    pin.shard_size = SHARD_BYTES;
    Ok(AddParams {
        pin,
        local: args.local,
        layout,
        chunker: args.chunker.clone(),
        raw_leaves: Some(args.raw_leaves || cid_version > 0),
        hidden: args.hidden,
        nocopy: args.nocopy,
        wrap,
        cid_version,
        hash: args.hash.clone(),
        no_pin: args.no_pin,
        format,
        ..AddParams::default()
    })
}
