//! A metric as peers send it.

use cluster_types::Metric;
use cluster_types::msgpack::{Malformed, Pack, Unpack};

/// Most bytes of a metric. Those of the reference have some hundred.
const BYTES_MAX: usize = 64 * 1024;

/// Before its version 0.13.4 the reference put this before a metric.
const OLD_PREFIX: &[u8] = b"\x09/msgpack\n";

/// Writes a metric.
pub(super) fn encode(metric: &Metric) -> Vec<u8> {
    metric.to_msgpack()
}

/// Reads a metric.
pub(super) fn decode(message: &[u8]) -> Result<Metric, Malformed> {
    if message.len() > BYTES_MAX {
        return Err(Malformed::new("it is too large for a metric"));
    }
    Metric::from_msgpack(message.strip_prefix(OLD_PREFIX).unwrap_or(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_types::Timestamp;

    const PEER: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";

    fn metric() -> Metric {
        Metric {
            name: "ping".into(),
            peer: PEER.parse().expect("a peer"),
            value: "{\"peer_name\":\"peer1\"}".into(),
            expire: Timestamp::from_unix_nanos(0x1797_9d05_39a9_7915),
            valid: true,
            weight: 0,
            partitionable: false,
            received_at: Timestamp::ZERO,
        }
    }

    /// Bytes that the reference wrote.
    fn golden() -> Vec<u8> {
        let hex = "85a16ea470696e67a170da00260024080112208a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c\
                   a176b57b22706565725f6e616d65223a227065657231227da165d317979d0539a97915a164c3";
        hex::decode(hex).expect("digits")
    }

    #[test]
    fn a_metric_is_written_and_read_as_the_reference_does() {
        assert_eq!(encode(&metric()), golden());
        assert_eq!(decode(&golden()), Ok(metric()));
        assert_eq!(decode(&[OLD_PREFIX, &golden()].concat()), Ok(metric()));
    }

    #[test]
    fn every_kind_of_number_comes_back() {
        for weight in [0, 1, 127, 128, 255, 40_000, 3_000_000_000, i64::MAX, -1, -33, -200, -40_000, i64::MIN] {
            let metric = Metric { weight, partitionable: true, value: "x".repeat(300), ..metric() };
            assert_eq!(decode(&encode(&metric)), Ok(metric));
        }
        assert_eq!(encode(&Metric { weight: 128, ..metric() })[golden().len()..], [0xa1, b'w', 0xd1, 0, 0x80]);
    }

    #[test]
    fn what_is_not_known_is_passed_over_and_nonsense_refused() {
        let mut more = golden();
        more[0] = 0x86;
        more.extend_from_slice(&[0xa1, b'z', 0x82, 0xa1, b'a', 0x93, 1, 2, 3, 0xa1, b'b', 0xc0]);
        assert_eq!(decode(&more), Ok(metric()));

        for length in 0..golden().len() {
            assert!(decode(&golden()[..length]).is_err(), "{length} bytes");
        }
        assert!(decode(&[0x81, 0xa1, b'z', 0xdd, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(decode(&[[0x81, 0xa1, b'z'].as_slice(), &[0x91; 100]].concat()).is_err());
        assert!(decode(&[0x80]).is_err(), "a metric is of a peer");
    }
}
