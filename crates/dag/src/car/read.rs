//! CAR files read as they come: versions 1 and 2 (<https://ipld.io/specs/transport/car/>), each block checked against its
//! name. What is held is bounded, however long the file is.

use crate::Block;
use crate::hash::{named_as, verify};
use bytes::{Buf, Bytes, BytesMut};
use cid::Cid;
use ipld_core::ipld::Ipld;
use unsigned_varint::decode;

/// Most bytes of a header: 16,000 roots fit.
const HEADER_MAX: usize = 1 << 20;

/// Most bytes of a block: larger ones cannot be exchanged.
const BLOCK_MAX: usize = 2 << 20;

/// Most bytes of a block's name: a CID with a hash of 64 bytes has fewer.
const CID_MAX: usize = 128;

/// Bytes of the second header of version 2.
const HEADER_2: usize = 40;

/// Bytes that come before it.
const PRAGMA_2: u64 = 11;

/// Why a file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CarError {
    /// There is nothing in it.
    #[error("EOF")]
    Empty,
    /// It ends in the middle of something.
    #[error("unexpected EOF")]
    Truncated,
    /// It does not begin as CAR files do.
    #[error("invalid car header: {0}")]
    Header(String),
    /// It is of another version.
    #[error("invalid car version: {0}")]
    Version(i128),
    /// Something in it is longer than it may be.
    #[error("{0} of {1} bytes is longer than the {2} bytes that it may have")]
    TooLong(&'static str, usize, usize),
    /// A block has no name that can be read.
    #[error("invalid cid: {0}")]
    Cid(String),
    /// A block is not what its name says.
    #[error("mismatch in content integrity, name: {0}, data: {1}")]
    WrongHash(Cid, String),
}

/// What a file has in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Its roots, before anything else.
    Roots(Vec<Cid>),
    /// A block that is what its name says.
    Block(Block),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the header; whether it is that of the file within one of version 2.
    Header(bool),
    /// Before the second header of version 2.
    Header2,
    /// So many bytes come before the file within.
    Skip(u64),
    Blocks,
    /// What comes behind the file within is an index.
    Index,
}

/// Reads a file, pushed in pieces.
#[derive(Debug)]
pub struct Reader {
    held: BytesMut,
    state: State,
    /// Bytes of the file within that have not been read, in version 2.
    left: Option<u64>,
}

impl Default for Reader {
    fn default() -> Self {
        Self { held: BytesMut::new(), state: State::Header(false), left: None }
    }
}

impl Reader {
    /// Adds bytes. What is complete goes out.
    ///
    /// # Errors
    /// When the file is none, or a block is not what its name says. Nothing more can be read then.
    pub fn push(&mut self, bytes: &[u8], out: &mut dyn FnMut(Item)) -> Result<(), CarError> {
        // A piece at a time, so that little more than a block is held.
        for piece in bytes.chunks(BLOCK_MAX) {
            self.held.extend_from_slice(piece);
            while self.step(out)? {}
        }
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// When it is not complete.
    pub fn finish(self) -> Result<(), CarError> {
        match self.state {
            State::Header(false) if self.held.is_empty() => Err(CarError::Empty),
            State::Blocks if self.held.is_empty() && self.left.is_none_or(|left| left == 0) => Ok(()),
            State::Index => Ok(()),
            _ => Err(CarError::Truncated),
        }
    }

    /// Reads one thing, if it is all there.
    fn step(&mut self, out: &mut dyn FnMut(Item)) -> Result<bool, CarError> {
        match self.state {
            State::Header(within) => match self.section("a header", HEADER_MAX)? {
                None => return Ok(false),
                Some(header) => self.header(within, &header, out)?,
            },
            State::Header2 => {
                if self.held.len() < HEADER_2 {
                    return Ok(false);
                }
                self.held.advance(16); // What the file's writer says of itself.
                let (begins, length) = (self.held.get_u64_le(), self.held.get_u64_le());
                self.held.advance(8); // Where the index begins.
                let before = PRAGMA_2 + HEADER_2 as u64;
                let skip = begins.checked_sub(before).ok_or_else(|| {
                    CarError::Header(format!("its data begins at byte {begins}, which is within the headers"))
                })?;
                (self.left, self.state) = (Some(length), State::Skip(skip));
            }
            State::Skip(0) => self.state = State::Header(true),
            State::Skip(skip) => {
                let now = usize::try_from(skip).unwrap_or(usize::MAX).min(self.held.len());
                self.held.advance(now);
                self.state = State::Skip(skip - now as u64);
                return Ok(now > 0);
            }
            State::Blocks if self.left == Some(0) => self.state = State::Index,
            State::Blocks => match self.section("a block", BLOCK_MAX + CID_MAX)? {
                None => return Ok(false),
                Some(section) => block(section, out)?,
            },
            State::Index => {
                self.held.clear();
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What stands behind its length.
    fn section(&mut self, what: &'static str, most: usize) -> Result<Option<Bytes>, CarError> {
        let (length, behind) = match decode::usize(&self.held) {
            Ok(read) => read,
            Err(decode::Error::Insufficient) => return self.wait(),
            Err(error) => return Err(CarError::Header(error.to_string())),
        };
        if length > most {
            return Err(CarError::TooLong(what, length, most));
        }
        if behind.len() < length {
            return self.wait();
        }
        let prefix = self.held.len() - behind.len();
        self.read(prefix + length)?;
        self.held.advance(prefix);
        Ok(Some(self.held.split_to(length).freeze()))
    }

    /// More must come, if the file within one of version 2 goes on.
    fn wait(&self) -> Result<Option<Bytes>, CarError> {
        match self.left {
            Some(left) if left <= self.held.len() as u64 => Err(CarError::Truncated),
            _ => Ok(None),
        }
    }

    fn read(&mut self, bytes: usize) -> Result<(), CarError> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(bytes as u64).ok_or(CarError::Truncated)?;
        }
        Ok(())
    }

    fn header(&mut self, within: bool, header: &[u8], out: &mut dyn FnMut(Item)) -> Result<(), CarError> {
        let wrong = |text: &str| CarError::Header(text.to_owned());
        let header: Ipld =
            serde_ipld_dagcbor::from_slice(header).map_err(|error| CarError::Header(error.to_string()))?;
        let Ipld::Map(header) = header else { return Err(wrong("it is no map")) };
        match header.get("version") {
            Some(Ipld::Integer(1)) => {}
            Some(Ipld::Integer(2)) if !within => {
                self.state = State::Header2;
                return Ok(());
            }
            Some(Ipld::Integer(version)) => return Err(CarError::Version(*version)),
            _ => return Err(wrong("it has no version")),
        }
        let Some(Ipld::List(listed)) = header.get("roots") else { return Err(wrong("it has no list of roots")) };
        let root = |root: &Ipld| match root {
            Ipld::Link(cid) => Ok(*cid),
            _ => Err(wrong("a root is no CID")),
        };
        out(Item::Roots(listed.iter().map(root).collect::<Result<_, _>>()?));
        self.state = State::Blocks;
        Ok(())
    }
}

fn block(mut section: Bytes, out: &mut dyn FnMut(Item)) -> Result<(), CarError> {
    let mut rest = &section[..];
    let cid = Cid::read_bytes(&mut rest).map_err(|error| CarError::Cid(error.to_string()))?;
    section.advance(section.len() - rest.len());
    if section.len() > BLOCK_MAX {
        return Err(CarError::TooLong("a block", section.len(), BLOCK_MAX));
    }
    if !verify(&cid, &section) {
        let is = named_as(&cid, &section).map_or_else(|| "a hash that is not known".into(), |cid| cid.to_string());
        return Err(CarError::WrongHash(cid, is));
    }
    // What a name has in it needs no block.
    if cid.hash().code() != 0 {
        out(Item::Block(Block { cid, data: section }));
    }
    Ok(())
}
