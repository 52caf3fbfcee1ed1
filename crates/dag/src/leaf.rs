//! Leaves of files as dag-pb nodes, written around bytes that stay where they are: room is left before them.

use crate::pb::Kind;
use bytes::{BufMut, Bytes, BytesMut};
use unsigned_varint::encode;

/// Most bytes that are written before those of a file: two keys and lengths, and what it is.
pub(crate) const ROOM: usize = 2 * (1 + LENGTH) + 2;

/// Most bytes that are written behind them: a key and a length.
pub(crate) const TAIL: usize = 1 + LENGTH;

/// Bytes of a length below 2³⁵: no leaf comes near.
const LENGTH: usize = 5;

/// The node around bytes that have [`ROOM`] before them.
pub(crate) fn wrapped(kind: Kind, mut buffer: BytesMut) -> Bytes {
    let length = buffer.len() - ROOM;
    let mut numbers = [encode::usize_buffer(), encode::usize_buffer()];
    let [first, second] = &mut numbers;
    let size = encode::usize(length, first);
    // As `UnixFs::encode`: kind, data if there is any, size.
    let data_head = if length == 0 { 0 } else { 1 + size.len() };
    let inner = encode::usize(2 + data_head + length + 1 + size.len(), second);
    let start = ROOM - (1 + inner.len() + 2 + data_head);
    let mut head = &mut buffer[start..ROOM];
    head.put_u8(1 << 3 | 2);
    head.put_slice(inner);
    head.put_slice(&[1 << 3, kind as u8]);
    if length > 0 {
        head.put_u8(2 << 3 | 2);
        head.put_slice(size);
    }
    buffer.put_u8(3 << 3);
    buffer.put_slice(size);
    buffer.freeze().slice(start..)
}

/// The node around a copy of the bytes.
pub(crate) fn around(kind: Kind, bytes: &[u8]) -> Bytes {
    let mut buffer = BytesMut::with_capacity(ROOM + bytes.len() + TAIL);
    buffer.resize(ROOM, 0);
    buffer.extend_from_slice(bytes);
    wrapped(kind, buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::{Node, UnixFs};

    #[test]
    fn a_leaf_is_the_node_that_is_written_piece_by_piece() {
        for length in [0, 1, 111, 120, 127, 128, 16_383, 16_384, 262_144, 2 << 20] {
            for kind in [Kind::File, Kind::Raw] {
                let data = Bytes::from(vec![7; length]);
                let unixfs = UnixFs { data: data.clone(), file_size: Some(length as u64), ..UnixFs::new(kind) };
                let node = Node { links: Vec::new(), data: unixfs.encode() }.encode();
                assert!(around(kind, &data) == node, "{length} bytes");
            }
        }
    }
}
