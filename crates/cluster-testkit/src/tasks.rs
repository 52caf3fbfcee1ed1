//! Running tasks in tests, and waiting for what they bring about.

use cluster_component::tasks::Spawn;
use futures::future::BoxFuture;
use std::time::Duration;

/// Runs tasks on the tokio runtime of the test.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioSpawn;

impl Spawn for TokioSpawn {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        drop(tokio::spawn(task));
    }
}

/// Real time after which [`eventually`] gives up.
const DEADLINE: Duration = Duration::from_secs(20);

/// Lets the other tasks run until the condition holds.
///
/// # Panics
/// When it does not hold before a deadline of real time.
#[track_caller]
pub fn eventually<'a>(what: &'a str, mut condition: impl FnMut() -> bool + 'a) -> impl Future<Output = ()> + 'a {
    let caller = std::panic::Location::caller();
    async move {
        let until = tokio::time::Instant::now() + DEADLINE;
        while !condition() {
            assert!(tokio::time::Instant::now() < until, "{caller}: it never came about that {what}");
            tokio::task::yield_now().await;
        }
    }
}
