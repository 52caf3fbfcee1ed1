//! The description of the API by which programs find their way: OpenAPI 3.1, made from the table of routes.
//!
//! Every route must have a row here, which a test sees to; `docs/openapi.json` is this text.

use super::route::{self, Route};
use serde_json::{Map, Value, json};

/// What a route takes and gives.
struct Row {
    summary: &'static str,
    /// Parameters of the query, by their names in [`parameter`].
    query: &'static [&'static str],
    answer: Answer,
}

/// What a request is answered with.
enum Answer {
    /// One object of this schema.
    One(&'static str),
    /// An array of these.
    Array(&'static str),
    /// A line for each; 204 when there is none.
    Lines(&'static str),
    /// 204.
    Nothing,
}

/// Options of a pin, as parameters.
const OPTIONS: &[&str] = &[
    "name",
    "mode",
    "replication",
    "replication-min",
    "replication-max",
    "shard-size",
    "user-allocations",
    "expire-at",
    "expire-in",
    "pin-update",
    "origins",
];

/// What adds take besides.
const ADD: &[&str] = &[
    "name",
    "replication",
    "replication-min",
    "replication-max",
    "user-allocations",
    "expire-at",
    "expire-in",
    "origins",
    "layout",
    "chunker",
    "hash",
    "format",
    "cid-version",
    "raw-leaves",
    "local",
    "wrap-with-directory",
    "progress",
    "stream-channels",
    "no-pin",
    "inline",
    "inline-limit",
    "max-file-links",
    "max-directory-links",
    "max-hamt-fanout",
    "preserve-mode",
    "preserve-mtime",
    "mtime",
    "mtime-nsecs",
];

fn row(route: Route) -> Row {
    use Answer::{Array, Lines, Nothing, One};
    let (summary, query, answer): (_, &'static [&'static str], _) = match route {
        Route::Id => ("Who this peer is", &[], One("ID")),
        Route::Version => ("The version of this peer", &[], One("Version")),
        Route::Peers => ("What every member says of itself", &[], Lines("ID")),
        Route::PeerAdd => ("Takes in a peer", &[], One("ID")),
        Route::PeerRemove => ("Puts out a peer", &[], Nothing),
        Route::Add => ("Adds files, and pins them", ADD, Lines("AddedOutput")),
        Route::Allocations => ("The pinset", &["filter"], Lines("Pin")),
        Route::Allocation => ("One pin", &[], One("Pin")),
        Route::StatusAll => ("How all items stand", &["local", "filter", "cids"], Lines("GlobalPinInfo")),
        Route::Recover => ("Tries one item again", &["local"], One("GlobalPinInfo")),
        Route::RecoverAll => ("Tries everything again that failed", &["local"], Lines("GlobalPinInfo")),
        Route::Status => ("How one item stands", &["local"], One("GlobalPinInfo")),
        Route::Pin => ("Pins a CID", OPTIONS, One("Pin")),
        Route::PinPath => ("Pins what a path leads to", OPTIONS, One("Pin")),
        Route::Unpin => ("Unpins a CID", &[], One("Pin")),
        Route::UnpinPath => ("Unpins what a path leads to", &[], One("Pin")),
        Route::RepoGc => ("Collects garbage of the IPFS daemons", &["local"], One("GlobalRepoGC")),
        Route::Graph => ("Who is connected to whom", &[], One("ConnectGraph")),
        Route::Alerts => ("What was noticed of failing peers, newest first", &[], Array("Alert")),
        Route::Bandwidth => ("Traffic by protocol", &[], One("BandwidthByProtocol")),
        Route::Metrics => ("The latest metrics of a name, of every peer", &[], Array("Metric")),
        Route::MetricNames => ("Names of metrics", &[], Array("MetricName")),
        Route::Token => ("A token for who asks", &[], One("Token")),
        Route::Health => ("Whether this peer is alive; needs no credentials", &[], Nothing),
        Route::Explain => ("How one item stands, why, and what to do", &[], One("Explanation")),
        Route::StateDigest => ("What stands for this peer's whole pinset", &[], One("StateDigest")),
        Route::OpenApi => ("This description", &[], One("OpenAPI")),
    };
    Row { summary, query, answer }
}

/// A parameter of the query.
fn parameter(name: &str) -> Value {
    let (schema, description) = match name {
        "local" => (json!({"type": "boolean"}), "Only this peer"),
        "filter" => (json!({"type": "string"}), "Types of pins or states, separated by commas"),
        "cids" => (json!({"type": "string"}), "CIDs separated by commas; `filter` is passed over then"),
        "mode" => (json!({"type": "string", "enum": ["recursive", "direct"]}), "How deep"),
        "replication" => (json!({"type": "integer"}), "Both replication factors"),
        "replication-min" => (json!({"type": "integer"}), "Fewest peers; -1: all of them; 0: the default"),
        "replication-max" => (json!({"type": "integer"}), "Most peers; -1: all of them; 0: the default"),
        "shard-size" => (json!({"type": "integer", "minimum": 0}), "Bytes of a shard"),
        "user-allocations" => (json!({"type": "string"}), "Peers to prefer, separated by commas"),
        "expire-at" => (json!({"type": "string", "format": "date-time"}), "When the pin ends"),
        "expire-in" => (json!({"type": "string"}), "After how long the pin ends, such as `48h`"),
        "pin-update" => (json!({"type": "string"}), "The pin whose options are taken"),
        "origins" => (json!({"type": "string"}), "Who has the content: multiaddrs separated by commas"),
        "layout" => (json!({"type": "string", "enum": ["balanced", "trickle"]}), "The form of the DAG"),
        "chunker" => (json!({"type": "string"}), "How files are cut, such as `size-262144`"),
        "hash" => (json!({"type": "string"}), "The hash function"),
        "format" => (json!({"type": "string", "enum": ["unixfs", "car"]}), "What is sent"),
        "cid-version" => (json!({"type": "integer", "enum": [0, 1]}), "The version of CIDs"),
        "raw-leaves" => (json!({"type": "boolean"}), "Leaves without a frame"),
        "wrap-with-directory" => (json!({"type": "boolean"}), "A directory around everything"),
        "progress" => (json!({"type": "boolean"}), "Lines that tell how far it is"),
        "stream-channels" => (json!({"type": "boolean", "default": true}), "Lines while it goes on, or one array"),
        "no-pin" => (json!({"type": "boolean"}), "Only add"),
        "inline" => (json!({"type": "boolean"}), "Small blocks go into their CIDs"),
        "inline-limit" => (
            json!({"type": "integer", "minimum": 0, "maximum": 64}),
            "Most bytes of such a block; 32 if nothing is said",
        ),
        "max-file-links" => (
            json!({"type": "integer", "minimum": 2, "maximum": 8192}),
            "Links of a node of a file; 174 if nothing is said",
        ),
        "max-directory-links" => {
            (json!({"type": "integer", "minimum": 0}), "Entries above which a directory is cut into shards")
        }
        "max-hamt-fanout" => (
            json!({"type": "integer", "enum": [8, 16, 32, 64, 128, 256, 512, 1024]}),
            "Links of a node of such a directory",
        ),
        "preserve-mode" => (json!({"type": "boolean"}), "The modes that come with entries are kept"),
        "preserve-mtime" => (json!({"type": "boolean"}), "The modification times that come with entries are kept"),
        "mtime" => (json!({"type": "integer"}), "The modification time of all entries: seconds since 1970"),
        "mtime-nsecs" => (json!({"type": "integer", "minimum": 0, "maximum": 999999999}), "Nanoseconds behind them"),
        _ => (json!({"type": "string"}), "The name of the pin"),
    };
    json!({"name": name, "in": "query", "required": false, "schema": schema, "description": description})
}

/// The whole description.
pub(super) fn document() -> Value {
    let mut paths = Map::new();
    for (method, path, route) in route::all() {
        let entry = paths.entry(path.clone()).or_insert_with(|| json!({}));
        entry[method.as_str().to_ascii_lowercase()] = operation(route, &path);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "IPFS Cluster",
            "version": "1.1.6",
            "description": "The REST API of a cluster's peer. Lists are JSON lines; an error after the first line is \
                            told in the trailer `X-Stream-Error` to clients that say `TE: trailers`, and cuts the body \
                            for others.",
        },
        "security": [{}, {"basic": []}, {"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            },
            "schemas": schemas(),
        },
    })
}

fn operation(route: Route, path: &str) -> Value {
    let row = row(route);
    let mut parameters: Vec<Value> = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    parameters.extend(row.query.iter().map(|name| parameter(name)));
    let schema = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    let content = |kind: &str, schema: Value| json!({kind: {"schema": schema}});
    let mut answers = Map::new();
    let mut good = |status: &str, description: &str, content: Option<Value>| {
        let mut answer = json!({"description": description});
        if let Some(content) = content {
            answer["content"] = content;
        }
        answers.insert(status.to_owned(), answer);
    };
    match row.answer {
        Answer::One(name) => good("200", name, Some(content("application/json", schema(name)))),
        Answer::Array(name) => {
            let list = json!({"type": "array", "items": schema(name)});
            good("200", &format!("A list of {name}"), Some(content("application/json", list)));
        }
        Answer::Lines(name) => {
            good("200", &format!("A line of {name} each"), Some(content("application/json", schema(name))));
            good("204", "There is none", None);
        }
        Answer::Nothing => good("204", "Done", None),
    }
    answers.insert(
        "default".into(),
        json!({"description": "Why not", "content": content("application/json", schema("Error"))}),
    );
    let mut operation = json!({
        "operationId": route::name_of(route), "summary": row.summary, "parameters": parameters, "responses": answers,
    });
    match route {
        Route::Add => {
            let form = json!({"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}});
            operation["requestBody"] = json!({"required": true, "content": content("multipart/form-data", form)});
        }
        Route::PeerAdd => {
            let body =
                json!({"type": "object", "required": ["peer_id"], "properties": {"peer_id": {"type": "string"}}});
            operation["requestBody"] = json!({"required": true, "content": content("application/json", body)});
        }
        _ => {}
    }
    operation
}

/// Schemas name the fields that are always there; others may follow.
fn schemas() -> Value {
    let text = || json!({"type": "string"});
    let maybe_texts = || json!({"type": ["array", "null"], "items": {"type": "string"}});
    let map = |values: Value| json!({"type": ["object", "null"], "additionalProperties": values});
    let state = json!({"type": "object", "properties": {
        "peername": text(), "ipfs_peer_id": text(), "ipfs_peer_addresses": maybe_texts(), "status": text(),
        "timestamp": {"type": "string", "format": "date-time"}, "error": text(), "attempt_count": {"type": "integer"},
        "priority_pin": {"type": "boolean"},
    }});
    let metric = json!({
        "name": text(), "peer": text(), "value": text(), "expire": {"type": "integer"}, "valid": {"type": "boolean"},
        "weight": {"type": "integer"}, "partitionable": {"type": "boolean"}, "received_at": {"type": "integer"},
    });
    let mut alert = metric.clone();
    alert["triggered_at"] = json!({"type": "string", "format": "date-time"});
    let object = |properties: Value| json!({"type": "object", "properties": properties});
    json!({
        "Error": {"type": "object", "required": ["code", "message"], "properties": {
            "code": {"type": "integer"}, "message": text(),
        }},
        "Version": object(json!({"version": text()})),
        "Token": object(json!({"token": text()})),
        "Explanation": object(json!({
            "cid": text(), "name": text(), "in_pinset": {"type": "boolean"}, "wanted_min": {"type": "integer"},
            "holders": {"type": "integer"}, "summary": text(),
            "peers": {"type": "array", "items": object(json!({
                "peer": text(), "peername": text(), "should_hold": {"type": "boolean"}, "status": text(),
                "since": {"type": "string", "format": "date-time"}, "error": text(), "attempts": {"type": "integer"}, "advice": text(),
            }))},
        })),
        "StateDigest": object(json!({"pins": {"type": "integer"}, "digest": text()})),
        "MetricName": text(),
        "OpenAPI": {"type": "object"},
        "ID": object(json!({
            "id": text(), "addresses": maybe_texts(), "cluster_peers": maybe_texts(),
            "cluster_peers_addresses": maybe_texts(), "version": text(), "commit": text(),
            "rpc_protocol_version": text(), "error": text(), "peername": text(),
            "ipfs": object(json!({"id": text(), "addresses": maybe_texts(), "error": text()})),
        })),
        "Pin": object(json!({
            "replication_factor_min": {"type": "integer"}, "replication_factor_max": {"type": "integer"},
            "name": text(), "mode": {"enum": ["recursive", "direct"]}, "shard_size": {"type": "integer"},
            "user_allocations": maybe_texts(), "expire_at": {"type": "string", "format": "date-time"},
            "metadata": map(text()), "pin_update": {"type": ["string", "null"]}, "origins": maybe_texts(),
            "cid": text(), "type": {"enum": ["pin", "meta-pin", "clusterdag-pin", "shard-pin"]},
            "allocations": maybe_texts(), "max_depth": {"type": "integer"},
            "reference": {"type": ["string", "null"]}, "timestamp": {"type": "string", "format": "date-time"},
        })),
        "GlobalPinInfo": object(json!({
            "cid": text(), "name": text(), "allocations": maybe_texts(), "origins": maybe_texts(),
            "created": {"type": "string", "format": "date-time"}, "metadata": map(text()), "peer_map": map(state),
        })),
        "AddedOutput": object(json!({
            "name": text(), "cid": {"type": ["string", "null"]}, "bytes": {"type": "integer"},
            "size": {"type": "integer"}, "allocations": maybe_texts(),
        })),
        "GlobalRepoGC": object(json!({"peer_map": map(json!({"type": "object"}))})),
        "ConnectGraph": object(json!({
            "cluster_id": text(), "id_to_peername": map(text()), "ipfs_links": map(maybe_texts()),
            "cluster_links": map(maybe_texts()), "cluster_trust_links": map(json!({"type": "boolean"})),
            "cluster_to_ipfs": map(text()),
        })),
        "BandwidthByProtocol": map(json!({"type": "object"})),
        "Metric": object(metric),
        "Alert": object(alert),
    })
}

/// The text of `docs/openapi.json`.
#[must_use]
pub fn text() -> String {
    let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_current() {
        let file = include_str!("../../../../../docs/openapi.json");
        assert!(file == text(), "docs/openapi.json is stale: run `cargo xtask docs`");
    }

    #[test]
    fn every_route_is_there_and_every_reference_leads_somewhere() {
        let document = document();
        let operations: usize =
            document["paths"].as_object().expect("paths").values().filter_map(Value::as_object).map(Map::len).sum();
        assert_eq!(operations, route::all().count());

        let text = document.to_string();
        for name in text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
    }
}
