//! CAR files of version 1 (<https://ipld.io/specs/transport/car/carv1/>): a header with roots, then blocks. Written here,
//! read by [`read`].

pub mod read;

use bytes::{BufMut, Bytes, BytesMut};
use cid::Cid;
use unsigned_varint::encode;

/// The header of a file with one root.
#[must_use]
pub fn header(root: &Cid) -> Bytes {
    // {"roots": [42(0x00 || cid)], "version": 1} in canonical dag-cbor.
    let cid = root.to_bytes();
    let mut body = BytesMut::with_capacity(cid.len() + 32);
    body.put_u8(0xa2);
    body.put_slice(b"\x65roots\x81\xd8\x2a");
    let length = cid.len() + 1;
    match u8::try_from(length) {
        Ok(short) if short < 24 => body.put_u8(0x40 | short),
        Ok(byte) => body.put_slice(&[0x58, byte]),
        Err(_) => {
            body.put_u8(0x59);
            body.put_u16(length as u16);
        }
    }
    body.put_u8(0);
    body.put_slice(&cid);
    body.put_slice(b"\x67version\x01");
    prefixed(&[&body])
}

/// One block.
#[must_use]
pub fn section(cid: &Cid, data: &[u8]) -> Bytes {
    prefixed(&[&cid.to_bytes(), data])
}

fn prefixed(parts: &[&[u8]]) -> Bytes {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = BytesMut::with_capacity(length + 10);
    out.put_slice(encode::u64(length as u64, &mut encode::u64_buffer()));
    for part in parts {
        out.put_slice(part);
    }
    out.freeze()
}
