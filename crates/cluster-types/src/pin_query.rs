//! Pin options and parameters of an add in a query string, both ways: names, order of checks and texts of errors as
//! the reference.

use crate::{
    AddBeyond, AddFormat, AddLayout, AddParams, Cid, GoDuration, Multiaddr, PeerId, PinMode, PinOptions, Timestamp,
};
use multiaddr::Protocol;
use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

/// A parameter that cannot be read. The text is what the reference answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct QueryError(pub String);

/// Decodes a query. Pairs with a broken escape or a semicolon are dropped, as Go does.
#[must_use]
pub fn parse_query(query: &str) -> Vec<(String, String)> {
    let pair = |text: &str| {
        if text.is_empty() || text.contains(';') {
            return None;
        }
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        Some((unescape(name)?, unescape(value)?))
    };
    query.split('&').filter_map(pair).collect()
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                high << 4 | low
            }
            byte => byte,
        });
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            byte => {
                let _cannot_fail = write!(out, "%{byte:02X}"); // Writing to memory.
            }
        }
    }
    out
}

struct Query<'a>(&'a [(String, String)]);

impl<'a> Query<'a> {
    /// The first value of a name; empty if there is none.
    fn text(&self, name: &str) -> &'a str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// A value read by its own rules; `None` if it is empty.
    fn read<T: std::str::FromStr>(&self, name: &str, error: impl Fn() -> String) -> Result<Option<T>, QueryError> {
        match self.text(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| QueryError(error())),
        }
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, QueryError> {
        self.read(name, || format!("parameter {name} invalid"))
    }

    fn boolean(&self, name: &str, default: bool) -> Result<bool, QueryError> {
        match self.text(name) {
            "" => Ok(default),
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
            _ => Err(QueryError(format!("parameter {name} invalid"))),
        }
    }
}

/// Reads pin options. `now` is what `expire-in` counts from.
///
/// # Errors
/// The first parameter, in the reference's order, that cannot be read.
pub fn options_from_query(pairs: &[(String, String)], now: Timestamp) -> Result<PinOptions, QueryError> {
    let query = Query(pairs);
    let (min, max) = match query.number("replication")? {
        Some(both) => (both, both),
        None => (query.number("replication-min")?.unwrap_or(0), query.number("replication-max")?.unwrap_or(0)),
    };
    Ok(PinOptions {
        replication_factor_min: min,
        replication_factor_max: max,
        name: query.text("name").to_owned(),
        // As the reference: a mode that is none means the whole DAG.
        mode: if query.text("mode") == "direct" { PinMode::Direct } else { PinMode::Recursive },
        shard_size: query.read("shard-size", || "parameter shard_size is invalid".into())?.unwrap_or(0),
        user_allocations: user_allocations(query.text("user-allocations")),
        expire_at: expire_at(&query, now)?,
        metadata: Some(metadata(pairs)),
        pin_update: pin_update(query.text("pin-update"))?,
        origins: origins(query.text("origins"))?,
    })
}

/// Peers that cannot be read are left out, as the reference does.
fn user_allocations(text: &str) -> Option<Vec<PeerId>> {
    (!text.is_empty()).then(|| text.split(',').filter_map(|id| crate::peer_id::parse(id).ok()).collect())
}

/// The shortest time that a pin can be asked for.
const EXPIRE_IN_MIN: GoDuration = GoDuration::from_secs(1);

fn expire_at(query: &Query<'_>, now: Timestamp) -> Result<Timestamp, QueryError> {
    let (at, span) = (query.text("expire-at"), query.text("expire-in"));
    if !at.is_empty() {
        return at.parse().map_err(|e| QueryError(format!("expire-at cannot be parsed: {e}")));
    }
    if span.is_empty() {
        return Ok(Timestamp::ZERO);
    }
    let span: GoDuration = span.parse().map_err(|e| QueryError(format!("expire-in cannot be parsed: {e}")))?;
    if span < EXPIRE_IN_MIN {
        return Err(QueryError("expire-in duration too short".into()));
    }
    Ok(now.saturating_add(span.get()))
}

fn metadata(pairs: &[(String, String)]) -> BTreeMap<String, String> {
    let mut map = BTreeMap::new();
    for (name, value) in pairs {
        if let Some(key) = name.strip_prefix("meta-").filter(|key| !key.is_empty()) {
            map.entry(key.to_owned()).or_insert_with(|| value.clone());
        }
    }
    map
}

fn pin_update(text: &str) -> Result<Option<Cid>, QueryError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|e| QueryError(format!("error decoding update option parameter: {e}")))
}

fn origins(text: &str) -> Result<Option<Vec<Multiaddr>>, QueryError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.split(',').map(origin).collect::<Result<_, _>>().map(Some)
}

fn origin(text: &str) -> Result<Multiaddr, QueryError> {
    let address = crate::address::parse(text).map_err(|e| QueryError(format!("error decoding multiaddress: {e}")))?;
    if !address.iter().any(|part| matches!(part, Protocol::P2p(_))) {
        return Err(QueryError("multiaddress does not contain peer ID: protocol not found in multiaddr".into()));
    }
    Ok(address)
}

/// Reads the parameters of an add, pin options among them. `pin-update` is read and then left out, as the reference.
///
/// # Errors
/// The first parameter that cannot be read.
pub fn add_params_from_query(pairs: &[(String, String)], now: Timestamp) -> Result<AddParams, QueryError> {
    let query = Query(pairs);
    let layout = match query.text("layout") {
        "" | "balanced" => AddLayout::Balanced,
        "trickle" => AddLayout::Trickle,
        _ => return Err(QueryError("layout parameter is invalid".into())),
    };
    let format = match query.text("format") {
        "" | "unixfs" => AddFormat::Unixfs,
        "car" => AddFormat::Car,
        _ => return Err(QueryError("format parameter is invalid".into())),
    };
    let raw_leaves = match query.text("raw-leaves") {
        "" => None,
        _ => Some(query.boolean("raw-leaves", false)?),
    };
    // Of no effect at the server; but what is no boolean is refused.
    query.boolean("recursive", false)?;
    let pin = PinOptions { pin_update: None, ..options_from_query(pairs, now)? };
    Ok(AddParams {
        pin,
        local: query.boolean("local", false)?,
        layout,
        chunker: query.text("chunker").to_owned(),
        raw_leaves,
        hidden: query.boolean("hidden", false)?,
        wrap: query.boolean("wrap-with-directory", false)?,
        shard: query.boolean("shard", false)?,
        progress: query.boolean("progress", false)?,
        cid_version: query.number("cid-version")?.unwrap_or(0),
        hash: query.text("hash").to_owned(),
        stream_channels: query.boolean("stream-channels", true)?,
        nocopy: query.boolean("nocopy", false)?,
        no_pin: query.boolean("no-pin", false)?,
        format,
        beyond: beyond(&query)?,
    })
}

/// Bytes of a block that goes into its CID, if only `inline` is said. As Kubo.
const INLINE: usize = 32;

/// What Kubo's `add` takes besides, with its names and its words.
fn beyond(query: &Query<'_>) -> Result<AddBeyond, QueryError> {
    let limit = query.number("inline-limit")?.unwrap_or(INLINE);
    let positive = |number: Option<usize>| number.filter(|number| *number > 0);
    let nanos: u32 = query.number("mtime-nsecs")?.unwrap_or(0);
    let seconds = query.number("mtime")?.filter(|seconds: &i64| *seconds != 0);
    if seconds.is_none() && nanos != 0 {
        let text = "option \"mtime-nsecs\" requires \"mtime\" to be provided as well";
        return Err(QueryError(text.into()));
    }
    if nanos >= 1_000_000_000 {
        return Err(QueryError("parameter mtime-nsecs invalid".into()));
    }
    Ok(AddBeyond {
        inline: query.boolean("inline", false)?.then_some(limit),
        file_links_max: positive(query.number("max-file-links")?),
        directory_links_max: positive(query.number("max-directory-links")?),
        hamt_fanout: query.number("max-hamt-fanout")?.filter(|fanout| *fanout > 0),
        mode: mode(query.text("mode"))?,
        mtime: seconds.map(|seconds| (seconds, nanos)),
        preserve_mode: query.boolean("preserve-mode", false)?,
        preserve_mtime: query.boolean("preserve-mtime", false)?,
    })
}

/// A file's mode as Kubo's clients write it: decimal, or with a zero in front octal. Of a pin's modes it is none.
fn mode(text: &str) -> Result<Option<u32>, QueryError> {
    let read = match text {
        "" | "0" => return Ok(None),
        octal if octal.starts_with('0') => u32::from_str_radix(octal, 8),
        decimal if decimal.starts_with(|first: char| first.is_ascii_digit()) => decimal.parse(),
        _ => return Ok(None),
    };
    read.map(Some).map_err(|_| QueryError("parameter mode invalid".into()))
}

/// Pin options as the reference's client sends them: sorted, the usual ones always there.
#[must_use]
pub fn options_to_query(options: &PinOptions) -> String {
    encode(option_pairs(options))
}

fn option_pairs(options: &PinOptions) -> BTreeMap<String, String> {
    let mode = if options.mode == PinMode::Direct { "direct" } else { "recursive" };
    let mut pairs = BTreeMap::from([
        ("mode".to_owned(), mode.to_owned()),
        ("name".to_owned(), options.name.clone()),
        ("replication-max".to_owned(), options.replication_factor_max.to_string()),
        ("replication-min".to_owned(), options.replication_factor_min.to_string()),
        ("shard-size".to_owned(), options.shard_size.to_string()),
        ("user-allocations".to_owned(), joined(options.user_allocations.iter().flatten())),
    ]);
    if !options.expire_at.is_zero() {
        pairs.insert("expire-at".to_owned(), options.expire_at.to_string());
    }
    for (key, value) in options.metadata.iter().flatten() {
        pairs.insert(format!("meta-{key}"), value.clone());
    }
    if let Some(update) = &options.pin_update {
        pairs.insert("pin-update".to_owned(), update.to_string());
    }
    if let Some(origins) = options.origins.as_ref().filter(|origins| !origins.is_empty()) {
        pairs.insert("origins".to_owned(), joined(origins.iter()));
    }
    pairs
}

fn joined<T: Display>(items: impl Iterator<Item = T>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}

/// Parameters of an add as the reference's client sends them.
#[must_use]
pub fn add_params_to_query(params: &AddParams) -> String {
    let mut pairs = option_pairs(&params.pin);
    let mut set = |name: &str, value: String| pairs.insert(name.to_owned(), value);
    let or = |text: &str, default: &str| if text.is_empty() { default.to_owned() } else { text.to_owned() };
    set("chunker", or(&params.chunker, "size-262144"));
    set("cid-version", params.cid_version.to_string());
    set("format", if params.format == AddFormat::Car { "car" } else { "unixfs" }.to_owned());
    set("hash", or(&params.hash, "sha2-256"));
    set("layout", if params.layout == AddLayout::Trickle { "trickle" } else { "" }.to_owned());
    set("raw-leaves", params.raw_leaves.unwrap_or(params.cid_version > 0).to_string());
    set("recursive", "false".to_owned());
    for (name, value) in [
        ("hidden", params.hidden),
        ("local", params.local),
        ("no-pin", params.no_pin),
        ("nocopy", params.nocopy),
        ("progress", params.progress),
        ("shard", params.shard),
        ("stream-channels", params.stream_channels),
        ("wrap-with-directory", params.wrap),
    ] {
        set(name, value.to_string());
    }
    for (name, value) in beyond_pairs(&params.beyond) {
        set(name, value);
    }
    encode(pairs)
}

/// Only what is asked for: the reference does not know them.
fn beyond_pairs(beyond: &AddBeyond) -> Vec<(&'static str, String)> {
    let mut pairs = Vec::new();
    if let Some(limit) = beyond.inline {
        pairs.extend([("inline", "true".to_owned()), ("inline-limit", limit.to_string())]);
    }
    if let Some((seconds, nanos)) = beyond.mtime {
        pairs.extend([("mtime", seconds.to_string()), ("mtime-nsecs", nanos.to_string())]);
    }
    let numbers = [
        ("max-file-links", beyond.file_links_max.map(|number| number.to_string())),
        ("max-directory-links", beyond.directory_links_max.map(|number| number.to_string())),
        ("max-hamt-fanout", beyond.hamt_fanout.map(|number| number.to_string())),
        ("mode", beyond.mode.map(|mode| format!("0{mode:o}"))),
        ("preserve-mode", beyond.preserve_mode.then(|| "true".to_owned())),
        ("preserve-mtime", beyond.preserve_mtime.then(|| "true".to_owned())),
    ];
    pairs.extend(numbers.into_iter().filter_map(|(name, value)| Some((name, value?))));
    pairs
}

fn encode(pairs: BTreeMap<String, String>) -> String {
    let pair = |(name, value): (String, String)| format!("{}={}", escape(&name), escape(&value));
    pairs.into_iter().map(pair).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: i64 = 1_795_337_668;

    fn read(query: &str) -> Result<PinOptions, String> {
        options_from_query(&parse_query(query), Timestamp::from_unix(NOW, 0)).map_err(|e| e.0)
    }

    #[test]
    fn errors_are_those_of_the_reference() {
        let expected = [
            ("replication-min=abc", "parameter replication-min invalid"),
            ("replication=x&replication-min=abc", "parameter replication invalid"),
            ("shard-size=-1", "parameter shard_size is invalid"),
            ("expire-in=zz", "expire-in cannot be parsed: time: invalid duration \"zz\""),
            ("expire-in=10ms", "expire-in duration too short"),
            (
                "expire-at=bad",
                "expire-at cannot be parsed: parsing time \"bad\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"bad\" \
                 as \"2006\"",
            ),
            ("origins=zz", "error decoding multiaddress: failed to parse multiaddr \"zz\": must begin with /"),
            ("origins=/ip4/1.2.3.4/tcp/1", "multiaddress does not contain peer ID: protocol not found in multiaddr"),
        ];
        for (query, text) in expected {
            assert_eq!(read(query), Err(text.to_owned()), "{query}");
        }
    }

    #[test]
    fn silent_rules_are_those_of_the_reference() {
        let options = read("mode=loud&user-allocations=bad,worse&meta-=x&meta-a=1&meta-a=2&replication=3&a=%zz&b;c=1");
        let options = options.expect("read");
        assert_eq!(options.mode, PinMode::Recursive);
        assert_eq!(options.user_allocations, Some(Vec::new()));
        assert_eq!(options.metadata, Some(BTreeMap::from([("a".into(), "1".into())])));
        assert_eq!((options.replication_factor_min, options.replication_factor_max), (3, 3));
    }

    #[test]
    fn a_span_counts_from_now() {
        assert_eq!(read("expire-in=1h").expect("read").expire_at, Timestamp::from_unix(NOW + 3600, 0));
    }

    #[test]
    fn a_client_sends_what_the_reference_sends() {
        assert_eq!(
            options_to_query(&PinOptions::default()),
            "mode=recursive&name=&replication-max=0&replication-min=0&shard-size=0&user-allocations="
        );
    }

    #[test]
    fn parameters_of_an_add_survive_the_way() {
        let params = AddParams {
            chunker: "size-1024".into(),
            hash: "sha2-256".into(),
            wrap: true,
            raw_leaves: Some(true),
            cid_version: 1,
            ..AddParams::default()
        };
        let read = add_params_from_query(&parse_query(&add_params_to_query(&params)), Timestamp::ZERO).expect("read");
        assert_eq!(AddParams { pin: PinOptions { metadata: None, ..read.pin.clone() }, ..read }, params);
        assert!(add_params_from_query(&parse_query("layout=x"), Timestamp::ZERO).is_err());
        assert!(add_params_from_query(&parse_query("local=maybe"), Timestamp::ZERO).is_err());
    }

    proptest! {
        #[test]
        fn any_text_survives_the_way(name in ".{0,20}", key in "[a-z]{1,5}", value in ".{0,20}") {
            let options = PinOptions { name, metadata: Some(BTreeMap::from([(key, value)])), ..PinOptions::default() };
            prop_assert_eq!(read(&options_to_query(&options)), Ok(options));
        }

        #[test]
        fn garbage_is_read_or_refused_without_a_panic(query in ".{0,60}") {
            let _either = read(&query);
        }
    }

    /// Kubo's clients write what the reference does not know; a pin's `mode` has the same name.
    #[test]
    fn what_kubo_s_clients_ask_for_is_read_and_written() {
        let read = |query: &str| {
            add_params_from_query(&parse_query(query), Timestamp::from_unix(NOW, 0)).map(|params| params.beyond)
        };
        assert_eq!(read("inline-limit=32&mode=recursive&preserve-mode=false"), Ok(AddBeyond::default()));
        let beyond = AddBeyond {
            inline: Some(40),
            file_links_max: Some(10),
            directory_links_max: Some(20),
            hamt_fanout: Some(16),
            mode: Some(0o644),
            mtime: Some((-5, 7)),
            preserve_mode: true,
            preserve_mtime: true,
        };
        let written = add_params_to_query(&AddParams { beyond, ..AddParams::default() });
        assert_eq!(read(&written), Ok(beyond), "{written}");
        assert_eq!(read("mode=420").map(|beyond| beyond.mode), Ok(Some(0o644)));
        for wrong in
            ["mode=08", "mtime=x", "mtime-nsecs=5", "mtime=1&mtime-nsecs=1000000000", "inline-limit=-1", "inline=2"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
