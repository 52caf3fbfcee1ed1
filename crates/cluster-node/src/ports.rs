//! Clock, tasks and chance of a real process.

use async_trait::async_trait;
use cluster_component::ports::{Clock, Entropy};
use cluster_component::tasks::Spawn;
use cluster_types::{Time, Timestamp};
use futures::future::BoxFuture;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The clock of the operating system, waits on the tokio runtime.
#[derive(Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time begins now.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Time {
        let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => Timestamp::from_unix(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos()),
            Err(before) => Timestamp::from_unix(-i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX), 0),
        };
        Time { mono: self.origin.elapsed(), wall }
    }

    async fn sleep_until(&self, at: Duration) {
        // A moment beyond what the clock can show is waited for as long as it can be shown.
        let deadline =
            self.origin.checked_add(at).unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400 * 365));
        tokio::time::sleep_until(deadline.into()).await;
    }
}

/// Runs tasks on the tokio runtime that it was made in.
#[derive(Debug)]
pub struct TokioSpawn(tokio::runtime::Handle);

impl TokioSpawn {
    /// Tasks run on the runtime of the caller.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn current() -> Self {
        Self(tokio::runtime::Handle::current())
    }
}

impl Spawn for TokioSpawn {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        tracing::trace!(task = name, "starting");
        drop(self.0.spawn(task));
    }
}

/// Chance, seeded by the operating system.
#[derive(Debug)]
pub struct SystemEntropy(Mutex<SmallRng>);

impl SystemEntropy {
    /// A source that nobody can foresee the beginning of.
    #[must_use]
    pub fn new() -> Self {
        Self(Mutex::new(SmallRng::from_rng(&mut rand::rng())))
    }
}

impl Default for SystemEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy for SystemEntropy {
    fn next_u64(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
    }

    fn fork(&self) -> Box<dyn Entropy> {
        let seed = self.next_u64();
        Box::new(Self(Mutex::new(SmallRng::seed_from_u64(seed))))
    }
}
