//! Messages as the reference writes them, and bytes that are none.

use super::*;

fn bytes(hex: &str) -> Bytes {
    let hex: String = hex.split_whitespace().collect();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}

/// The CID of the reference's recorded messages.
fn recorded_cid() -> Cid {
    let bytes = bytes("01701220 c3c4733ec8affd06cf9e9ff50ffc6bcd2ec85a6170004bb709669c31de94391a");
    Cid::try_from(&bytes[..]).expect("a CID")
}

fn entry(want: Want, cancel: bool, priority: i32, send_dont_have: bool) -> Entry {
    Entry { cid: recorded_cid(), priority, cancel, want, send_dont_have }
}

/// Each as the reference sends it, without the length before it.
#[test]
fn messages_are_the_references_byte_for_byte() {
    let cid = "0a24 01701220 c3c4733ec8affd06cf9e9ff50ffc6bcd2ec85a6170004bb709669c31de94391a";
    let wants = |wants: Vec<Entry>| Message { wants, ..Message::default() };
    let tells = |presence| Message { presences: vec![(recorded_cid(), presence)], ..Message::default() };
    let cases = [
        (wants(vec![entry(Want::Have, false, i32::MAX, false)]), format!("0a30 0a2e {cid} 10ffffffff07 2001")),
        (wants(vec![entry(Want::Block, false, i32::MAX - 1, true)]), format!("0a30 0a2e {cid} 10feffffff07 2801")),
        (wants(vec![entry(Want::Block, true, 0, false)]), format!("0a2a 0a28 {cid} 1801")),
        (tells(Presence::Have), format!("0a00 2226 {cid}")),
        (tells(Presence::DontHave), format!("0a00 2228 {cid} 1001")),
    ];
    for (message, hex) in cases {
        assert_eq!(Bytes::from(message.encode(Version::V1_2_0)), bytes(&hex));
        assert_eq!(Message::decode(bytes(&hex)), Ok(message));
    }
}

#[test]
fn blocks_are_named_by_their_own_bytes() {
    let data = Bytes::from_static(b"some bytes");
    let cid = Cid::new_v1(DAG_PB, Code::Sha2_256.digest(&data));
    let message = Message { blocks: vec![(recorded_cid(), data.clone())], ..Message::default() };

    for version in [Version::V1_1_0, Version::V1_2_0] {
        let encoded = message.encode(version);
        assert_eq!(encoded[..12], bytes("0a00 1a12 0a04 01701220 120a")[..]);
        assert_eq!(Message::decode(encoded.into()).expect("a message").blocks, [(cid, data.clone())]);
    }
    let old = Message::decode(message.encode(Version::V1_0_0).into()).expect("a message");
    assert_eq!(old.blocks, [(Cid::new_v0(*cid.hash()).expect("version 0"), data)]);
}

#[test]
fn older_peers_are_asked_in_words_that_they_know() {
    let message = Message {
        wants: vec![entry(Want::Have, false, 5, true)],
        presences: vec![(recorded_cid(), Presence::Have)],
        ..Message::default()
    };

    let read = Message::decode(message.encode(Version::V1_1_0).into()).expect("a message");

    assert_eq!(read.wants, [entry(Want::Block, false, 5, false)]);
    assert_eq!(read.presences, []);
}

#[test]
fn nonsense_is_refused_with_a_reason() {
    let large = Message { blocks: vec![(recorded_cid(), vec![0; BLOCK_MAX + 1].into())], ..Message::default() };
    for (bytes, told) in [
        (bytes("ff"), "no message"),
        (bytes("0a08 0a06 0a04 01020304"), "a CID that is none"),
        (bytes("1a06 0a04 02701220"), "unknown CID version 2"),
        (bytes("1a07 0a05 0170ff7e20"), "unknown hash function"),
        (bytes("1a04 0a02 0170"), "prefix"),
        (large.encode(Version::V1_2_0).into(), "a block of 2097153 bytes"),
    ] {
        let error = Message::decode(bytes).expect_err("refused").to_string();
        assert!(error.contains(told), "{error}");
    }
}
