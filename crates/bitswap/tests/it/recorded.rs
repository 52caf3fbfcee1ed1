//! An exchange with the reference, as it was recorded: every message is understood, and comes out as it went in.

use bitswap::{Presence, Version, read_message, write_message};
use futures::executor::block_on;
use serde_json::Value;

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}

#[test]
fn every_recorded_message_is_understood_and_written_alike() {
    let recorded: Value = serde_json::from_str(include_str!("../data/exchange.json")).expect("the recording");
    let events = recorded["events"].as_array().expect("events");
    let (mut messages, mut missing) = (0, 0);

    for event in events.iter().filter(|event| event["protocol"] == "/ipfs/bitswap/1.2.0") {
        // Large frames were cut when they were recorded.
        let Some(hex) = event["hex"].as_str().filter(|hex| hex.chars().all(|c| c.is_ascii_hexdigit())) else {
            continue;
        };
        let bytes = bytes(hex);
        let mut input = bytes.as_slice();
        while let Ok(Some(message)) = block_on(read_message(&mut input)) {
            let mut written = Vec::new();
            block_on(write_message(&mut written, &message, Version::V1_2_0)).expect("written");
            assert!(bytes.windows(written.len()).any(|part| part == written), "{message:?}");
            messages += 1;
            missing += message.presences.iter().filter(|(_, presence)| *presence == Presence::DontHave).count();
        }
    }

    assert_eq!((messages, missing), (7, 1));
}
