//! Records on their way into a segment: the data of large blocks is written from where it is, small ones are put together
//! with the heads of their neighbours.

use super::log::Entry;
use super::segment::write_record_head;
use rustix::io::{Errno, pwritev};
use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;

/// Bytes of data from which a block is not copied: below, a piece of a write costs more than a copy.
const WHOLE_MIN: usize = 4 << 10;

/// Pieces of one write: what systems take (`IOV_MAX`).
const PIECES_MAX: usize = 1_024;

/// Records that are written together.
pub(super) struct Records<'a> {
    buffer: &'a mut Vec<u8>,
    pieces: Vec<Piece<'a>>,
    /// Where the part of the buffer begins that is in no piece yet.
    from: usize,
    /// Bytes of all records.
    pub(super) bytes: u64,
}

enum Piece<'a> {
    Buffered(Range<usize>),
    Whole(&'a [u8]),
}

impl<'a> Records<'a> {
    /// None yet. The buffer is for use again.
    pub(super) fn new(buffer: &'a mut Vec<u8>) -> Self {
        buffer.clear();
        Self { buffer, pieces: Vec::new(), from: 0, bytes: 0 }
    }

    pub(super) fn push(&mut self, entry: &Entry<'a>) {
        let before = self.buffer.len();
        write_record_head(self.buffer, &entry.key.to_bytes(), entry.flags, entry.data);
        self.bytes += (self.buffer.len() - before + entry.data.len()) as u64;
        if entry.data.len() < WHOLE_MIN {
            self.buffer.extend_from_slice(entry.data);
            return;
        }
        self.pieces.push(Piece::Buffered(self.from..self.buffer.len()));
        self.pieces.push(Piece::Whole(entry.data));
        self.from = self.buffer.len();
    }

    /// Writes all of them. Returns their bytes.
    pub(super) fn write(mut self, file: &File, mut offset: u64) -> io::Result<u64> {
        self.pieces.push(Piece::Buffered(self.from..self.buffer.len()));
        let bytes = |piece: &Piece<'a>| match piece {
            Piece::Buffered(range) => &self.buffer[range.clone()],
            Piece::Whole(data) => data,
        };
        let mut slices: Vec<IoSlice<'_>> = self.pieces.iter().map(bytes).map(IoSlice::new).collect();
        let mut left = &mut slices[..];
        // Empty ones at the front are passed over: nothing written would look like no room.
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            match pwritev(file, &left[..left.len().min(PIECES_MAX)], offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut left, written);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::segment::{LEAF, MAGIC, Scan};

    /// More than one write takes, small and large ones by turns.
    #[test]
    fn records_are_read_back_whatever_their_sizes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("00000000.seg");
        let file = File::create(&path).expect("a file");
        pwritev(&file, &[IoSlice::new(&MAGIC)], 0).expect("written");
        let sizes = [0, WHOLE_MIN, WHOLE_MIN - 1, 1, 3 * WHOLE_MIN, WHOLE_MIN];
        let data: Vec<Vec<u8>> = (0..PIECES_MAX).map(|at| vec![at as u8; sizes[at % sizes.len()]]).collect();
        let key = |data: &[u8]| *dag::hash::Naming::default().cid(dag::RAW, data).hash();

        let mut buffer = vec![9; 9];
        let mut records = Records::new(&mut buffer);
        data.iter().for_each(|data| records.push(&Entry { key: key(data), flags: LEAF, data }));
        let bytes = records.write(&file, MAGIC.len() as u64).expect("written");

        let mut scan = Scan::open(&path).expect("a segment");
        for data in &data {
            let record = scan.next().expect("read").expect("a record");
            assert!(record.key == key(data) && record.bytes[record.data_at..] == data[..]);
        }
        assert!(scan.next().expect("read").is_none());
        assert_eq!(scan.offset(), bytes + MAGIC.len() as u64);
    }
}
