//! `block get`, `block stat`, `block put`, `dag get` and `dag put`: single blocks.

use super::{Node, Refused, arguments, as_bytes, as_lines, flag, line, resolve};
use crate::api::door::multipart;
use crate::api::ipfsproxy::service::{Answer, Asked};
use crate::server::RequestBody;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{Bytes, BytesMut};
use cluster_component::component::{Part, PartKind};
use cluster_component::ports::Block;
use cluster_component::rpc::{Cluster, IPFSConnector, Rpc, Target};
use cluster_types::{Cid, Pin, PinOptions};
use dag::hash::{HashFunction, Naming};
use dag::{DAG_PB, RAW, links, pb};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use std::sync::Arc;

/// Most bytes of a block that is put: what bitswap carries.
const BLOCK_MAX: usize = 2 << 20;

/// Codecs by the names that users know.
const CODECS: [(&str, u64); 6] = [
    ("raw", RAW),
    ("dag-pb", DAG_PB),
    ("dag-cbor", links::DAG_CBOR),
    ("dag-json", 0x0129),
    ("cbor", 0x51),
    ("json", 0x0200),
];

#[derive(Serialize)]
struct Stat {
    #[serde(rename = "Key")]
    key: Cid,
    #[serde(rename = "Size")]
    size: usize,
}

async fn block(node: &Node, asked: &Asked, name: &str) -> Result<(Cid, Bytes), Refused> {
    let path = arguments(asked, name)?.swap_remove(0);
    let cid = resolve(node, &path).await?;
    Ok((cid, node.block(&cid).await?))
}

pub(super) async fn get(node: &Node, asked: &Asked) -> Result<Answer, Refused> {
    let (_, data) = block(node, asked, "cid").await?;
    let length = data.len() as u64;
    as_bytes(asked, stream::iter([Ok(data)]).boxed(), length, "application/vnd.ipld.raw").await
}

pub(super) async fn stat(node: &Node, asked: &Asked) -> Result<Answer, Refused> {
    let (key, data) = block(node, asked, "cid").await?;
    Ok(asked.object(&Stat { key, size: data.len() }))
}

/// How blocks that are put are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Names {
    codec: u64,
    naming: Naming,
}

fn names(asked: &Asked) -> Result<Names, Refused> {
    // `format` is how it was asked for until Kubo 0.13, with names of its own.
    let codec = match (asked.value("format"), asked.value("cid-codec")) {
        ("v0" | "protobuf", _) => DAG_PB,
        ("cbor", _) => links::DAG_CBOR,
        ("", "") => RAW,
        ("", name) | (name, _) => {
            let known = CODECS.iter().find(|(known, _)| *known == name);
            known.ok_or_else(|| Refused::wrong(format!("unknown codec {name:?}")))?.1
        }
    };
    let name = asked.value("mhtype");
    let hash = HashFunction::by_name(name);
    let hash = hash.ok_or_else(|| Refused::wrong(format!("unrecognized multihash function: {name:?}")))?;
    if !matches!(asked.value("mhlen"), "" | "-1") {
        return Err(Refused::wrong("option mhlen: hashes are whole here, so that only -1 is taken"));
    }
    // As Kubo: only who asks for the old form gets the old version.
    let version_1 = asked.value("format") != "v0";
    Ok(Names { codec, naming: Naming { version_1, hash, inline: None } })
}

/// Stores the blocks of a form, and has the cluster pin them if that is asked for.
pub(super) async fn put(rpc: &Rpc, node: &Node, asked: &Asked, body: RequestBody) -> Result<Answer, Refused> {
    let boundary = multipart::boundary(&asked.parts.headers);
    let boundary = boundary.map_err(|wrong| Refused::wrong(format!("error reading request: {}", wrong.0)))?;
    let (names, pin) = (names(asked)?, flag(asked, &["pin"], false)?);
    let parts = multipart::parts(multipart::begun(body, &asked.parts.headers).await, boundary);
    let (rpc, node) = (rpc.clone(), Arc::clone(node));
    let rows = parts.map_err(|error| error.to_string()).and_then(move |part| {
        let (rpc, node) = (rpc.clone(), Arc::clone(&node));
        async move {
            let data = data_of(part).await?;
            let (cid, size) = (Cid(names.naming.cid(names.codec, &data)), data.len());
            let block = Block::verified(cid, data);
            store(&rpc, &block).await?;
            if pin {
                hold(&rpc, &node, &block).await?;
            }
            Ok(Bytes::from(line(&Stat { key: cid, size })))
        }
    });
    as_lines(asked, rows.boxed()).await
}

async fn data_of(part: Part) -> Result<Bytes, String> {
    let PartKind::File(mut pieces) = part.kind else { return Err(format!("{:?} is no file", part.path)) };
    let mut data = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        data.extend_from_slice(&piece.map_err(|error| error.to_string())?);
        if data.len() > BLOCK_MAX {
            return Err(format!("the block has more than {BLOCK_MAX} bytes: add it as a file instead"));
        }
    }
    Ok(data.freeze())
}

async fn store(rpc: &Rpc, block: &Block) -> Result<(), String> {
    let blocks = stream::iter([Ok(block.clone())]).boxed();
    rpc.upload::<IPFSConnector::BlockStream>(Target::Local, blocks).await.map_err(|error| error.message)
}

/// Has the cluster pin a block that was put, here if it goes by allocations: nobody else has it.
async fn hold(rpc: &Rpc, node: &Node, block: &Block) -> Result<(), String> {
    let options = PinOptions { user_allocations: Some(vec![rpc.me()]), ..PinOptions::default() };
    let pin = Pin::new(block.cid, options);
    rpc.call::<Cluster::Pin>(Target::Local, pin).await.map_err(|error| error.message)?;
    // From now on it is not collected. It may have been until now.
    if node.has(&block.cid).await.map_err(|error| error.to_string())? { Ok(()) } else { store(rpc, block).await }
}

/// A node of a DAG: as it is stored, or as DAG-JSON where that is known here.
pub(super) async fn dag_get(node: &Node, asked: &Asked) -> Result<Answer, Refused> {
    let (cid, data) = block(node, asked, "ref").await?;
    let stored = CODECS.iter().find(|(_, codec)| *codec == cid.codec()).map_or("unknown", |(name, _)| name);
    let bytes = match asked.value("output-codec") {
        wanted if wanted == stored => data,
        "" | "dag-json" => Bytes::from(dag_json(stored, &data).map_err(Refused::failed)?),
        wanted => return Err(unknown_way(stored, wanted)),
    };
    let length = bytes.len() as u64;
    as_bytes(asked, stream::iter([Ok(bytes)]).boxed(), length, "text/plain").await
}

#[derive(Serialize)]
struct Link {
    #[serde(rename = "/")]
    cid: Cid,
}

#[derive(Serialize)]
struct Root {
    #[serde(rename = "Cid")]
    cid: Link,
}

/// Stores nodes of a form: what is written in the codec that it is stored in, and DAG-JSON as DAG-CBOR.
pub(super) async fn dag_put(rpc: &Rpc, node: &Node, asked: &Asked, body: RequestBody) -> Result<Answer, Refused> {
    let boundary = multipart::boundary(&asked.parts.headers);
    let boundary = boundary.map_err(|wrong| Refused::wrong(format!("error reading request: {}", wrong.0)))?;
    let or = |name: &str, default: &'static str| match asked.value(name) {
        "" => default.to_owned(),
        value => value.to_owned(),
    };
    let (from, to) = (or("input-codec", "dag-json"), or("store-codec", "dag-cbor"));
    let known = CODECS.iter().find(|(name, _)| *name == to).map(|(_, codec)| *codec);
    let codec = known.ok_or_else(|| Refused::wrong(format!("unknown codec {to:?}")))?;
    if from != to && (from.as_str(), to.as_str()) != ("dag-json", "dag-cbor") {
        return Err(Refused::failed(format!("from {from} to {to} is not known here: put it with input-codec={to}")));
    }
    let name = asked.value("hash");
    let hash = HashFunction::by_name(name);
    let hash = hash.ok_or_else(|| Refused::wrong(format!("unrecognized multihash function: {name:?}")))?;
    let (naming, pin) = (Naming { version_1: true, hash, inline: None }, flag(asked, &["pin"], false)?);
    let parts = multipart::parts(multipart::begun(body, &asked.parts.headers).await, boundary);
    let (rpc, node) = (rpc.clone(), Arc::clone(node));
    let rows = parts.map_err(|error| error.to_string()).and_then(move |part| {
        let (rpc, node, converts) = (rpc.clone(), Arc::clone(&node), from != to);
        async move {
            let data = data_of(part).await?;
            let data = if converts {
                Bytes::from(dag::data::cbor_of_json(&data).map_err(|error| error.to_string())?)
            } else {
                data
            };
            let cid = Cid(naming.cid(codec, &data));
            // What is no such node could not be pinned or read.
            if matches!(codec, DAG_PB | links::DAG_CBOR) {
                links::links_of(&cid, &data).map_err(|error| error.to_string())?;
            }
            let block = Block::verified(cid, data);
            store(&rpc, &block).await?;
            if pin {
                hold(&rpc, &node, &block).await?;
            }
            Ok(Bytes::from(line(&Root { cid: Link { cid } })))
        }
    });
    as_lines(asked, rows.boxed()).await
}

fn unknown_way(from: &str, to: &str) -> Refused {
    Refused::failed(format!("from {from} to {to} is not known here: ask with output-codec={from}"))
}

/// DAG-JSON (`ipld.io/specs/codecs/dag-json`) of what is stored in these codecs.
fn dag_json(stored: &str, data: &Bytes) -> Result<Vec<u8>, String> {
    let bytes = |bytes: &[u8]| format!("{{\"/\":{{\"bytes\":\"{}\"}}}}", STANDARD_NO_PAD.encode(bytes));
    match stored {
        "raw" => Ok(bytes(data).into_bytes()),
        "dag-json" | "json" => Ok(data.to_vec()),
        "dag-cbor" => dag::data::json_of_cbor(data).map_err(|error| error.to_string()),
        "dag-pb" => {
            let node = pb::Node::decode(data).map_err(|error| error.to_string())?;
            let link = |link: &pb::Link| {
                let name = String::from_utf8_lossy(&cluster_types::json::to_go_json(&link.name)).into_owned();
                format!("{{\"Hash\":{{\"/\":\"{}\"}},\"Name\":{name},\"Tsize\":{}}}", link.cid, link.tsize)
            };
            let links = node.links.iter().map(link).collect::<Vec<_>>().join(",");
            let own = if node.data.is_empty() { String::new() } else { format!("\"Data\":{},", bytes(&node.data)) };
            Ok(format!("{{{own}\"Links\":[{links}]}}").into_bytes())
        }
        other => Err(unknown_way(other, "dag-json").1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_written_as_dag_json() {
        let cid: Cid = "bafkreid7gpqhtjk7g47gdy4mnj3z6zquug5xnoefz33qndkfaqcppe55nm".parse().expect("a CID");
        let link = pb::Link { cid: *cid, name: "a \"b\"".into(), tsize: 7 };
        let node = pb::Node { links: vec![link], data: Bytes::from_static(&[8, 1]) };
        let written = dag_json("dag-pb", &node.encode()).map(|json| String::from_utf8(json).expect("UTF-8"));
        let wanted = format!(
            "{{\"Data\":{{\"/\":{{\"bytes\":\"CAE\"}}}},\
             \"Links\":[{{\"Hash\":{{\"/\":\"{cid}\"}},\"Name\":\"a \\\"b\\\"\",\"Tsize\":7}}]}}"
        );
        assert_eq!(written, Ok(wanted));
        assert_eq!(dag_json("raw", &Bytes::from_static(b"x")), Ok(b"{\"/\":{\"bytes\":\"eA\"}}".to_vec()));
        assert_eq!(dag_json("dag-cbor", &Bytes::from_static(b"\xa1aa\x01")), Ok(b"{\"a\":1}".to_vec()));
        assert!(dag_json("cbor", &Bytes::new()).expect_err("not known").contains("output-codec=cbor"));
    }
}
