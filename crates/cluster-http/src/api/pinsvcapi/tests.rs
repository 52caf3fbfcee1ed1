//! What needs no peer: ids and times, filters, pages, bodies, replacements. The rest is tried against a running peer.

use super::list::length;
use super::model::{PinStatus, RequestId, Status, Wanted, created, without_strangers};
use super::pins::successor;
use super::query::Query;
use cluster_types::{Cid, GlobalPinInfo, PeerId, Pin, PinInfoShort, PinOptions, PinType, Timestamp, TrackerStatus};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const FIRST: &str = "bafkreiduh5by5jt73mw4k6jl75dhefij62t2pguiau7jfw6ovtbqgotuje";
const SECOND: &str = "bafkreicpwgceai4whiaiveeceo7umovtkwkc4raryaonyqfw7paehhi44q";

fn cid(text: &str) -> Cid {
    text.parse().expect("a CID")
}

fn pin(text: &str, name: &str) -> Pin {
    let metadata = Some(BTreeMap::from([("k".to_owned(), "v".to_owned()), ("j".to_owned(), "w".to_owned())]));
    let options = PinOptions { name: name.into(), metadata, replication_factor_min: 2, ..PinOptions::default() };
    Pin { timestamp: Timestamp::from_unix(1_000, 7), ..Pin::new(cid(text), options) }
}

fn wanted(text: &str) -> Wanted {
    Wanted::read(text.as_bytes()).expect("a body")
}

fn query(pairs: &[(&str, &str)]) -> Result<Query, String> {
    Query::read(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
}

fn fits(pairs: &[(&str, &str)], pin: &Pin) -> bool {
    query(pairs).expect("right").time_of(pin).is_some()
}

fn states(of: &[TrackerStatus]) -> GlobalPinInfo {
    let short = |status: &TrackerStatus| PinInfoShort { status: *status, ..PinInfoShort::default() };
    let peer_map = of.iter().map(|status| (PeerId::random(), short(status))).collect();
    GlobalPinInfo { peer_map, ..GlobalPinInfo::default() }
}

#[test]
fn times_of_one_second_differ_and_are_the_same_whatever_fraction_the_peer_knows() {
    let (one, other) = (pin(FIRST, "x"), pin(SECOND, "x"));
    let stored = Pin { timestamp: one.timestamp.trunc_secs(), ..one.clone() };

    assert_eq!(created(&one), created(&stored));
    assert_eq!(created(&one).unix_secs(), 1_000);
    assert_ne!(created(&one), created(&other));
    assert_ne!(created(&one), created(&pin(FIRST, "y")));
}

#[test]
fn an_id_means_the_pin_as_it_was_made_and_a_bare_cid_any_pin_of_it() {
    let (old, new) = (pin(FIRST, "x"), Pin { timestamp: Timestamp::from_unix(1_001, 0), ..pin(FIRST, "x") });
    let id = RequestId::of(&old);
    let read = RequestId::read(&id.to_string()).expect("an id");

    assert_eq!(read, id);
    assert!(id.to_string().starts_with(&format!("{FIRST}.3e8")), "{id}");
    assert!(read.means(&old) && !read.means(&new) && !read.means(&pin(FIRST, "renamed")));
    let bare = RequestId::read(FIRST).expect("an id of the reference");
    assert!(bare.means(&old) && bare.means(&new) && !bare.means(&pin(SECOND, "x")));
}

#[test]
fn ids_that_make_no_sense_are_refused() {
    let long = "z".repeat(100_000);
    for wrong in ["", ".", "bad", "bad.3e8", &format!("{FIRST}."), &format!("{FIRST}.xyz"), &long] {
        assert!(RequestId::read(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn names_are_matched_in_four_ways() {
    let named = pin(FIRST, "Grüße.PDF");
    for (how, name, fitting) in [
        ("exact", "Grüße.PDF", true),
        ("exact", "grüße.pdf", false),
        ("iexact", "GRÜßE.pdf", true),
        ("iexact", "grüße", false),
        ("partial", "üße.P", true),
        ("partial", "pdf", false),
        ("ipartial", "E.pdf", true),
        ("ipartial", "other", false),
    ] {
        assert_eq!(fits(&[("name", name), ("match", how)], &named), fitting, "{how} {name}");
    }
    assert!(fits(&[("name", "Grüße.PDF")], &named) && !fits(&[("name", "grüße.pdf")], &named));
}

#[test]
fn before_and_after_leave_out_their_own_moment() {
    let pin = pin(FIRST, "x");
    let at = created(&pin);
    let (earlier, later) = (Timestamp::from_unix(999, 0).to_string(), Timestamp::from_unix(1_001, 0).to_string());

    assert!(!fits(&[("before", &at.to_string())], &pin) && !fits(&[("after", &at.to_string())], &pin));
    assert!(fits(&[("before", &later)], &pin) && !fits(&[("before", &earlier)], &pin));
    assert!(fits(&[("after", &earlier)], &pin) && !fits(&[("after", &later)], &pin));
}

#[test]
fn all_words_of_meta_must_be_there_and_parts_of_sharded_items_are_no_pins() {
    let pin = pin(FIRST, "x");
    assert!(fits(&[("meta", r#"{"k":"v"}"#)], &pin) && fits(&[("meta", "{}")], &pin));
    assert!(!fits(&[("meta", r#"{"k":"v","z":"v"}"#)], &pin) && !fits(&[("meta", r#"{"k":"w"}"#)], &pin));
    assert!(!fits(&[], &Pin { kind: PinType::Shard, ..pin.clone() }));
    assert!(fits(&[("cid", FIRST), ("name", "x"), ("limit", "3")], &pin));
}

#[test]
fn parameters_that_make_no_sense_are_named() {
    let (long, many) = ("n".repeat(256), vec![FIRST; 1001].join(","));
    for (name, value) in [
        ("cid", "bad"),
        ("cid", "bad,"),
        ("cid", &many),
        ("name", &long),
        ("match", "odd"),
        ("status", "bad"),
        ("status", "pinned,bad"),
        ("status", "PINNED"),
        ("before", "bad"),
        ("before", "2099-01-01"),
        ("after", "1"),
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", "-1"),
        ("limit", "x"),
        ("limit", "99999999999999999999"),
        ("meta", "bad"),
        ("meta", "[]"),
        ("meta", r#"{"k":1}"#),
    ] {
        let error = query(&[(name, value)]).expect_err(name);
        assert!(error.contains(name) || error.contains("CIDs"), "{name}: {error}");
    }
    let query = query(&[("status", "pinned,failed"), ("limit", "1000")]).expect("right");
    assert_eq!((query.limit, query.statuses), (1000, BTreeSet::from([Status::Pinned, Status::Failed])));
}

#[test]
fn bodies_that_make_no_sense_are_refused() {
    let with = |rest: &str| format!(r#"{{"cid":"{FIRST}"{rest}}}"#);
    let origins = vec![r#""/ip4/1.2.3.4/tcp/1""#; 21].join(",");
    for wrong in [
        String::new(),
        "x".into(),
        "null".into(),
        format!(r#"["{FIRST}"]"#),
        format!(r#"["{FIRST}",null,null,null]"#),
        "{}".into(),
        r#"{"name":"x"}"#.into(),
        r#"{"cid":"bad"}"#.into(),
        r#"{"cid":1}"#.into(),
        with(r#","name":1"#),
        with(&format!(r#","name":"{}""#, "n".repeat(256))),
        with(r#","origins":"x""#),
        with(r#","origins":["x"]"#),
        with(&format!(r#","origins":[{origins}]"#)),
        with(r#","meta":[]"#),
        with(r#","meta":{"a":1}"#),
        with("") + "x",
    ] {
        assert!(Wanted::read(wrong.as_bytes()).is_err(), "{wrong}");
    }
    // Characters are counted, not bytes; null is nothing; other fields are passed over.
    wanted(&with(&format!(r#","name":"{}""#, "ß".repeat(255))));
    let nothing = wanted(&with(r#","name":null,"origins":null,"meta":null,"requestid":"x""#));
    assert_eq!(nothing, wanted(&with("")));
}

#[test]
fn the_worst_that_a_peer_says_counts_and_what_has_not_begun_is_queued() {
    use TrackerStatus as T;
    for (said, status) in [
        (&[T::PINNED, T::REMOTE][..], Status::Pinned),
        (&[T::PINNED, T::PINNING], Status::Pinning),
        (&[T::PINNING, T::PIN_QUEUED], Status::Queued),
        (&[T::PINNED, T::PIN_ERROR, T::PIN_QUEUED], Status::Failed),
        (&[T::PINNED, T::CLUSTER_ERROR], Status::Failed),
        (&[T::UNEXPECTEDLY_UNPINNED], Status::Queued),
        (&[T::REMOTE], Status::Queued),
        (&[], Status::Queued),
    ] {
        assert_eq!(Status::of(Some(&states(said))), status, "{said:?}");
    }
    assert_eq!(Status::of(None), Status::Queued);
}

#[test]
fn a_daemon_without_an_address_is_named_by_its_id_and_delegates_are_few() {
    let mut info = states(&[TrackerStatus::PINNED; 30]);
    let (id, address) = (PeerId::random(), "/ip4/10.0.0.1/tcp/4001");
    let mut peers = info.peer_map.values_mut();
    peers.next().expect("a peer").ipfs_peer_id = Some(id);
    for number in 0..29 {
        let address = format!("{address}/p2p/{}", if number == 0 { id } else { PeerId::random() });
        peers.next().expect("a peer").ipfs_peer_addresses = vec![address.parse().expect("an address")];
    }
    let told = |info: &GlobalPinInfo| serde_json::to_value(PinStatus::new(&pin(FIRST, "x"), Some(info))).expect("JSON");

    assert_eq!(told(&info)["delegates"].as_array().map(Vec::len), Some(20));
    info.peer_map.values_mut().for_each(|peer| peer.ipfs_peer_addresses.clear());
    assert_eq!(told(&info)["delegates"], serde_json::json!([format!("/p2p/{id}")]));
}

#[test]
fn a_peer_that_is_away_makes_only_those_pins_fail_that_it_shall_hold() {
    let info = states(&[TrackerStatus::PINNED, TrackerStatus::CLUSTER_ERROR]);
    let held_by = |allocations: Vec<PeerId>| {
        let pin = Pin { allocations, ..pin(FIRST, "x") };
        Status::of(Some(&without_strangers(info.clone(), &pin)))
    };
    let having = |status| info.peer_map.iter().find(|(_, short)| short.status == status).map(|(peer, _)| *peer);
    let (here, away) = (having(TrackerStatus::PINNED), having(TrackerStatus::CLUSTER_ERROR));

    assert_eq!(held_by(here.into_iter().collect()), Status::Pinned);
    assert_eq!(held_by(here.into_iter().chain(away).collect()), Status::Failed);
    assert_eq!(held_by(Vec::new()), Status::Failed);
}

#[test]
fn a_replacement_keeps_what_the_body_does_not_say() {
    let old = Pin { allocations: vec![PeerId::random()], ..pin(FIRST, "old") };

    let plain = successor(&old, &wanted(&format!(r#"{{"cid":"{SECOND}","name":"new"}}"#)));
    assert_eq!((plain.options.pin_update, plain.options.name.as_str()), (Some(old.cid), "new"));

    let other = successor(&old, &wanted(&format!(r#"{{"cid":"{SECOND}","meta":{{"z":"y"}}}}"#)));
    assert_eq!((other.cid, &other.allocations, other.options.pin_update), (cid(SECOND), &old.allocations, None));
    assert_eq!((other.options.name.as_str(), other.options.replication_factor_min), ("old", 2));
    assert_eq!(other.options.metadata, Some(BTreeMap::from([("z".to_owned(), "y".to_owned())])));

    let itself = successor(&old, &wanted(&format!(r#"{{"cid":"{FIRST}","name":"itself"}}"#)));
    assert_eq!((itself.options.pin_update, itself.options.name.as_str()), (None, "itself"));
    assert_eq!(itself.options.metadata, old.options.metadata);
}

/// A client that asks for page after page sees each pin once, also where it cuts times to milliseconds.
#[test]
fn pages_follow_each_other_without_a_gap_or_an_overlap() {
    // Ten pins a second, three of which share a millisecond, and two even their time.
    let fraction = |n: u32| if n % 10 < 3 { 500_000_000 + (n % 10 / 2) * 1_000 } else { n % 10 * 90_000_000 };
    let mut times: Vec<Timestamp> = (0..100).map(|n| Timestamp::from_unix(i64::from(n / 10), fraction(n))).collect();
    times.sort();
    times.reverse();
    for (limit, cut_to_millis) in [(1, false), (3, true), (7, true), (10, true), (99, true), (200, true)] {
        let (mut seen, mut before) = (Vec::new(), Timestamp::from_unix(1_000, 0));
        loop {
            let left: Vec<Timestamp> = times.iter().copied().filter(|time| *time < before).collect();
            let page = &left[..length(&left, limit)];
            assert!(page.len() <= limit);
            let Some(oldest) = page.last() else { break };
            let nanos = oldest.subsec_nanos();
            let nanos = if cut_to_millis { nanos / 1_000_000 * 1_000_000 } else { nanos };
            before = Timestamp::from_unix(oldest.unix_secs(), nanos);
            seen.extend_from_slice(page);
        }
        // With one pin a page, two of the very same time cannot both be shown; all others are.
        let expected = if limit == 1 { 90 } else { 100 };
        assert_eq!(seen.len(), expected, "limit {limit}");
    }
}

proptest! {
    #[test]
    fn any_request_is_read_back_and_what_is_almost_one_is_no_panic(
        seed in any::<[u8; 32]>(), name in proptest::option::of(".{0,20}"), ports in proptest::collection::vec(any::<u16>(), 0..4),
        meta in proptest::option::of(proptest::collection::btree_map(".{0,6}", ".{0,6}", 0..4)),
        at in any::<usize>(), byte in any::<u8>(), query in ".{0,40}",
    ) {
        let cid = Cid::from_bytes(&[&[0x01, 0x55, 0x12, 0x20], &seed[..]].concat()).expect("a CID");
        let origins = ports.iter().map(|port| format!("/ip4/10.0.0.1/tcp/{port}").parse().expect("an address")).collect();
        let wanted = Wanted { cid, name, origins: Some(origins), meta };
        let mut body = serde_json::to_vec(&wanted).expect("JSON");
        prop_assert_eq!(Wanted::read(&body), Ok(wanted));

        let at = at % body.len();
        body[at] = byte;
        let _either = (Wanted::read(&body), Wanted::read(&body[..at]), RequestId::read(&query).is_ok());
    }
}
