//! A clock that stands still until a test moves it.

use async_trait::async_trait;
use cluster_component::ports::Clock;
use cluster_types::{Time, Timestamp};
use std::time::Duration;
use tokio::sync::watch;

/// The wall time at which every manual clock begins: 2026-01-01T00:00:00Z.
#[must_use]
pub fn begin() -> Timestamp {
    Timestamp::from_unix(1_767_225_600, 0)
}

/// The clock. Whoever sleeps wakes when [`advance`](Self::advance) reaches the moment.
#[derive(Debug)]
pub struct ManualClock {
    now: watch::Sender<Time>,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self { now: watch::Sender::new(Time { mono: Duration::ZERO, wall: begin() }) }
    }
}

impl ManualClock {
    /// Both times move on by this span.
    pub fn advance(&self, span: Duration) {
        self.now.send_modify(|now| {
            now.mono += span;
            now.wall = now.wall.saturating_add(span);
        });
    }

    /// The wall time jumps, as when an operator sets it; nobody wakes of it.
    pub fn set_wall(&self, wall: Timestamp) {
        self.now.send_modify(|now| now.wall = wall);
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Time {
        *self.now.borrow()
    }

    async fn sleep_until(&self, at: Duration) {
        let mut now = self.now.subscribe();
        // The sender lives as long as `self`, which is borrowed.
        let _never_closed = now.wait_for(|now| now.mono >= at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_component::ports::sleep;
    use futures::poll;
    use std::pin::pin;
    use std::task::Poll;

    #[tokio::test]
    async fn sleepers_wake_when_their_moment_is_reached_and_not_before() {
        let clock = ManualClock::default();
        let mut sleeper = pin!(sleep(&clock, Duration::from_secs(5)));
        assert_eq!(poll!(&mut sleeper), Poll::Pending);

        clock.advance(Duration::from_millis(4_999));
        assert_eq!(poll!(&mut sleeper), Poll::Pending);

        clock.advance(Duration::from_millis(1));
        assert_eq!(poll!(&mut sleeper), Poll::Ready(()));
        assert_eq!(clock.now().wall, begin().saturating_add(Duration::from_secs(5)));
    }
}
