//! What a request asks for: read from method, path, query and headers, with nothing looked up.

use super::answer::Refusal;
use cluster_component::content::{CarScope, Duplicates, EntityBytes};
use cluster_types::pin_query::parse_query;
use cluster_types::{Cid, IpfsPath};
use http::{HeaderMap, Method, StatusCode, header};
use percent_encoding::percent_decode_str;
use std::ops::Range;
use std::str::FromStr;

/// The form that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// Files as they are, directories as pages.
    Files,
    /// The root block.
    Raw,
    /// A CAR file; the word for the order of its blocks, and whether one stands there twice.
    Car(CarScope, &'static str, Duplicates),
    /// The data of a codec: its word.
    Data(&'static str),
    /// A form that is known elsewhere and not here.
    NotHere(&'static str),
    /// A record of a name.
    NameRecord,
}

/// A range as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// From here to there, both included; `None`: to the end.
    From(u64, Option<u64>),
    /// So many bytes at the end.
    Last(u64),
}

impl Wanted {
    /// The bytes of something of this size; `None` when there are none.
    pub(super) fn of(self, size: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From(from, to) => from..to.map_or(size, |to| to.saturating_add(1).min(size)),
            Self::Last(count) => size.saturating_sub(count)..size,
        };
        (range.start < range.end).then_some(range)
    }
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    /// The path as it came, decoded.
    pub(super) path: String,
    /// The path as it came.
    pub(super) raw_path: String,
    /// With its question mark, if there is one.
    pub(super) query: String,
    pub(super) root: Cid,
    /// Names below the root, separated by slashes.
    pub(super) names: String,
    pub(super) form: Form,
    /// The query that would ask for the same form as the header does.
    pub(super) location: Option<String>,
    pub(super) range: Option<Wanted>,
    pub(super) if_range: Option<String>,
    pub(super) if_none_match: Option<String>,
    pub(super) only_if_cached: bool,
    pub(super) filename: Option<String>,
    pub(super) download: bool,
}

/// What is to be done with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reading {
    /// It is answered with content.
    Ask(Box<Ask>),
    /// The client should ask elsewhere.
    Elsewhere(String),
    /// There is nothing to say.
    Preflight,
}

fn bad(text: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, text)
}

/// Reads a request.
pub(super) fn read(method: &Method, raw_path: &str, query: &str, headers: &HeaderMap) -> Result<Reading, Refusal> {
    let content = raw_path.starts_with("/ipfs/") || raw_path.starts_with("/ipns/");
    if !content {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "404 page not found"));
    }
    match *method {
        Method::GET | Method::HEAD => {}
        Method::OPTIONS => return Ok(Reading::Preflight),
        _ => {
            let text = format!("Method {method} not allowed: read only access");
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, text));
        }
    }
    let pairs = parse_query(query);
    let get = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    if let Some(elsewhere) = elsewhere(raw_path, get("uri").as_deref()) {
        return Ok(Reading::Elsewhere(elsewhere));
    }
    if text(headers, "service-worker").is_some_and(|value| value == "script") {
        return Err(bad("navigator.serviceWorker: registration is not allowed for this scope"));
    }
    let path = percent_decode_str(raw_path).decode_utf8().map_err(|_| bad("the path is no UTF-8"))?.into_owned();
    let parsed = IpfsPath::from_str(&path).map_err(|e| bad(e.to_string()))?;
    let Some(root) = parsed.root() else {
        let text = format!("failed to resolve {path}: this gateway serves /ipfs/ paths only");
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, text));
    };
    let (form, location) = form(&pairs, headers).map_err(|refusal| refusal.of(&path))?;
    if form == Form::NameRecord {
        return Err(bad(format!("{path} is not an IPNS link")).of(&path));
    }
    let range = range(headers).map_err(|refusal| refusal.of(&path))?;
    Ok(Reading::Ask(Box::new(Ask {
        names: parsed.segments().skip(2).collect::<Vec<_>>().join("/"),
        root,
        raw_path: raw_path.to_owned(),
        query: if query.is_empty() { String::new() } else { format!("?{query}") },
        location: location.map(|with| format!("{raw_path}?{with}")),
        form,
        range,
        if_range: text(headers, "if-range").map(str::to_owned),
        if_none_match: text(headers, "if-none-match").map(str::to_owned),
        only_if_cached: text(headers, "cache-control").is_some_and(|value| value.contains("only-if-cached")),
        filename: get("filename").filter(|name| !name.is_empty()),
        download: get("download").is_some_and(|value| value == "true"),
        path,
    })))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Paths that are written twice or as addresses.
fn elsewhere(path: &str, uri: Option<&str>) -> Option<String> {
    if let Some(rest) = path.strip_prefix("/ipfs/ipfs/").or_else(|| path.strip_prefix("/ipfs/ipns/")) {
        return Some(format!("{}{rest}", &path[5..11]));
    }
    let (scheme, rest) = uri?.split_once("://")?;
    matches!(scheme, "ipfs" | "ipns").then(|| format!("/{scheme}/{rest}"))
}

/// Forms by the word of the query and by the type of the header.
const FORMS: &[(&str, &str)] = &[
    ("raw", "application/vnd.ipld.raw"),
    ("car", "application/vnd.ipld.car"),
    ("tar", "application/x-tar"),
    ("dag-json", "application/vnd.ipld.dag-json"),
    ("dag-cbor", "application/vnd.ipld.dag-cbor"),
    ("json", "application/json"),
    ("cbor", "application/cbor"),
    ("ipns-record", "application/vnd.ipfs.ipns-record"),
];

/// Which form is wanted, and when a header tells, the query that tells the same. A query goes before a header.
fn form(pairs: &[(String, String)], headers: &HeaderMap) -> Result<(Form, Option<String>), Refusal> {
    let get = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let asked = get("format").and_then(|word| FORMS.iter().find(|(known, _)| *known == word));
    if let Some((word, _)) = asked {
        // A query goes before a header here, too.
        let of_header = accepted(headers).find(|(known, _)| *known == "car").map(|(_, parameters)| parameters);
        let parameter = |name: &str| match get(&format!("car-{name}")) {
            Some(value) => Some(value.to_owned()),
            None => of_header.as_deref().and_then(|parameters| parameter_of(parameters, name)),
        };
        return Ok((form_of(word, &parameter, get("dag-scope"), get("entity-bytes"))?, None));
    }
    if let Some((word, parameters)) = accepted(headers).next() {
        let parameter = |name: &str| parameter_of(&parameters, name);
        let mut location: Vec<String> = if word == "car" {
            parameters
                .iter()
                .filter(|(key, _)| matches!(*key, "version" | "order" | "dups"))
                .map(|(key, value)| format!("car-{key}={value}"))
                .collect()
        } else {
            Vec::new()
        };
        location.push(format!("format={word}"));
        location.sort();
        let location = location.join("&");
        let form = form_of(word, &parameter, get("dag-scope"), get("entity-bytes"));
        return Ok((form.map_err(|refusal| refusal.located(&location))?, Some(location)));
    }
    Ok((Form::Files, None))
}

/// Forms that the header names, in its order, each with its parameters.
fn accepted(headers: &HeaderMap) -> impl Iterator<Item = (&'static str, Vec<(&str, &str)>)> {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|kind| {
        let mut parts = kind.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let (word, _) = FORMS.iter().find(|(_, known)| *known == media)?;
        Some((*word, parts.filter_map(|part| part.split_once('=')).collect()))
    })
}

fn parameter_of(parameters: &[(&str, &str)], name: &str) -> Option<String> {
    parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
}

fn form_of(
    word: &str,
    parameter: &dyn Fn(&str) -> Option<String>,
    scope: Option<&str>,
    bytes: Option<&str>,
) -> Result<Form, Refusal> {
    Ok(match word {
        "raw" => Form::Raw,
        "car" => {
            if parameter("version").is_some_and(|version| version != "1") {
                return Err(bad("unsupported application/vnd.ipld.car version: only version=1 is supported"));
            }
            let order = if parameter("order").as_deref() == Some("unk") { "unk" } else { "dfs" };
            let sent = parameter("dups").as_deref() == Some("y");
            let duplicates = if sent { Duplicates::Sent } else { Duplicates::LeftOut };
            Form::Car(car_scope(scope, bytes)?, order, duplicates)
        }
        "dag-json" => Form::Data("dag-json"),
        "dag-cbor" => Form::Data("dag-cbor"),
        "json" => Form::Data("json"),
        "cbor" => Form::Data("cbor"),
        "tar" => Form::NotHere("application/x-tar"),
        _ => Form::NameRecord,
    })
}

fn car_scope(scope: Option<&str>, bytes: Option<&str>) -> Result<CarScope, Refusal> {
    match scope {
        // A range means the file.
        None | Some("") if bytes.is_some() => Ok(CarScope::Entity(bytes.map(entity_bytes).transpose()?)),
        None | Some("" | "all") => Ok(CarScope::All),
        Some("block") => Ok(CarScope::Block),
        Some("entity") => Ok(CarScope::Entity(bytes.map(entity_bytes).transpose()?)),
        Some(_) => Err(bad("unsupported application/vnd.ipld.car scope parameter")),
    }
}

/// `from:to`, both included, from the end if they are below zero; `*` is the end.
fn entity_bytes(text: &str) -> Result<EntityBytes, Refusal> {
    let read = || {
        let (from, to) = text.split_once(':')?;
        let to = if to == "*" { None } else { Some(to.parse().ok()?) };
        let bytes = EntityBytes { from: from.parse().ok()?, to };
        // Where both are counted from the same end, it is seen already.
        let backwards = bytes.to.is_some_and(|to| (bytes.from < 0) == (to < 0) && to < bytes.from);
        (!backwards).then_some(bytes)
    };
    read().ok_or_else(|| bad("unsupported entity-bytes parameter: give from:to or from:*, with -N for N from the end"))
}

/// The first range that is asked for.
fn range(headers: &HeaderMap) -> Result<Option<Wanted>, Refusal> {
    let Some(value) = text(headers, "range") else { return Ok(None) };
    let read = || {
        let first = value.strip_prefix("bytes=")?.split(',').next()?.trim();
        let (from, to) = first.split_once('-')?;
        Some(match (from.trim(), to.trim()) {
            ("", count) => Wanted::Last(count.parse().ok()?),
            (from, "") => Wanted::From(from.parse().ok()?, None),
            (from, to) => {
                let (from, to) = (from.parse().ok()?, to.parse().ok()?);
                if to < from {
                    return None;
                }
                Wanted::From(from, Some(to))
            }
        })
    };
    read().map(Some).ok_or_else(|| bad("invalid range request: invalid range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_what_is_there() {
        assert_eq!(Wanted::From(0, Some(4)).of(10), Some(0..5));
        assert_eq!(Wanted::From(9, Some(u64::MAX)).of(10), Some(9..10));
        assert_eq!(Wanted::From(10, None).of(10), None);
        assert_eq!(
            (Wanted::Last(3).of(10), Wanted::Last(30).of(10), Wanted::Last(0).of(10)),
            (Some(7..10), Some(0..10), None)
        );
    }
}
