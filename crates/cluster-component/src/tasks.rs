//! How components start work and how its end is awaited: no task is ever detached.

use futures::future::BoxFuture;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What runs tasks: the runtime of the process, or a simulation.
pub trait Spawn: Send + Sync + 'static {
    /// Runs the future to its end, beside the caller.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>);
}

/// A group of tasks that are told to stop together and whose end can be awaited.
#[derive(Clone)]
pub struct TaskScope {
    spawn: Arc<dyn Spawn>,
    token: CancellationToken,
    running: Arc<Running>,
}

#[derive(Default)]
struct Running {
    tasks: AtomicUsize,
    ended: Notify,
}

/// Counts a task out when its future is dropped, however that comes about.
struct CountOut(Arc<Running>);

impl Drop for CountOut {
    fn drop(&mut self) {
        self.0.tasks.fetch_sub(1, Ordering::SeqCst);
        self.0.ended.notify_waiters();
    }
}

impl TaskScope {
    /// An empty scope whose tasks run on `spawn`.
    #[must_use]
    pub fn new(spawn: Arc<dyn Spawn>) -> Self {
        Self { spawn, token: CancellationToken::new(), running: Arc::default() }
    }

    /// Starts a task. It should end soon after [`stopping`](Self::stopping); what waits on the outside alone may be
    /// wrapped in [`spawn_until_stopped`](Self::spawn_until_stopped) instead.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.running.tasks.fetch_add(1, Ordering::SeqCst);
        let out = CountOut(Arc::clone(&self.running));
        self.spawn.spawn(
            name,
            Box::pin(async move {
                let _out = out;
                task.await;
            }),
        );
    }

    /// Starts a task that is dropped at its next wait when the scope is told to stop.
    pub fn spawn_until_stopped(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let token = self.token.clone();
        self.spawn(name, async move {
            let _cut = token.run_until_cancelled(task).await;
        });
    }

    /// The signal to stop, for tasks that end in an orderly way.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Tells every task to stop and waits until none is left.
    pub async fn stop(&self) {
        self.token.cancel();
        loop {
            let ended = self.running.ended.notified();
            if self.running.tasks.load(Ordering::SeqCst) == 0 {
                return;
            }
            ended.await;
        }
    }
}

impl fmt::Debug for TaskScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskScope").field("tasks", &self.running.tasks.load(Ordering::SeqCst)).finish()
    }
}
