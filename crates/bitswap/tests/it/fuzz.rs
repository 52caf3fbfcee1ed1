//! Messages that are almost right: refused, or understood as something that can be said again.

use bitswap::{BLOCK_MAX, Message, Version, is_named};
use bytes::Bytes;
use cluster_testkit::mutate::fuzz;

/// A message of everything that there is, in each form.
fn samples() -> Vec<Vec<u8>> {
    use bitswap::{Entry, Presence, Want};
    let cid: cid::Cid = "bafkreif2kmx7me6x35mzczmj4op4nxe5y4nwdp372ffczggbfqrcu3h5he".parse().expect("a CID");
    let old: cid::Cid = "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN".parse().expect("a CID");
    let entry = Entry { cid, priority: 7, cancel: false, want: Want::Have, send_dont_have: true };
    let message = Message {
        full: true,
        wants: vec![entry, Entry { cid: old, cancel: true, want: Want::Block, ..entry }],
        blocks: vec![(cid, Bytes::from_static(b"a block")), (old, Bytes::from_static(b""))],
        presences: vec![(cid, Presence::Have), (old, Presence::DontHave)],
        pending_bytes: 9,
    };
    [Version::V1_0_0, Version::V1_1_0, Version::V1_2_0].map(|version| message.encode(version)).into()
}

#[test]
fn fuzz_messages() {
    let samples = samples();
    let samples: Vec<&[u8]> = samples.iter().map(|sample| &sample[..]).collect();
    fuzz("the reader of messages", &samples, |bytes| {
        let Ok(message) = Message::decode(Bytes::copy_from_slice(bytes)) else { return };
        for (cid, data) in &message.blocks {
            assert!(is_named(cid, data) && data.len() <= BLOCK_MAX, "{cid} is not checked");
        }
        assert_eq!(Message::decode(message.encode(Version::V1_2_0).into()).as_ref(), Ok(&message));
    });
}
