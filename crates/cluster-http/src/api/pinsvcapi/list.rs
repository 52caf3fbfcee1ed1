//! Listing pins: every pin of the pinset is looked at once, and only those of the page are kept.
//!
//! Newest first. A client asks for the next page with `before=` the oldest time of this one, and may have cut that time
//! to milliseconds (a `Date` of JavaScript): so a page does not end between pins of one millisecond if it can be helped.

use super::answer::{self, Answer};
use super::model::{PinStatus, Status, without_strangers};
use super::query::Query;
use crate::api::door::query::Pairs;
use cluster_component::PageStream;
use cluster_component::rpc::{Cluster, Rpc, RpcError, Target};
use cluster_types::{Cid, GlobalPinInfo, Pin, Timestamp, TrackerStatus};
use futures::StreamExt;
use http::StatusCode;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};

/// How many items are asked about at a time.
const AT_ONCE: usize = 32;

#[derive(Serialize)]
struct PinResults {
    count: u64,
    results: Vec<PinStatus>,
}

pub(super) async fn list(rpc: &Rpc, pairs: &Pairs) -> Answer {
    let query = match Query::read(pairs) {
        Ok(query) => query,
        Err(wrong) => return answer::bad_request(wrong),
    };
    match results(rpc, &query).await {
        Ok(results) => answer::object(StatusCode::OK, &results),
        Err(failed) => answer::failure(&failed),
    }
}

async fn results(rpc: &Rpc, query: &Query) -> Result<PinResults, RpcError> {
    let page = if query.cids.is_empty() { scan(rpc, query).await? } else { pick(rpc, query).await? };
    let count = page.count;
    let asked = futures::stream::iter(page.end()).map(|(pin, info)| async move {
        let info = match info {
            Some(info) => info,
            None => rpc.call::<Cluster::Status>(Target::Local, pin.cid).await?,
        };
        Ok(PinStatus::new(&pin, Some(&info)))
    });
    let results: Vec<Result<PinStatus, RpcError>> = asked.buffered(AT_ONCE).collect().await;
    Ok(PinResults { count, results: results.into_iter().collect::<Result<_, _>>()? })
}

/// The pins of some CIDs; those that are not there are left out.
async fn pick<'a>(rpc: &Rpc, query: &'a Query) -> Result<Page<'a>, RpcError> {
    let found = futures::stream::iter(query.cids.clone()).map(|cid| async move {
        match rpc.call::<Cluster::PinGet>(Target::Local, cid).await {
            Ok(pin) if query.time_of(&pin).is_none() => Ok(None),
            Ok(pin) => Ok(Some((pin, rpc.call::<Cluster::Status>(Target::Local, cid).await?))),
            Err(error) if answer::is_not_there(&error) => Ok(None),
            Err(error) => Err(error),
        }
    });
    let found: Vec<Result<Option<(Pin, GlobalPinInfo)>, RpcError>> = found.buffered(AT_ONCE).collect().await;
    let mut page = Page::new(query);
    for item in found {
        if let Some((pin, info)) = item? {
            page.offer(pin, Some(info));
        }
    }
    Ok(page)
}

/// All pins. How they stand is read beside them where it is asked for: both are in the listing order.
async fn scan<'a>(rpc: &Rpc, query: &'a Query) -> Result<Page<'a>, RpcError> {
    let mut pins = rpc.stream::<Cluster::Pins>(Target::Local, ());
    let mut states = (!query.statuses.is_empty())
        .then(|| States::new(rpc.stream::<Cluster::StatusAll>(Target::Local, TrackerStatus::UNDEFINED)));
    let mut page = Page::new(query);
    while let Some(some) = pins.next().await {
        for pin in some? {
            match &mut states {
                Some(states) => {
                    let info = states.of(&pin.cid).await?.unwrap_or_default();
                    let info = without_strangers(info, &pin);
                    page.offer(pin, Some(info));
                }
                None => page.offer(pin, None),
            }
        }
    }
    Ok(page)
}

/// A stream of states that is read on as far as the item that is asked for. Items are asked for in the listing order.
struct States {
    pages: PageStream<GlobalPinInfo, RpcError>,
    ahead: VecDeque<GlobalPinInfo>,
}

impl States {
    fn new(pages: PageStream<GlobalPinInfo, RpcError>) -> Self {
        Self { pages, ahead: VecDeque::new() }
    }

    async fn of(&mut self, cid: &Cid) -> Result<Option<GlobalPinInfo>, RpcError> {
        let key = cid.sort_key();
        loop {
            while let Some(front) = self.ahead.front() {
                match front.cid.map(|at| at.sort_key()) {
                    Some(at) if at > key => return Ok(None),
                    Some(at) if at == key => return Ok(self.ahead.pop_front()),
                    _ => drop(self.ahead.pop_front()),
                }
            }
            match self.pages.next().await {
                Some(page) => self.ahead.extend(page?),
                None => return Ok(None),
            }
        }
    }
}

/// The newest pins that fit, and how many fit.
struct Page<'a> {
    query: &'a Query,
    count: u64,
    /// One more than the page has, to know what follows it.
    newest: BTreeMap<(Timestamp, Cid), (Pin, Option<GlobalPinInfo>)>,
}

impl<'a> Page<'a> {
    fn new(query: &'a Query) -> Self {
        Self { query, count: 0, newest: BTreeMap::new() }
    }

    /// Looks at a pin. `info` is how it stands, if that was read already.
    fn offer(&mut self, pin: Pin, info: Option<GlobalPinInfo>) {
        let Some(created) = self.query.time_of(&pin) else { return };
        let statuses = &self.query.statuses;
        if !statuses.is_empty() && !statuses.contains(&Status::of(info.as_ref())) {
            return;
        }
        self.count += 1;
        self.newest.insert((created, pin.cid), (pin, info));
        if self.newest.len() > self.query.limit + 1 {
            self.newest.pop_first();
        }
    }

    /// The pins of the page, newest first.
    fn end(self) -> Vec<(Pin, Option<GlobalPinInfo>)> {
        let times: Vec<Timestamp> = self.newest.keys().rev().map(|(created, _)| *created).collect();
        let length = length(&times, self.query.limit);
        self.newest.into_values().rev().take(length).collect()
    }
}

/// How many of these times, newest first, are of the page.
pub(super) fn length(times: &[Timestamp], limit: usize) -> usize {
    let Some(next) = times.get(limit) else { return times.len() };
    let millis = |time: &Timestamp| (time.unix_secs(), time.subsec_nanos() / 1_000_000);
    let before_group = |same: &dyn Fn(&Timestamp) -> bool| times[..limit].iter().take_while(|time| !same(time)).count();
    let cuts = [before_group(&|time| millis(time) == millis(next)), before_group(&|time| time == next)];
    cuts.into_iter().find(|length| *length > 0).unwrap_or(limit)
}
