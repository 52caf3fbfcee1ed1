//! `status` and `recover`.

use super::{Context, show_all};
use crate::cli::{Recover, Status};
use crate::failure::{Doing, Failure};
use crate::format::Show;
use cluster_types::{Cid, TrackerStatus};

pub(super) async fn status(context: &Context, args: Status) -> Result<(), Failure> {
    let cids: Vec<Cid> = args.cids.iter().map(|text| text.parse()).collect::<Result<_, _>>().doing("parsing cid")?;
    if let [cid] = cids.as_slice() {
        context.client.status(cid, args.local).await?.show(context.encoding);
        return Ok(());
    }
    if !args.filter.is_empty() && TrackerStatus::parse_filter(&args.filter) == TrackerStatus::UNDEFINED {
        return Err(Failure::local("parsing filter flag", "invalid filter name"));
    }
    let filter = if cids.is_empty() { args.filter.as_str() } else { "" };
    show_all(context.client.status_all(filter, &cids, args.local).await?, context.encoding).await
}

pub(super) async fn recover(context: &Context, args: Recover) -> Result<(), Failure> {
    match args.cid {
        Some(text) => {
            let cid: Cid = text.parse().doing("parsing cid")?;
            context.client.recover(&cid, args.local).await?.show(context.encoding);
            Ok(())
        }
        None => show_all(context.client.recover_all(args.local).await?, context.encoding).await,
    }
}
