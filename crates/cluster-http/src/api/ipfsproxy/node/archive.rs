//! `get`: files and directories as a tar file, which the command line of Kubo unpacks.

use super::{Node, Refused, STREAM_OUTPUT, arguments, begun, flag, resolve, streamed};
use crate::api::ipfsproxy::service::{Answer, Asked};
use bytes::Bytes;
use cluster_component::PageStream;
use cluster_component::content::{ContentEntry, ContentKind};
use cluster_component::errors::ConnectorError;
use cluster_types::Cid;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use std::sync::Arc;
use tar::EntryType;

/// Most directories in each other, as adds take them.
const DEPTH_MAX: usize = 256;

/// What a file in a tar file is filled up to.
const BLOCK: u64 = 512;

/// Two blocks of nothing end a tar file.
const END: [u8; 1_024] = [0; 1_024];

pub(super) async fn get(node: &Node, asked: &Asked) -> Result<Answer, Refused> {
    if flag(asked, &["compress", "C"], false)? {
        let text = "get: a peer with an embedded IPFS node does not compress: get it as it is";
        return Err(Refused(StatusCode::NOT_IMPLEMENTED, text.into()));
    }
    let path = arguments(asked, "ipfs-path")?.swap_remove(0);
    let cid = resolve(node, &path).await?;
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    let packing = Packing { node: Arc::clone(node), waiting: vec![Waiting::Entry(name, cid)] };
    let entries = stream::try_unfold(packing, |mut packing| async move {
        let entry = packing.next().await?;
        Ok::<_, String>(entry.map(|entry| (entry, packing)))
    });
    let bytes = entries.try_flatten().chain(stream::iter([Ok(Bytes::from_static(&END))]));
    let mut answer = streamed(asked, begun(bytes.boxed()).await?);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    answer.headers_mut().insert(STREAM_OUTPUT, HeaderValue::from_static("1"));
    Ok(answer)
}

/// What is still to be packed, the next last.
struct Packing {
    node: Node,
    waiting: Vec<Waiting>,
}

enum Waiting {
    Entry(String, Cid),
    Directory(String, PageStream<ContentEntry, ConnectorError>),
}

impl Packing {
    /// The bytes of the next entry; `None` at the end.
    async fn next(&mut self) -> Result<Option<BoxStream<'static, Result<Bytes, String>>>, String> {
        while let Some(waiting) = self.waiting.pop() {
            match waiting {
                Waiting::Entry(path, cid) => return self.entry(path, cid).await.map(Some),
                Waiting::Directory(path, mut pages) => {
                    let Some(page) = pages.next().await.transpose().map_err(|e| e.to_string())? else { continue };
                    self.waiting.push(Waiting::Directory(path.clone(), pages));
                    for entry in page.into_iter().rev() {
                        // Such a name would be unpacked somewhere else.
                        if matches!(entry.name.as_str(), "" | "." | "..") || entry.name.contains(['/', '\0']) {
                            return Err(format!("{path}: an entry is named {:?}, which no file can be", entry.name));
                        }
                        self.waiting.push(Waiting::Entry(format!("{path}/{}", entry.name), entry.cid));
                    }
                }
            }
        }
        Ok(None)
    }

    async fn entry(&mut self, path: String, cid: Cid) -> Result<BoxStream<'static, Result<Bytes, String>>, String> {
        let failed = |error: ConnectorError| format!("{path}: {error}");
        match self.node.kind(&cid).await.map_err(failed)? {
            ContentKind::File(size) => {
                let head = head(EntryType::Regular, &path, size, None)?;
                let bytes = Arc::clone(&self.node).read(cid, 0..size).map_err(|error| error.to_string());
                let fill = Bytes::from_static(&END).slice(..(size.next_multiple_of(BLOCK) - size) as usize);
                let all = stream::iter([Ok(head)]).chain(bytes).chain(stream::iter([Ok(fill)]));
                Ok(all.boxed())
            }
            ContentKind::Directory => {
                if path.split('/').count() > DEPTH_MAX {
                    return Err(format!("{path}: more than {DEPTH_MAX} directories are in each other"));
                }
                let head = head(EntryType::Directory, &path, 0, None)?;
                let pages = Arc::clone(&self.node).list(cid);
                self.waiting.push(Waiting::Directory(path, pages));
                Ok(stream::iter([Ok(head)]).boxed())
            }
            ContentKind::Symlink(target) => {
                let head = head(EntryType::Symlink, &path, 0, Some(&target))?;
                Ok(stream::iter([Ok(head)]).boxed())
            }
            ContentKind::Data => Err(format!("{path}: {cid} is no file")),
        }
    }
}

/// What goes before an entry's bytes. Long names take more than a block.
fn head(kind: EntryType, path: &str, size: u64, target: Option<&str>) -> Result<Bytes, String> {
    let (mut builder, mut header) = (tar::Builder::new(Vec::new()), tar::Header::new_gnu());
    header.set_entry_type(kind);
    header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
    header.set_size(size);
    let written = match target {
        Some(target) => builder.append_link(&mut header, path, target),
        None => builder.append_data(&mut header, path, std::io::empty()),
    };
    written.map_err(|error| format!("{path}: {error}"))?;
    Ok(std::mem::take(builder.get_mut()).into())
}
