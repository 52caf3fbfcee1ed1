//! The reference's text forms, to the letter, since scripts read them.

use super::human;
use cluster_types::{
    Added, Alert, BandwidthByProtocol, Explanation, GlobalPinInfo, GlobalRepoGc, Metric, PeerInfo, Pin, PinMode,
    PinProgress, PinType, ProtocolBandwidth, StateDigest, Timestamp, TrackerStatus, Version,
};
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// What has a text form.
pub(crate) trait Text {
    /// One or more whole lines.
    fn text(&self) -> String;
}

/// Adds a line. Writing to a text cannot fail.
macro_rules! line {
    ($out:expr, $($arg:tt)*) => {{ let _cannot_fail = writeln!($out, $($arg)*); }};
}

impl Text for PeerInfo {
    fn text(&self) -> String {
        let mut out = String::new();
        let id = self.id.map(|id| id.to_string()).unwrap_or_default();
        if !self.error.is_empty() {
            line!(out, "{id} | ERROR: {}", self.error);
            return out;
        }
        let others = self.cluster_peers.as_ref().map_or(0, Vec::len) as i64 - 1;
        line!(out, "{id} | {} | Sees {others} other peers", self.peername);
        line!(out, "  > Addresses:");
        write_addresses(&mut out, self.addresses.as_deref().unwrap_or_default());
        if !self.ipfs.error.is_empty() {
            line!(out, "  > IPFS ERROR: {}", self.ipfs.error);
            return out;
        }
        line!(out, "  > IPFS: {}", self.ipfs.id.map(|id| id.to_string()).unwrap_or_default());
        write_addresses(&mut out, self.ipfs.addresses.as_deref().unwrap_or_default());
        out
    }
}

fn write_addresses<T: ToString>(out: &mut String, addresses: &[T]) {
    let mut texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.sort();
    for text in texts {
        line!(out, "    - {text}");
    }
}

impl Text for GlobalPinInfo {
    fn text(&self) -> String {
        let mut out = String::new();
        // As the reference: a CID that is not known prints as its base's letter.
        let cid = self.cid.map_or_else(|| "b".to_owned(), |cid| cid.to_string());
        match self.name.as_str() {
            "" => line!(out, "{cid}:"),
            name => line!(out, "{cid} | {name}:"),
        }
        let mut peers: Vec<_> = self.peer_map.iter().map(|(peer, info)| (peer.to_string(), info)).collect();
        peers.sort_by(|a, b| a.0.cmp(&b.0));
        for (peer, info) in peers {
            let name = if info.peername.is_empty() { &peer } else { &info.peername };
            let status = status_word(info.status);
            let error = if info.error.is_empty() { String::new() } else { format!(": {}", info.error) };
            let progress = info.progress.map(progress).unwrap_or_default();
            line!(
                out,
                "    > {name:<20} : {status}{error}{progress} | {} | Attempts: {} | Priority: {}",
                info.timestamp,
                info.attempt_count,
                info.priority_pin
            );
        }
        out
    }
}

/// ` (12 blocks, 3 MiB)`, behind the state.
fn progress(progress: PinProgress) -> String {
    match progress.bytes {
        0 => format!(" ({} blocks)", progress.blocks),
        bytes => format!(" ({} blocks, {bytes} bytes)", progress.blocks),
    }
}

fn status_word(status: TrackerStatus) -> String {
    status.to_string().to_uppercase()
}

impl Text for Pin {
    fn text(&self) -> String {
        let mut out = format!("{} | {} | {}", self.cid, self.options.name, type_word(self.kind).to_uppercase());
        if self.options.mode == PinMode::Direct {
            out.push_str("-DIRECT");
        }
        let (min, max) = (self.options.replication_factor_min, self.options.replication_factor_max);
        if self.is_everywhere() {
            out.push_str(" | Repl. Factor: -1 | Allocations: [everywhere]");
        } else {
            let mut peers: Vec<String> = self.allocations.iter().map(ToString::to_string).collect();
            peers.sort();
            let _cannot_fail = write!(out, " | Repl. Factor: {min}--{max} | Allocations: [{}]", peers.join(" "));
        }
        match self.max_depth {
            0 => out.push_str(" | Direct"),
            -1 => out.push_str(" | Recursive"),
            depth => {
                let _cannot_fail = write!(out, " | Recursive-{depth}");
            }
        }
        let metadata = if self.options.metadata.as_ref().is_some_and(|m| !m.is_empty()) { "yes" } else { "no" };
        let expires = date(self.options.expire_at, "∞");
        line!(out, " | Metadata: {metadata} | Exp: {expires} | Added: {}", date(self.timestamp, "unknown"));
        out
    }
}

fn type_word(kind: PinType) -> &'static str {
    kind.as_str()
}

/// `2026-11-22 08:56:44`, or the word for no time.
fn date(moment: Timestamp, none: &str) -> String {
    if moment.is_zero() {
        return none.to_owned();
    }
    let text = moment.trunc_secs().to_string();
    text.trim_end_matches('Z').replace('T', " ")
}

impl Text for Version {
    fn text(&self) -> String {
        format!("{}\n", self.version)
    }
}

impl Text for Explanation {
    fn text(&self) -> String {
        let mut out = String::new();
        match self.name.as_str() {
            "" => line!(out, "{}", self.cid),
            name => line!(out, "{} | {name}", self.cid),
        }
        line!(out, "{}", self.summary);
        for peer in &self.peers {
            let name = if peer.peername.is_empty() { peer.peer.to_string() } else { peer.peername.clone() };
            let shall = if peer.should_hold { "shall hold it" } else { "need not hold it" };
            let progress = peer.progress.map(progress).unwrap_or_default();
            line!(
                out,
                "    > {name} ({shall}): {}{progress} since {}",
                status_word(peer.status),
                date(peer.since, "-")
            );
            if !peer.error.is_empty() {
                line!(out, "        {} (attempts: {})", peer.error, peer.attempts);
            }
            if let Some(moment) = peer.retry_at {
                line!(out, "        Tried again at {}", date(moment, "-"));
            }
            if !peer.advice.is_empty() {
                line!(out, "        {}", peer.advice);
            }
        }
        out
    }
}

impl Text for StateDigest {
    fn text(&self) -> String {
        format!("{} {} pins\n", self.digest, self.pins)
    }
}

impl Text for Added {
    fn text(&self) -> String {
        format!("added {} {}\n", self.cid.map(|cid| cid.to_string()).unwrap_or_default(), self.name)
    }
}

impl Text for Vec<Added> {
    fn text(&self) -> String {
        self.iter().map(Text::text).collect()
    }
}

impl Text for Vec<String> {
    fn text(&self) -> String {
        self.iter().map(|text| format!("{text}\n")).collect()
    }
}

impl Text for Vec<Metric> {
    fn text(&self) -> String {
        let now = now();
        let one = |metric: &Metric| {
            let value = match u64::try_from(metric.weight) {
                Ok(weight) if metric.name == "freespace" && weight > 0 => human::bytes(weight),
                _ => metric.value.clone(),
            };
            let expires = human::relative(metric.expire, now);
            format!("{} | {}: {value} | Expires in: {expires}\n", metric.peer, metric.name)
        };
        self.iter().map(one).collect()
    }
}

impl Text for Vec<Alert> {
    fn text(&self) -> String {
        let now = now();
        let one = |alert: &Alert| {
            let (expired, triggered) =
                (human::relative(alert.metric.expire, now), human::relative(alert.triggered_at, now));
            let (peer, name) = (&alert.metric.peer, &alert.metric.name);
            format!("{peer}: {name}. Expired at: {expired}. Triggered at: {triggered}\n")
        };
        self.iter().map(one).collect()
    }
}

impl Text for BandwidthByProtocol {
    fn text(&self) -> String {
        let bytes = |count: i64| human::bytes(u64::try_from(count).unwrap_or(0));
        let one = |(protocol, traffic): (&String, &ProtocolBandwidth)| {
            format!(
                "{protocol:>25}: In: {:>7}. Out: {:>7}. RateIn: {:.2}B/s. RateOut: {:.2}B/s\n",
                bytes(traffic.total_in),
                bytes(traffic.total_out),
                traffic.rate_in,
                traffic.rate_out
            )
        };
        self.iter().map(one).collect()
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos())
}

impl Text for GlobalRepoGc {
    fn text(&self) -> String {
        let mut peers: Vec<_> = self.peer_map.iter().map(|(peer, gc)| (peer.to_string(), gc)).collect();
        peers.sort_by(|a, b| a.0.cmp(&b.0));
        let mut out = String::new();
        for (peer, gc) in peers {
            let name = if gc.peername.is_empty() { &peer } else { &gc.peername };
            let error = if gc.error.is_empty() { String::new() } else { format!(" | ERROR: {}", gc.error) };
            line!(out, "{name:<15}{error}");
            line!(out, "  > CIDs:");
            for key in &gc.keys {
                match (&key.key, key.error.as_str()) {
                    (Some(cid), "") => line!(out, "    - {cid}"),
                    (_, error) => line!(out, "    - ERROR: {error}"),
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_types::{PeerId, PinInfoShort, PinOptions};

    const CID: &str = "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN";

    fn peer() -> PeerId {
        "12D3KooWB2pyAPqKinENSFY7hmXwP69xfqNhzpvxvkqtFHzHrVji".parse().expect("peer")
    }

    #[test]
    fn a_pin_reads_as_the_reference_prints_it() {
        let options = PinOptions { replication_factor_min: -1, replication_factor_max: -1, ..PinOptions::default() };
        let mut pin = Pin::new(CID.parse().expect("cid"), options);
        pin.timestamp = Timestamp::from_unix(1_795_337_809, 5);

        let everywhere = pin.text();
        pin.options.replication_factor_min = 1;
        pin.options.replication_factor_max = 2;
        pin.options.name = "foo".into();
        pin.allocations = vec![peer()];

        assert_eq!(
            everywhere,
            format!(
                "{CID} |  | PIN | Repl. Factor: -1 | Allocations: [everywhere] | Recursive | Metadata: no | Exp: ∞ | \
                 Added: 2026-11-22 08:56:49\n"
            )
        );
        assert!(pin.text().contains(&format!("| foo | PIN | Repl. Factor: 1--2 | Allocations: [{}] |", peer())));
    }

    #[test]
    fn traffic_reads_as_the_reference_prints_it() {
        let traffic = |total_in, total_out| ProtocolBandwidth { total_in, total_out, rate_in: 0.0, rate_out: 1.239 };
        let passed: BandwidthByProtocol =
            [(String::new(), traffic(364, 364)), ("/ipfs/bitswap/1.2.0".to_owned(), traffic(8_100, 16_000))].into();
        assert_eq!(
            passed.text(),
            "                         : In:   364 B. Out:   364 B. RateIn: 0.00B/s. RateOut: 1.24B/s\n      \
             /ipfs/bitswap/1.2.0: In:  8.1 kB. Out:   16 kB. RateIn: 0.00B/s. RateOut: 1.24B/s\n"
        );
    }

    #[test]
    fn a_status_reads_as_the_reference_prints_it() {
        let short = PinInfoShort {
            peername: "peer0".into(),
            status: TrackerStatus::PIN_ERROR,
            timestamp: Timestamp::from_unix(1_795_337_668, 500_000_000),
            error: "context canceled".into(),
            attempt_count: 1,
            priority_pin: true,
            progress: None,
            retry_at: None,
            ..PinInfoShort::default()
        };
        let info = GlobalPinInfo {
            cid: Some(CID.parse().expect("cid")),
            peer_map: [(peer(), short)].into(),
            ..GlobalPinInfo::default()
        };
        assert_eq!(
            info.text(),
            format!(
                "{CID}:\n    > peer0                : PIN_ERROR: context canceled | 2026-11-22T08:54:28.5Z | \
                 Attempts: 1 | Priority: true\n"
            )
        );
    }
}
