//! `refs`: the links below roots, in the order of a walk that goes down first.

use super::{Node, Refused, arguments, as_lines, flag, line, resolve};
use crate::api::ipfsproxy::service::{Answer, Asked};
use bytes::Bytes;
use cluster_types::Cid;
use dag::{links, pb};
use futures::{StreamExt, stream};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;

/// Links that a walk with `unique` remembers: 400 MB.
const SEEN_MAX: usize = 4 << 20;

/// Blocks one below the other; each holds its links until the walk is past them.
const DEPTH_MAX: usize = 1_024;

#[derive(Serialize)]
struct Row<'a> {
    #[serde(rename = "Ref")]
    reference: &'a str,
    #[serde(rename = "Err")]
    error: &'a str,
}

/// What is wanted of a walk.
struct Wanted {
    format: String,
    unique: bool,
    /// Links from a root to the deepest that are told.
    depth_max: u64,
}

/// The links of a block that are still to be told.
struct Level {
    source: Cid,
    links: std::vec::IntoIter<(Cid, String)>,
}

struct Walk {
    node: Node,
    wanted: Wanted,
    roots: std::vec::IntoIter<Cid>,
    levels: Vec<Level>,
    /// What is gone down to next.
    below: Option<Cid>,
    /// How far down each was seen.
    seen: HashMap<Cid, usize>,
}

pub(super) async fn refs(node: &Node, asked: &Asked) -> Result<Answer, Refused> {
    let wanted = wanted(asked)?;
    let mut roots = Vec::new();
    for path in arguments(asked, "ipfs-path")? {
        roots.push(resolve(node, &path).await?);
    }
    let roots = roots.into_iter();
    let walk = Walk { node: Arc::clone(node), wanted, roots, levels: Vec::new(), below: None, seen: HashMap::new() };
    let rows = stream::unfold(Some(walk), |walk| async move {
        let mut walk = walk?;
        // As Kubo: what cannot be followed is the last row.
        let (row, walk) = match walk.next().await {
            Ok(Some(reference)) => (line(&Row { reference: &reference, error: "" }), Some(walk)),
            Ok(None) => return None,
            Err(error) => (line(&Row { reference: "", error: &error }), None),
        };
        Some((Ok(Bytes::from(row)), walk))
    });
    as_lines(asked, rows.boxed()).await
}

fn wanted(asked: &Asked) -> Result<Wanted, Refused> {
    let given = asked.value("format");
    let edges = flag(asked, &["edges", "e"], false)?;
    let format = match (given, edges) {
        ("" | "<dst>", true) => "<src> -> <dst>",
        (_, true) => return Err(Refused::wrong("using format argument with edges is not allowed")),
        ("", false) => "<dst>",
        (format, false) => format,
    };
    let depth_max = match asked.value("max-depth") {
        _ if !flag(asked, &["recursive", "r"], false)? => 1,
        "" | "-1" => u64::MAX,
        text => text.parse().map_err(|_| Refused::wrong(format!("option max-depth: {text:?} is no number")))?,
    };
    Ok(Wanted { format: format.to_owned(), unique: flag(asked, &["unique", "u"], false)?, depth_max })
}

impl Walk {
    /// The next link, as it is to be told.
    async fn next(&mut self) -> Result<Option<String>, String> {
        loop {
            if let Some(cid) = self.below.take() {
                self.enter(cid).await?;
            }
            let depth = self.levels.len();
            let Some(level) = self.levels.last_mut() else {
                match self.roots.next() {
                    Some(root) if self.wanted.depth_max > 0 => self.below = Some(root),
                    Some(_) => {}
                    None => return Ok(None),
                }
                continue;
            };
            let source = level.source;
            let Some((cid, name)) = level.links.next() else {
                self.levels.pop();
                continue;
            };
            let (tell, deeper) = self.visit(cid, depth)?;
            self.below = deeper.then_some(cid);
            if tell {
                let told = self.wanted.format.replace("<src>", &source.to_string());
                return Ok(Some(told.replace("<dst>", &cid.to_string()).replace("<linkname>", &name)));
            }
        }
    }

    /// Whether a link is told, and whether the walk goes on below it.
    fn visit(&mut self, cid: Cid, depth: usize) -> Result<(bool, bool), String> {
        let deeper = (depth as u64) < self.wanted.depth_max && cid.codec() != dag::RAW;
        if !self.wanted.unique {
            return Ok((true, deeper));
        }
        if self.seen.len() >= SEEN_MAX {
            return Err(format!("there are more than {SEEN_MAX} links: ask without unique, or for a part"));
        }
        match self.seen.get(&cid) {
            Some(before) if *before <= depth => Ok((false, false)),
            before => {
                // Seen further down: what is below may have been cut by the greatest depth.
                let tell = before.is_none();
                self.seen.insert(cid, depth);
                Ok((tell, deeper))
            }
        }
    }

    async fn enter(&mut self, cid: Cid) -> Result<(), String> {
        if self.levels.len() >= DEPTH_MAX {
            return Err(format!("{cid} is more than {DEPTH_MAX} links below its root"));
        }
        let data = self.node.block(&cid).await.map_err(|error| error.to_string())?;
        let found: Vec<(Cid, String)> = if cid.codec() == dag::DAG_PB {
            let node = pb::Node::decode(&data).map_err(|error| format!("{cid}: {error}"))?;
            node.links.into_iter().map(|link| (Cid(link.cid), link.name)).collect()
        } else {
            let found = links::links_of(&cid, &data).map_err(|error| error.to_string())?;
            found.into_iter().map(|cid| (Cid(cid), String::new())).collect()
        };
        self.levels.push(Level { source: cid, links: found.into_iter() });
        Ok(())
    }
}
