//! dag-pb nodes and the UnixFS data in them, as bytes. Written in the canonical form; read with bounds.

use bytes::{BufMut, Bytes, BytesMut};
use cid::Cid;
use unsigned_varint::{decode, encode};

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Where to.
    pub cid: Cid,
    /// Its name; empty in files.
    pub name: String,
    /// Bytes of everything below it.
    pub tsize: u64,
}

/// A node: links and data.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// Where to.
    pub links: Vec<Link>,
    /// What it holds itself.
    pub data: Bytes,
}

/// Bytes that are no dag-pb node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the block is no dag-pb node")]
pub struct NotDagPb;

/// What a node is to UnixFS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bare bytes in a node.
    Raw = 0,
    /// A directory.
    Directory = 1,
    /// A file or a part of one.
    File = 2,
    /// A symbolic link.
    Symlink = 4,
    /// A part of a large directory.
    Shard = 5,
}

/// What a file system says of an entry besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Permissions: the low twelve bits of a mode. 0 is none.
    pub mode: u32,
    /// When it was modified: seconds since 1970, and nanoseconds.
    pub mtime: Option<(i64, u32)>,
}

impl Attributes {
    /// None of them.
    pub const NONE: Self = Self { mode: 0, mtime: None };
}

/// UnixFS data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixFs {
    /// What it is.
    pub kind: Kind,
    /// Bytes of its own.
    pub data: Bytes,
    /// Bytes of the file, where it is one.
    pub file_size: Option<u64>,
    /// Bytes of the file below each link.
    pub block_sizes: Vec<u64>,
    /// Hash function of a large directory.
    pub hash_type: Option<u64>,
    /// Width of a large directory.
    pub fanout: Option<u64>,
    /// Mode and time. Written, and passed over when data is read.
    pub attributes: Attributes,
}

impl UnixFs {
    /// Data of a kind, empty.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            data: Bytes::new(),
            file_size: None,
            block_sizes: Vec::new(),
            hash_type: None,
            fanout: None,
            attributes: Attributes::NONE,
        }
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.data.len() + 16 + self.block_sizes.len() * 5);
        number(&mut out, 1, self.kind as u64);
        // As Kubo: a link's target is written even if it is empty.
        if !self.data.is_empty() || self.kind == Kind::Symlink {
            field(&mut out, 2, &self.data);
        }
        if let Some(size) = self.file_size {
            number(&mut out, 3, size);
        }
        for size in &self.block_sizes {
            number(&mut out, 4, *size);
        }
        if let Some(hash_type) = self.hash_type {
            number(&mut out, 5, hash_type);
        }
        if let Some(fanout) = self.fanout {
            number(&mut out, 6, fanout);
        }
        if self.attributes.mode != 0 {
            number(&mut out, 7, self.attributes.mode.into());
        }
        if let Some((seconds, nanos)) = self.attributes.mtime {
            let mut time = BytesMut::new();
            // A negative number as protobuf writes it: in two's complement.
            number(&mut time, 1, seconds as u64);
            if nanos > 0 {
                varint(&mut time, 2 << 3 | 5);
                time.put_u32_le(nanos);
            }
            field(&mut out, 8, &time);
        }
        out.freeze()
    }

    /// Reads the data of a node. Fields that are not known here (such as times) are passed over.
    ///
    /// # Errors
    /// When it is no UnixFS data.
    pub fn decode(data: &Bytes) -> Result<Self, NotDagPb> {
        let mut read = Self::new(Kind::Raw);
        let mut kind = None;
        let mut fields = Fields { bytes: data.clone() };
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Value::Number(number)) => kind = Kind::of(number),
                (2, Value::Bytes(bytes)) => read.data = bytes,
                (3, Value::Number(size)) => read.file_size = Some(size),
                (4, Value::Number(size)) => read.block_sizes.push(size),
                (4, Value::Bytes(packed)) => {
                    let mut sizes = Fields { bytes: packed };
                    while !sizes.bytes.is_empty() {
                        read.block_sizes.push(sizes.number()?);
                    }
                }
                (5, Value::Number(hash_type)) => read.hash_type = Some(hash_type),
                (6, Value::Number(fanout)) => read.fanout = Some(fanout),
                _ => {}
            }
        }
        read.kind = kind.ok_or(NotDagPb)?;
        Ok(read)
    }
}

impl Kind {
    fn of(number: u64) -> Option<Self> {
        let kinds = [Self::Raw, Self::Directory, Self::File, Self::Symlink, Self::Shard];
        kinds.into_iter().find(|kind| *kind as u64 == number)
    }
}

impl Node {
    /// The bytes: links first, then data, each link with its name and size written out.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.data.len() + 16 + self.links.len() * 64);
        for link in &self.links {
            let mut inner = BytesMut::with_capacity(64 + link.name.len());
            field(&mut inner, 1, &link.cid.to_bytes());
            field(&mut inner, 2, link.name.as_bytes());
            number(&mut inner, 3, link.tsize);
            field(&mut out, 2, &inner);
        }
        field(&mut out, 1, &self.data);
        out.freeze()
    }

    /// Reads a block.
    ///
    /// # Errors
    /// When it is no dag-pb node.
    pub fn decode(block: &Bytes) -> Result<Self, NotDagPb> {
        let mut node = Self::default();
        let mut fields = Fields { bytes: block.clone() };
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Value::Bytes(bytes)) => node.data = bytes,
                (2, Value::Bytes(bytes)) => node.links.push(link(bytes)?),
                _ => return Err(NotDagPb),
            }
        }
        Ok(node)
    }
}

fn link(bytes: Bytes) -> Result<Link, NotDagPb> {
    let (mut cid, mut name, mut tsize) = (None, String::new(), 0);
    let mut fields = Fields { bytes };
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Bytes(bytes)) => cid = Some(Cid::try_from(&bytes[..]).map_err(|_| NotDagPb)?),
            (2, Value::Bytes(bytes)) => name = String::from_utf8(bytes.to_vec()).map_err(|_| NotDagPb)?,
            (3, Value::Number(size)) => tsize = size,
            _ => return Err(NotDagPb),
        }
    }
    Ok(Link { cid: cid.ok_or(NotDagPb)?, name, tsize })
}

fn varint(out: &mut BytesMut, number: u64) {
    out.put_slice(encode::u64(number, &mut encode::u64_buffer()));
}

fn number(out: &mut BytesMut, key: u64, value: u64) {
    varint(out, key << 3);
    varint(out, value);
}

fn field(out: &mut BytesMut, key: u64, bytes: &[u8]) {
    varint(out, key << 3 | 2);
    varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}

enum Value {
    Number(u64),
    Bytes(Bytes),
}

struct Fields {
    bytes: Bytes,
}

impl Fields {
    fn number(&mut self) -> Result<u64, NotDagPb> {
        let (number, rest) = decode::u64(&self.bytes).map_err(|_| NotDagPb)?;
        let used = self.bytes.len() - rest.len();
        drop(self.bytes.split_to(used));
        Ok(number)
    }

    fn next(&mut self) -> Result<Option<(u64, Value)>, NotDagPb> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let key = self.number()?;
        let value = match key & 7 {
            0 => Value::Number(self.number()?),
            2 => {
                let length = usize::try_from(self.number()?).map_err(|_| NotDagPb)?;
                if length > self.bytes.len() {
                    return Err(NotDagPb);
                }
                Value::Bytes(self.bytes.split_to(length))
            }
            _ => return Err(NotDagPb),
        };
        Ok(Some((key >> 3, value)))
    }
}
