//! The forms against bytes that the reference wrote, and against nonsense.

use super::*;
use crate::{Cid, Metric, PeerId, PeerInfo, Pin, PinInfo, RepoGc, RepoStat, Timestamp, TrackerStatus, Version};
use proptest::prelude::*;

/// Reads what was recorded of a type, and writes it again.
fn again(kind: &str, bytes: &[u8]) -> Option<Result<Vec<u8>, Malformed>> {
    fn round<T: Pack + Unpack>(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
        T::from_msgpack(bytes).map(|value| value.to_msgpack())
    }
    Some(match kind {
        "struct{}" => round::<()>(bytes),
        "api.Cid" => round::<Cid>(bytes),
        "peer.ID" => round::<PeerId>(bytes),
        "[]peer.ID" => round::<Vec<PeerId>>(bytes),
        "api.Pin" => round::<Pin>(bytes),
        "api.PinInfo" => round::<PinInfo>(bytes),
        "api.ID" => round::<PeerInfo>(bytes),
        "api.RepoGC" => round::<RepoGc>(bytes),
        "api.IPFSRepoStat" => round::<RepoStat>(bytes),
        "api.Version" => round::<Version>(bytes),
        "api.TrackerStatus" => round::<TrackerStatus>(bytes),
        "api.Metric" => round::<Metric>(bytes),
        _ => return None,
    })
}

/// Values that the reference can write and that mean nothing here: they are refused, or come back in another form.
const OTHERWISE: [(&str, &str); 14] = [
    // It writes a text that was set and is empty.
    ("api.ID", ""),
    // The reference writes the entries of a map in no order.
    ("api.Pin", "full"),
    ("api.Cid", "undef"),
    ("peer.ID", "empty"),
    ("[]peer.ID", "nil"),
    ("api.Pin", "zero"),
    ("api.PinInfo", "zero"),
    ("api.PinInfo", ""),
    ("api.RepoGC", "nil keys"),
    ("api.Metric", "zero"),
    ("api.Metric", "freespace as stored by receiver (ReceivedAt set)"),
    ("api.ID", "zero"),
    ("api.RepoGC", "zero"),
    ("api.Version", "zero"),
];

#[test]
fn what_the_reference_writes_is_read_and_written_alike() {
    let recorded: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("../../tests/data/msgpack_types.json")).expect("JSON");
    let (mut equal, mut otherwise) = (0, 0);
    for row in &recorded {
        let (kind, note) = (row["type"].as_str().unwrap_or_default(), row["note"].as_str().unwrap_or_default());
        let bytes = hex::decode(row["msgpack_hex"].as_str().unwrap_or_default()).expect("hex");
        assert_eq!(measure(&bytes), Ok(Some(bytes.len())), "{kind} {note}");
        match again(kind, &bytes) {
            None => {}
            Some(written) if OTHERWISE.contains(&(kind, note)) => {
                let same = written.as_ref().ok().and_then(|written| again(kind, written));
                assert!(same.is_none_or(|same| same == written), "{kind} {note}: what was written is read alike");
                otherwise += usize::from(written != Ok(bytes));
            }
            Some(written) => {
                assert_eq!(written.map(hex::encode), Ok(hex::encode(&bytes)), "{kind} {note}");
                equal += 1;
            }
        }
    }
    assert!(equal >= 20, "{equal} equal, {otherwise} otherwise");
}

#[test]
fn times_are_written_in_their_shortest_form_and_read_in_every_one() {
    let cases = [
        ("a400000000", Timestamp::from_unix(0, 0)),
        ("a46553f100", Timestamp::from_unix(1_700_000_000, 0)),
        ("a81d6f34546553f100", Timestamp::from_unix(1_700_000_000, 123_456_789)),
        ("ac0000000500000004a817c800", Timestamp::from_unix(20_000_000_000, 5)),
        ("ac00000000ffffffffffffffff", Timestamp::from_unix(-1, 0)),
        ("c0", Timestamp::ZERO),
    ];
    for (hex, time) in cases {
        let mut out = Writer::default();
        out.time(time);
        assert_eq!(hex::encode(out.into_bytes()), hex);
        assert_eq!(Reader::new(&hex::decode(hex).expect("hex")).time(), Ok(time));
    }
    for form in ["d6ff6553f100", "c4046553f100"] {
        let bytes = hex::decode(form).expect("hex");
        assert_eq!(Reader::new(&bytes).time(), Ok(Timestamp::from_unix(1_700_000_000, 0)), "{form}");
    }
}

#[test]
fn a_value_is_measured_without_believing_its_lengths() {
    assert_eq!(measure(&[0x92, 1]), Ok(None));
    assert_eq!(measure(&[0x92, 1, 2, 3]), Ok(Some(3)));
    assert_eq!(measure(&[0xdd, 0xff, 0xff, 0xff, 0xff, 1]), Ok(None));
    assert!(measure(&[0x91; 100]).is_err(), "nested too deep");
    assert!(measure(&[0xc1]).is_err());
    assert!(<Vec<PeerId>>::from_msgpack(&[0xdd, 0xff, 0xff, 0xff, 0xff]).is_err());
}

proptest! {
    #[test]
    fn nonsense_is_refused_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for kind in ["api.Pin", "api.PinInfo", "api.ID", "api.RepoGC", "api.Metric", "struct{}", "[]peer.ID"] {
            let _either = again(kind, &bytes);
        }
        let _either = measure(&bytes);
    }

    #[test]
    fn whole_numbers_come_back(number in any::<i64>(), unsigned in any::<u64>()) {
        let mut out = Writer::default();
        out.int(number);
        out.uint(unsigned);
        let bytes = out.into_bytes();
        let mut input = Reader::new(&bytes);
        prop_assert_eq!((input.int(), input.uint()), (Ok(number), Ok(unsigned)));
        prop_assert!(input.is_empty());
    }
}
