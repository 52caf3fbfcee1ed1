//! Tests of windows, silence and clocks.

use super::*;
use cluster_types::Timestamp;

/// Seconds of the world's time, and what our clock shows then.
fn at(secs: f64) -> Time {
    Time { mono: Duration::from_secs_f64(secs), wall: wall(secs) }
}

fn wall(secs: f64) -> Timestamp {
    Timestamp::from_unix_nanos(1_000_000_000_000_000 + (secs * 1e9) as i64)
}

fn metric(peer: PeerId, expire: Timestamp) -> Metric {
    Metric {
        name: "ping".into(),
        peer,
        value: String::new(),
        expire,
        valid: true,
        weight: 0,
        partitionable: false,
        received_at: Timestamp::ZERO,
    }
}

/// A ping that counts for 30 s, sent at a moment by a clock that is ahead by so many seconds.
fn ping(peer: PeerId, sent: f64, ahead: f64) -> Metric {
    metric(peer, wall(1_000.0 + sent + ahead + 30.0))
}

/// Pings every 15 s from 0 on, arriving at once.
fn pings(metrics: &mut Metrics, peer: PeerId, count: u32, ahead: f64) {
    for number in 0..count {
        let sent = f64::from(number) * 15.0;
        metrics.add(ping(peer, sent, ahead), ClockOf::Sender, at(1_000.0 + sent));
    }
}

#[test]
fn a_silent_peer_is_told_once_and_again_after_it_came_back() {
    let (peer, mut metrics) = (PeerId::random(), Metrics::default());
    pings(&mut metrics, peer, 4, 0.0);

    assert_eq!(metrics.latest("ping", at(1_074.9)).len(), 1);
    assert_eq!(metrics.expired(at(1_074.9)).len(), 0);
    assert_eq!(metrics.expired(at(1_075.1)).len(), 1);
    assert_eq!(metrics.expired(at(1_076.0)).len(), 0);
    assert_eq!(metrics.latest("ping", at(1_076.0)).len(), 0);

    metrics.add(ping(peer, 80.0, 0.0), ClockOf::Sender, at(1_080.0));
    assert_eq!(metrics.latest("ping", at(1_081.0)).len(), 1);
    assert_eq!(metrics.expired(at(1_120.0)).len(), 1);
    assert!(metrics.latest_for("ping", &peer).is_some());
}

/// Whatever a clock shows, its peer is a member while it pings, and is none 30 s after its last ping.
#[test]
fn a_wrong_clock_neither_drops_a_peer_nor_keeps_it() {
    for ahead in [-86_400.0, -300.0, -40.0, -10.0, 0.0, 10.0, 40.0, 300.0, 86_400.0] {
        let (peer, mut metrics) = (PeerId::random(), Metrics::default());
        for number in 0..8_u32 {
            let sent = f64::from(number) * 15.0;
            metrics.add(ping(peer, sent, ahead), ClockOf::Sender, at(1_000.0 + sent));
            assert_eq!(metrics.latest("ping", at(1_000.0 + sent + 14.9)).len(), 1, "{ahead} s, ping {number}");
            assert_eq!(metrics.expired(at(1_000.0 + sent + 14.9)).len(), 0, "{ahead} s, ping {number}");
        }
        let last = 1_000.0 + 7.0 * 15.0;
        let alive = |after: f64| metrics.latest("ping", at(last + after)).len();
        // A little is tolerated: it is renewed in time all the same.
        let lifetime = if (-10.0..=7.5).contains(&ahead) { 30.0 + ahead } else { 30.0 };
        assert_eq!((alive(lifetime - 0.1), alive(lifetime + 0.1)), (1, 0), "{ahead} s");
    }
}

#[test]
fn a_wrong_clock_is_news_once_and_is_told_while_it_is_wrong() {
    let (peer, mut metrics) = (PeerId::random(), Metrics::default());
    let mut news = Vec::new();
    for number in 0..8_u32 {
        let sent = f64::from(number) * 15.0;
        news.extend(metrics.add(ping(peer, sent, 300.0), ClockOf::Sender, at(1_000.0 + sent)));
    }

    let ahead = |skew: &Skew| skew.ahead_nanos / 1_000_000_000;
    assert_eq!(news.iter().map(ahead).collect::<Vec<_>>(), [300]);
    assert_eq!(metrics.skews(at(1_110.0)).get(&peer).map(ahead), Some(300));
    assert!(metrics.skews(at(1_140.0)).is_empty(), "a peer that is gone has no clock");

    // The clock is set right, which is a step back of five minutes.
    for number in 0..8_u32 {
        let sent = 150.0 + f64::from(number) * 15.0;
        metrics.add(ping(peer, sent, 0.0), ClockOf::Sender, at(1_000.0 + sent));
    }
    assert!(metrics.skews(at(1_256.0)).is_empty());
    assert_eq!(metrics.latest("ping", at(1_256.0)).len(), 1);
}

/// A daemon that takes its time for its figures makes nobody's clock wrong.
#[test]
fn clocks_are_read_from_pings_alone() {
    let (peer, mut metrics) = (PeerId::random(), Metrics::default());
    for number in 0..8_u32 {
        let sent = f64::from(number) * 25.0;
        let slow = Metric { name: "freespace".into(), ..ping(peer, sent, 0.0) };
        assert_eq!(metrics.add(slow, ClockOf::Sender, at(1_000.0 + sent)).map(|skew| skew.ahead_nanos), None);
    }
    assert!(metrics.skews(at(1_180.0)).is_empty());
}

/// A peer that starts, or meets others, sends some in a row. That is no sign of a short life.
#[test]
fn what_is_sent_early_shortens_no_life() {
    for ahead in [0.0, 100.0, -100.0] {
        let (peer, mut metrics) = (PeerId::random(), Metrics::default());
        let sent: Vec<f64> = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 20.0, 21.0, 22.0, 37.0, 52.0].into();
        for sent in &sent {
            metrics.add(ping(peer, *sent, ahead), ClockOf::Sender, at(1_000.0 + sent));
        }
        let alive = |after: f64| metrics.latest("ping", at(1_052.0 + after)).len();
        assert_eq!((alive(29.9), alive(30.1)), (1, 0), "{ahead} s");
    }
}

/// A peer that starts greets others between its pings: the distances of greetings were taken for that of pings.
#[test]
fn greetings_make_no_clock_wrong() {
    let (peer, mut metrics) = (PeerId::random(), Metrics::default());
    for sent in [0.0, 0.9, 1.8, 3.8, 5.8, 7.8] {
        let ping = metric(peer, wall(1_000.0 + sent + 4.0));
        let news = metrics.add(ping, ClockOf::Sender, at(1_000.0 + sent));
        assert!(news.is_none(), "after {sent} s: {news:?}");
    }
}

#[test]
fn what_comes_late_or_again_changes_nothing() {
    let (peer, mut metrics) = (PeerId::random(), Metrics::default());
    metrics.add(ping(peer, 0.0, 0.0), ClockOf::Sender, at(1_000.0));
    metrics.add(Metric { value: "new".into(), ..ping(peer, 15.0, 0.0) }, ClockOf::Sender, at(1_015.0));

    metrics.add(Metric { value: "old".into(), ..ping(peer, 10.0, 0.0) }, ClockOf::Sender, at(1_016.0));
    metrics.add(Metric { value: "again".into(), ..ping(peer, 15.0, 0.0) }, ClockOf::Sender, at(1_040.0));

    assert_eq!(metrics.latest_for("ping", &peer).map(|m| m.value.as_str()), Some("new"));
    assert_eq!(metrics.latest("ping", at(1_046.0)).len(), 0, "a message that is sent again keeps nobody alive");
}

#[test]
fn our_own_wall_clock_may_be_set_while_peers_are_members() {
    let (peer, mut metrics) = (PeerId::random(), Metrics::default());
    pings(&mut metrics, peer, 4, 0.0);
    let set = Time { wall: at(90_000.0).wall, ..at(1_050.0) };

    assert_eq!(metrics.latest("ping", set).len(), 1);
}

#[test]
fn what_is_made_here_counts_as_long_as_it_says() {
    let (peer, mut metrics) = (PeerId::random(), Metrics::default());
    metrics.add(metric(peer, at(1_005.0).wall), ClockOf::Ours, at(1_000.0));

    assert_eq!(metrics.latest("ping", at(1_004.9)).len(), 1);
    assert_eq!(metrics.latest("ping", at(1_005.1)).len(), 0);
}

#[test]
fn windows_names_and_memory_are_bounded() {
    let (peer, mut metrics) = (PeerId::random(), Metrics::default());
    for number in 0..3_000_u32 {
        let now = at(1_000.0 + f64::from(number));
        metrics.add(ping(peer, f64::from(number), 0.0), ClockOf::Sender, now);
        let name = format!("name {number}");
        metrics.add(Metric { name, ..ping(peer, f64::from(number), 0.0) }, ClockOf::Sender, now);
    }
    assert_eq!(metrics.names().len(), NAMES_MAX);
    assert_eq!(metrics.windows["ping"][&peer].len(), WINDOW);

    metrics.expired(at(100_000.0));
    assert!(metrics.windows.is_empty() && metrics.missed.is_empty());
}
