//! Which pins a list is asked for.

use super::model::{NAME_MAX, Status, created};
use crate::api::door::query::{Pairs, first};
use cluster_types::{Cid, Pin, PinType, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Most CIDs of `cid=`. The specification asks for 10 at least.
const CIDS_MAX: usize = 1000;

/// Most pins of a page.
const LIMIT_MAX: usize = 1000;

/// Pins of a page if nothing is said.
const LIMIT: usize = 10;

/// How a name is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    Exact,
    IgnoringCase,
    Part,
    PartIgnoringCase,
}

/// What a list is asked for. Conditions hold together.
#[derive(Debug)]
pub(super) struct Query {
    /// Only these; empty: all.
    pub(super) cids: BTreeSet<Cid>,
    /// Only pins that stand so; empty: any.
    pub(super) statuses: BTreeSet<Status>,
    /// Most pins of the page.
    pub(super) limit: usize,
    name: Option<(String, Match)>,
    before: Option<Timestamp>,
    after: Option<Timestamp>,
    meta: BTreeMap<String, String>,
}

impl Query {
    /// Reads the parameters; the error says which is wrong.
    pub(super) fn read(pairs: &Pairs) -> Result<Self, String> {
        let given = |name: &str| Some(first(pairs, name)).filter(|text| !text.is_empty());
        Ok(Self {
            cids: given("cid").map_or_else(|| Ok(BTreeSet::new()), cids)?,
            name: name(given("name"), given("match"))?,
            statuses: given("status").map_or_else(|| Ok(BTreeSet::new()), statuses)?,
            before: given("before").map(|text| time("before", text)).transpose()?,
            after: given("after").map(|text| time("after", text)).transpose()?,
            limit: given("limit").map_or(Ok(LIMIT), limit)?,
            meta: given("meta").map_or_else(|| Ok(BTreeMap::new()), meta)?,
        })
    }

    /// The creation time of a pin that is asked for, apart from its CID and how it stands; `None` for the others.
    pub(super) fn time_of(&self, pin: &Pin) -> Option<Timestamp> {
        // Parts of sharded items are no pins of a user's.
        let fits = pin.kind == PinType::Data && self.fits_name(&pin.options.name) && self.fits_meta(pin);
        let created = fits.then(|| created(pin))?;
        let within = self.before.is_none_or(|t| created < t) && self.after.is_none_or(|t| created > t);
        within.then_some(created)
    }

    fn fits_name(&self, name: &str) -> bool {
        match &self.name {
            None => true,
            Some((wanted, Match::Exact)) => name == wanted,
            Some((wanted, Match::IgnoringCase)) => name.to_lowercase() == wanted.to_lowercase(),
            Some((wanted, Match::Part)) => name.contains(wanted),
            Some((wanted, Match::PartIgnoringCase)) => name.to_lowercase().contains(&wanted.to_lowercase()),
        }
    }

    fn fits_meta(&self, pin: &Pin) -> bool {
        let has = |key: &String| pin.options.metadata.as_ref().and_then(|words| words.get(key));
        self.meta.iter().all(|(key, value)| has(key) == Some(value))
    }
}

fn cids(text: &str) -> Result<BTreeSet<Cid>, String> {
    if text.split(',').count() > CIDS_MAX {
        return Err(format!("more than {CIDS_MAX} CIDs in one request: ask in several"));
    }
    text.split(',').map(|word| word.parse().map_err(|e| format!("error decoding cid {word}: {e}"))).collect()
}

fn name(name: Option<&str>, how: Option<&str>) -> Result<Option<(String, Match)>, String> {
    let how = match how.unwrap_or("exact") {
        "exact" => Match::Exact,
        "iexact" => Match::IgnoringCase,
        "partial" => Match::Part,
        "ipartial" => Match::PartIgnoringCase,
        other => {
            return Err(format!("error in 'match' query param: {other} is none of exact, iexact, partial, ipartial"));
        }
    };
    if name.is_some_and(|name| name.chars().count() > NAME_MAX) {
        return Err(format!("error in 'name' query param: longer than {NAME_MAX} chars"));
    }
    Ok(name.map(|name| (name.to_owned(), how)))
}

fn statuses(text: &str) -> Result<BTreeSet<Status>, String> {
    let word = |word: &str| match word {
        "queued" => Ok(Status::Queued),
        "pinning" => Ok(Status::Pinning),
        "pinned" => Ok(Status::Pinned),
        "failed" => Ok(Status::Failed),
        other => {
            Err(format!("error decoding 'status' query param: {other:?} is none of queued, pinning, pinned, failed"))
        }
    };
    text.split(',').map(word).collect()
}

fn time(name: &str, text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|e| format!("error decoding '{name}' query param: {text}: {e}"))
}

fn limit(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=LIMIT_MAX).contains(number));
    number
        .ok_or_else(|| format!("error parsing 'limit' query param: {text}: it must be a number from 1 to {LIMIT_MAX}"))
}

fn meta(text: &str) -> Result<BTreeMap<String, String>, String> {
    serde_json::from_str(text).map_err(|e| format!("error unmarshalling 'meta' query param: {text}: {e}"))
}
