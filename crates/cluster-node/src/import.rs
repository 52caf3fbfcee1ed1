//! The pins of an import, before anything is touched: read, checked, and put into the listing order.
//!
//! The order makes the import cheap, since a sorted store takes rows fastest one behind the other. Pins are sorted in runs,
//! one behind the other in a temporary file, which are merged when they are read back. An import that is no longer than
//! one run keeps its own order: what it leaves in the DAG is then what the reference leaves.

use crate::state::{OfflineError, Overrides};
use cluster_types::cid::CidError;
use cluster_types::{Cid, Pin};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Bytes of pins that are sorted at a time.
const RUN_BYTES: usize = 16 << 20;

/// Bytes that are read ahead of each run. An import of 100 million pins has some 2,000 runs.
const READ_AHEAD: usize = 32 << 10;

/// Bytes that are read at a time.
const INPUT_BYTES: usize = 256 << 10;

/// Most bytes of one pin of the input.
const PIN_BYTES_MAX: usize = 8 << 20;

/// Pins that make sense, none twice: of two pins of one CID the later counts.
#[derive(Debug)]
pub(crate) struct Checked {
    file: File,
    /// Where each run ends.
    ends: Vec<u64>,
}

impl Checked {
    /// Reads JSON values, one behind the other, as `state export` writes them, to the end.
    pub(crate) fn read(input: &mut impl Read, overrides: &Overrides) -> Result<Self, OfflineError> {
        let mut values = Values { input, buffer: Vec::new(), lines: 0, pins: 0 };
        let (mut rows, mut bytes) = (Vec::new(), 0);
        let (mut out, mut ends) = (BufWriter::with_capacity(256 << 10, tempfile::tempfile()?), Vec::new());
        loop {
            let more = values.next_pins(&mut |mut pin| {
                overrides.apply(&mut pin);
                let row = (pin.cid.sort_key(), pin.to_proto());
                bytes += row.0.len() + row.1.len() + size_of_val(&row);
                rows.push(row);
            })?;
            if bytes >= RUN_BYTES || !more {
                let is_all = ends.is_empty() && !more;
                let run = if is_all { as_they_came(rows) } else { sorted(rows) };
                write_run(&run, &mut out)?;
                rows = Vec::new();
                ends.push(out.stream_position()?);
                bytes = 0;
            }
            if !more {
                let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
                return Ok(Self { file, ends });
            }
        }
    }

    /// The pins in their stored form.
    pub(crate) fn into_rows(self) -> Result<impl Iterator<Item = Result<(Cid, Vec<u8>), OfflineError>>, OfflineError> {
        let (file, mut begin) = (Arc::new(self.file), 0);
        let mut merged =
            Merged { runs: Vec::with_capacity(self.ends.len()), heads: BinaryHeap::new(), last: Vec::new() };
        for (number, end) in self.ends.into_iter().enumerate() {
            let run = Run { file: Arc::clone(&file), at: begin, end };
            merged.runs.push(BufReader::with_capacity(READ_AHEAD, run));
            merged.take_up(number)?;
            begin = end;
        }
        Ok(merged.map(|row| {
            let (key, pin) = row?;
            let damaged = |e: CidError| io::Error::other(format!("a row of the sorted import is damaged: {e}"));
            Ok((Cid::from_sort_key(&key).map_err(damaged)?, pin))
        }))
    }
}

/// JSON values of the input, as many at a time as the buffer holds whole.
struct Values<'a, R> {
    input: &'a mut R,
    buffer: Vec<u8>,
    /// Lines before the buffer.
    lines: usize,
    pins: u64,
}

impl<R: Read> Values<'_, R> {
    /// Reads on and gives out what is whole; `false` at the end.
    fn next_pins(&mut self, each: &mut dyn FnMut(Pin)) -> Result<bool, OfflineError> {
        let held = self.buffer.len();
        let read = self.input.by_ref().take(INPUT_BYTES as u64).read_to_end(&mut self.buffer)?;
        let mut values = serde_json::Deserializer::from_slice(&self.buffer).into_iter::<Pin>();
        let mut whole = 0;
        let cut = loop {
            match values.next() {
                None => break None,
                Some(Ok(pin)) => {
                    self.pins += 1;
                    whole = values.byte_offset();
                    each(pin);
                }
                // It goes on in what is not read yet.
                Some(Err(error)) if error.is_eof() && read > 0 && held < PIN_BYTES_MAX => break None,
                Some(Err(error)) => break Some(error),
            }
        };
        if let Some(error) = cut {
            let (text, too_large) = (error.to_string(), format!("it is larger than {PIN_BYTES_MAX} bytes"));
            let reason = match text.rsplit_once(" at line ") {
                _ if error.is_eof() && read > 0 => &too_large,
                Some((reason, _)) => reason,
                None => &text,
            };
            let line = self.lines + error.line();
            return Err(OfflineError::Pin { number: self.pins + 1, reason: format!("{reason} (line {line})") });
        }
        self.lines += self.buffer[..whole].iter().filter(|byte| **byte == b'\n').count();
        self.buffer.drain(..whole);
        Ok(read > 0)
    }
}

/// A pin by its key.
type Row = (Vec<u8>, Vec<u8>);

/// In the order of their keys; of two pins of one CID the later.
fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    // Stable, so that the later one is known.
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    rows.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            std::mem::swap(later, earlier);
        }
        same
    });
    rows
}

/// In their own order; of two pins of one CID the later, in the place of the first.
fn as_they_came(rows: Vec<Row>) -> Vec<Row> {
    let mut places = BTreeMap::new();
    let mut kept: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        match places.get(&row.0) {
            Some(place) => kept[*place] = row,
            None => {
                places.insert(row.0.clone(), kept.len());
                kept.push(row);
            }
        }
    }
    kept
}

fn write_run(rows: &[Row], out: &mut impl Write) -> io::Result<()> {
    for (key, pin) in rows {
        for part in [key, pin] {
            let length = u32::try_from(part.len()).map_err(io::Error::other)?;
            out.write_all(&length.to_be_bytes())?;
            out.write_all(part)?;
        }
    }
    Ok(())
}

/// A part of the file.
struct Run {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Run {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(into.len());
        let read = self.file.read_at(&mut into[..left], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

fn read_part(run: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    run.read_exact(&mut length)?;
    let mut part = vec![0; u32::from_be_bytes(length) as usize];
    run.read_exact(&mut part)?;
    Ok(part)
}

/// The next row of a run. The least key comes first, and of equal ones that of the latest run.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    key: Vec<u8>,
    run: Reverse<usize>,
    pin: Vec<u8>,
}

/// All runs as one.
struct Merged {
    runs: Vec<BufReader<Run>>,
    heads: BinaryHeap<Reverse<Head>>,
    last: Vec<u8>,
}

impl Merged {
    /// Reads the next row of a run, if there is one.
    fn take_up(&mut self, number: usize) -> io::Result<()> {
        let run = &mut self.runs[number];
        if !run.fill_buf()?.is_empty() {
            let head = Head { key: read_part(run)?, run: Reverse(number), pin: read_part(run)? };
            self.heads.push(Reverse(head));
        }
        Ok(())
    }
}

impl Iterator for Merged {
    type Item = io::Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Reverse(Head { key, run: Reverse(number), pin }) = self.heads.pop()?;
            if let Err(error) = self.take_up(number) {
                return Some(Err(error));
            }
            if key != self.last {
                self.last.clone_from(&key);
                return Some(Ok((key, pin)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_types::{PinMode, PinOptions, Timestamp};
    use proptest::prelude::*;

    fn rows(input: &str) -> Result<Vec<(Cid, Pin)>, OfflineError> {
        let checked = Checked::read(&mut input.as_bytes(), &Overrides::default())?;
        let rows =
            checked.into_rows()?.map(|row| row.map(|(cid, pin)| (cid, Pin::from_proto(&pin, None).expect("pin"))));
        rows.collect()
    }

    fn cid(number: u32) -> Cid {
        let digest: Vec<u8> =
            (0..8).flat_map(|i| number.wrapping_mul(0x9e37_79b9).rotate_left(i).to_be_bytes()).collect();
        Cid::from_bytes(&[&[0x01, 0x55, 0x12, 0x20], digest.as_slice()].concat()).expect("a CID")
    }

    fn json(number: u32, name: &str) -> String {
        format!("{{\"cid\":\"{}\",\"name\":\"{name}\"}}\n", cid(number))
    }

    #[test]
    fn few_pins_come_out_in_their_own_order_however_they_are_written() {
        let input = [json(7, "a"), json(2, "b").replace(',', ",\n  "), json(5, "c").replace('\n', " "), json(2, "d")];

        let found = rows(&input.concat()).expect("read").into_iter().map(|(cid, pin)| (cid, pin.options.name));

        assert_eq!(found.collect::<Vec<_>>(), [(cid(7), "a".into()), (cid(2), "d".into()), (cid(5), "c".into())]);
    }

    /// More than one run, with the later pin of a CID in another one, and in the same.
    #[test]
    fn of_two_pins_of_one_cid_the_later_counts() {
        let long = "n".repeat(1 << 20);
        let many = (0..40).map(|number| json(number, &format!("{number} {long}")));
        let input: String = many.chain([json(3, "first"), json(3, "last"), json(39, "late")]).collect();

        let found = rows(&input).expect("read");
        assert!(found.is_sorted_by_key(|(cid, _)| cid.sort_key()));
        let found: BTreeMap<Cid, String> = found.into_iter().map(|(cid, pin)| (cid, pin.options.name)).collect();

        assert_eq!(found.len(), 40);
        assert_eq!(found[&cid(3)], "last");
        assert_eq!(found[&cid(39)], "late");
        assert!(found[&cid(4)].starts_with("4 n"));
    }

    #[test]
    fn a_pin_that_makes_no_sense_is_named_by_its_number_and_line() {
        let fault = |input: &str| rows(input).expect_err("refused").to_string();

        let text = fault(&[json(1, ""), json(2, ""), "\n{\"cid\":\"x\"}".into()].concat());
        assert!(text.starts_with("pin 3 of the import makes no sense: ") && text.contains("(line 4)"), "{text}");

        let text = fault(&json(1, &"n".repeat(PIN_BYTES_MAX + 2 * INPUT_BYTES)));
        assert!(text.contains("pin 1 of the import makes no sense: it is larger than 8388608 bytes"), "{text}");

        let text = fault(&json(1, "").replace('}', ""));
        assert!(text.contains("pin 1") && text.contains("EOF while parsing"), "{text}");
    }

    #[test]
    fn nothing_is_no_pin() {
        assert_eq!(rows(" \n").expect("read"), []);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Lines as `state export` writes them; older versions wrote fewer keys, and others may stand between them.
        #[test]
        fn any_export_is_read_back(
            pins in proptest::collection::btree_map(any::<u32>(), (".{0,12}", -1..4, any::<bool>(), 0..2_000_000_000_i64), 0..6),
            old in any::<bool>(), at in any::<usize>(), byte in any::<u8>(),
        ) {
            let pin = |(number, (name, factor, direct, secs)): (&u32, &(String, i32, bool, i64))| {
                let mut pin = Pin::new(cid(*number), PinOptions { name: name.clone(), ..PinOptions::default() });
                (pin.options.replication_factor_min, pin.options.replication_factor_max) = (*factor, *factor);
                pin.max_depth = if *direct { 0 } else { -1 };
                pin.options.mode = PinMode::from_max_depth(pin.max_depth);
                pin.timestamp = if *secs == 0 { Timestamp::ZERO } else { Timestamp::from_unix(*secs, 0) };
                pin
            };
            let given: Vec<Pin> = pins.iter().map(pin).collect();
            let mut export = Vec::new();
            for pin in &given {
                pin.write_json(&mut export);
                export.push(b'\n');
            }
            let mut text = String::from_utf8(export).expect("JSON");
            if old {
                // Before there were origins, updates and lists of users.
                for key in ["\"user_allocations\":null,", "\"pin_update\":null,", "\"origins\":null,", "\"expire_at\":\"0001-01-01T00:00:00Z\","] {
                    text = text.replace(key, "");
                }
            }
            let found = rows(&text).expect("read");
            let stored = |pin: &Pin| (pin.cid, Pin::from_proto(&pin.to_proto(), None).expect("own form"));
            prop_assert_eq!(found, given.iter().map(stored).collect::<Vec<_>>());

            let mut spoiled = text.into_bytes();
            let at = at % spoiled.len().max(1);
            if let Some(place) = spoiled.get_mut(at) {
                *place = byte;
            }
            let _either = Checked::read(&mut &spoiled[..], &Overrides::default());
        }
    }
}
