//! Bytes that are almost right, for readers of what strangers send: samples, changed in ways that a seed decides. Runs on
//! the stable compiler, a fixed count at a time; `cargo xtask fuzz` runs more.

use crate::Chance;

/// Inputs of a run when nothing else is asked for: a second or so for each reader.
const COUNT: u64 = 2_000;

/// Most changes to a sample.
const CHANGES_MAX: u64 = 8;

/// Most bytes that one change puts in.
const INSERT_MAX: u64 = 64;

/// Numbers at which readers of lengths go wrong, as varints.
const VARINTS: &[&[u8]] = &[
    &[0],
    &[1],
    &[0x7f],
    &[0x80, 0x01],
    &[0x80, 0x00],
    &[0xff, 0xff, 0x03],
    &[0x80, 0x80, 0x80, 0x01],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
];

/// Hands changed samples to a reader, which panics when it finds itself wrong; then the number of the input is printed,
/// and `CLUSTER_FUZZ_FIRST=<number> CLUSTER_FUZZ_COUNT=1` plays it again. Each sample comes once as it is.
///
/// # Panics
/// When there are no samples, the reader panics, or a variable is no number.
pub fn fuzz(reader: &str, samples: &[&[u8]], mut read: impl FnMut(&[u8])) {
    let number = |name: &str, other| match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is to be a number, not {text:?}")),
        Err(_) => other,
    };
    let (first, count) = (number("CLUSTER_FUZZ_FIRST", 0), number("CLUSTER_FUZZ_COUNT", COUNT));
    for sample in samples {
        read(sample);
    }
    for at in first..first.saturating_add(count) {
        let telling = Telling { reader, at };
        read(&changed(samples, at));
        drop(telling);
    }
}

/// Tells the number of the input that a reader panics at.
struct Telling<'a> {
    reader: &'a str,
    at: u64,
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { reader, at } = self;
            eprintln!("{reader} failed at input {at}: play it again with CLUSTER_FUZZ_FIRST={at} CLUSTER_FUZZ_COUNT=1");
        }
    }
}

/// The input of this number.
fn changed(samples: &[&[u8]], number: u64) -> Vec<u8> {
    let chance = Chance::new(number.wrapping_mul(0x9e37_79b9).wrapping_add(7));
    let mut bytes = samples[chance.place(samples.len())].to_vec();
    for _ in 0..=chance.below(CHANGES_MAX) {
        change(&mut bytes, samples, &chance);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, samples: &[&[u8]], chance: &Chance) {
    // Mostly near the front, where the headers are.
    let near = if chance.per_mille(500) { bytes.len().min(64) } else { bytes.len() };
    let from = chance.place(near + 1);
    let to = (from + chance.place(INSERT_MAX as usize)).min(bytes.len());
    match chance.below(8) {
        0 if from < bytes.len() => bytes[from] ^= 1 << chance.below(8),
        1 if from < bytes.len() => bytes[from] = [0, 1, 0x7f, 0x80, 0xff, b'\n', b'/', b'-'][chance.place(8)],
        2 => drop(bytes.drain(from..to)),
        3 => {
            let again = bytes[from..to].to_vec();
            drop(bytes.splice(from..from, again));
        }
        4 => bytes.truncate(from),
        5 => {
            let varint = VARINTS[chance.place(VARINTS.len())];
            let end = (from + chance.place(2)).min(bytes.len());
            drop(bytes.splice(from..end, varint.iter().copied()));
        }
        6 => {
            let other = samples[chance.place(samples.len())];
            let begin = chance.place(other.len() + 1);
            let end = (begin + chance.place(INSERT_MAX as usize)).min(other.len());
            drop(bytes.splice(from..to, other[begin..end].iter().copied()));
        }
        _ => {
            let random: Vec<u8> = (0..chance.below(INSERT_MAX)).map(|_| chance.below(256) as u8).collect();
            drop(bytes.splice(from..from, random));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn the_same_number_is_the_same_input_and_inputs_differ() {
        let samples: [&[u8]; 2] = [b"one sample of some length", b"another"];
        assert_eq!(changed(&samples, 5), changed(&samples, 5));
        let different: HashSet<Vec<u8>> = (0..500).map(|number| changed(&samples, number)).collect();
        assert!(different.len() > 400, "{}", different.len());
    }

    #[test]
    fn a_reader_that_trusts_a_length_is_found() {
        let trusting = |bytes: &[u8]| {
            if let Some((length, rest)) = bytes.split_first() {
                std::hint::black_box(&rest[..usize::from(*length)]);
            }
        };
        let found = catch_unwind(AssertUnwindSafe(|| fuzz("trusting", &[b"\x05hello"], trusting)));
        assert!(found.is_err());
    }
}
