//! One thread that plays many peers: it picks by chance which task goes on, and time jumps to the next moment at which
//! something is due. The same seed gives the same history, down to each step, and leaves the same mark.

use crate::chance::Chance;
use crate::clock::begin;
use async_trait::async_trait;
use cluster_component::ports::Clock;
use cluster_component::tasks::Spawn;
use cluster_types::Time;
use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// Steps at one moment after which the tasks are taken to be going round in circles.
const STEPS_AT_ONCE_MAX: u64 = 1_000_000;

/// A peer's tasks, from one start to the next crash.
pub type Group = u64;

/// What runs the tasks. Cheap to clone.
#[derive(Clone)]
pub struct Scheduler(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    ready: Arc<Mutex<BTreeSet<u64>>>,
    chance: Chance,
}

#[derive(Default)]
struct State {
    now: Duration,
    next_id: u64,
    tasks: BTreeMap<u64, Task>,
    due: BTreeMap<(Duration, u64), Waker>,
    mark: Mark,
}

struct Task {
    group: Group,
    name: &'static str,
    /// `None` while it runs.
    future: Option<BoxFuture<'static, ()>>,
}

/// What a history leaves: a number that differs when anything in it does, and on demand its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Default for Mark {
    fn default() -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, lines: None }
    }
}

impl Mark {
    fn note(&mut self, parts: &[u64], words: &str) {
        let bytes = parts.iter().flat_map(|part| part.to_le_bytes()).chain(words.bytes());
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// The lines, if they were kept.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler").field("now", &self.now()).finish_non_exhaustive()
    }
}

struct TaskWaker {
    id: u64,
    ready: Arc<Mutex<BTreeSet<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).insert(self.id);
    }
}

impl Scheduler {
    /// A world in which nothing runs yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let inner = Inner { state: Mutex::default(), ready: Arc::default(), chance: Chance::new(seed) };
        Self(Arc::new(inner))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since the world began.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.state().now
    }

    /// From now on the lines of the history are kept.
    pub fn keep_lines(&self) {
        self.state().mark.lines.get_or_insert_with(Vec::new);
    }

    /// What the history has left so far.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.state().mark.clone()
    }

    /// Makes something a part of the history.
    pub fn note(&self, words: impl FnOnce() -> String) {
        let mut state = self.state();
        let words = words();
        let now = state.now;
        state.mark.note(&[nanos(now)], &words);
        if let Some(lines) = &mut state.mark.lines {
            lines.push(format!("{:>10.3} {words}", now.as_secs_f64()));
        }
    }

    /// A number for a new group.
    #[must_use]
    pub fn new_group(&self) -> Group {
        self.next_id()
    }

    fn next_id(&self) -> u64 {
        let mut state = self.state();
        state.next_id += 1;
        state.next_id
    }

    /// Runs tasks as a part of this group.
    #[must_use]
    pub fn spawner(&self, group: Group) -> Arc<dyn Spawn> {
        Arc::new(GroupSpawn { scheduler: self.clone(), group })
    }

    /// Ends all tasks of a group where they stand, as a crash does.
    pub fn crash(&self, group: Group) {
        let ended: Vec<Task> = {
            let mut state = self.state();
            let ids: Vec<u64> = state.tasks.iter().filter(|(_, task)| task.group == group).map(|(id, _)| *id).collect();
            ids.iter().filter_map(|id| state.tasks.remove(id)).collect()
        };
        // Without the lock: what a task holds may have to say something when it is dropped.
        drop(ended);
    }

    /// Ends the world: every task, and with them whatever they hold of it.
    pub fn end(&self) {
        let (tasks, due) = {
            let mut state = self.state();
            (std::mem::take(&mut state.tasks), std::mem::take(&mut state.due))
        };
        drop((tasks, due));
    }

    /// A clock whose wall time is ahead of the world's by so many seconds.
    #[must_use]
    pub fn clock(&self, ahead_secs: i64) -> Arc<SimClock> {
        Arc::new(SimClock { scheduler: self.clone(), ahead_secs: Mutex::new(ahead_secs) })
    }

    /// Runs until this moment; then time is this.
    pub fn run_until(&self, end: Duration) {
        loop {
            self.run_ready();
            let woken = {
                let mut state = self.state();
                let next = state.due.first_key_value().map(|((at, _), _)| *at).filter(|at| *at <= end);
                state.now = state.now.max(next.unwrap_or(end));
                let Some(at) = next else { return };
                let later = state.due.split_off(&(at, u64::MAX));
                std::mem::replace(&mut state.due, later)
            };
            woken.into_values().for_each(Waker::wake);
        }
    }

    /// Runs for a span.
    pub fn run_for(&self, span: Duration) {
        self.run_until(self.now() + span);
    }

    /// Runs until the future is done.
    ///
    /// # Panics
    /// When it is not done after so long.
    pub fn complete<T: Send + 'static>(
        &self,
        longest: Duration,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = std::sync::mpsc::channel();
        let spawn = self.spawner(0);
        spawn.spawn("outside", Box::pin(async move { drop(answer.send(future.await)) }));
        let end = self.now() + longest;
        loop {
            self.run_ready();
            match answered.try_recv() {
                Ok(value) => return Some(value),
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return None,
                Err(std::sync::mpsc::TryRecvError::Empty) => {}
            }
            let next = self.state().due.first_key_value().map(|((at, _), _)| *at);
            let at = next.filter(|at| *at <= end)?;
            self.run_until(at);
        }
    }

    /// Lets tasks go on until all wait.
    fn run_ready(&self) {
        for _ in 0..STEPS_AT_ONCE_MAX {
            let Some(id) = self.pick() else { return };
            self.step(id);
        }
        let state = self.state();
        let names: BTreeSet<&str> = state.tasks.values().map(|task| task.name).collect();
        panic!("tasks go round in circles at {:?}: {names:?}", state.now);
    }

    fn pick(&self) -> Option<u64> {
        let mut ready = self.0.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.is_empty() {
            return None;
        }
        let id = *ready.iter().nth(self.0.chance.place(ready.len()))?;
        ready.remove(&id);
        Some(id)
    }

    fn step(&self, id: u64) {
        let future = {
            let mut state = self.state();
            let Some(task) = state.tasks.get_mut(&id) else { return };
            let future = task.future.take();
            let now = state.now;
            state.mark.note(&[nanos(now), id], "");
            future
        };
        let Some(mut future) = future else { return };
        let waker = Waker::from(Arc::new(TaskWaker { id, ready: Arc::clone(&self.0.ready) }));
        let done = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let mut state = self.state();
        match state.tasks.get_mut(&id) {
            Some(task) if !done => task.future = Some(future),
            Some(_) => drop(state.tasks.remove(&id)),
            None => {}
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

struct GroupSpawn {
    scheduler: Scheduler,
    group: Group,
}

impl Spawn for GroupSpawn {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let id = self.scheduler.next_id();
        let task = Task { group: self.group, name, future: Some(task) };
        self.scheduler.state().tasks.insert(id, task);
        self.scheduler.0.ready.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }
}

/// A clock of the world, whose wall time may be wrong.
#[derive(Debug)]
pub struct SimClock {
    scheduler: Scheduler,
    ahead_secs: Mutex<i64>,
}

impl SimClock {
    /// Sets by how many seconds its wall time is ahead.
    pub fn set_ahead(&self, secs: i64) {
        *self.ahead_secs.lock().unwrap_or_else(PoisonError::into_inner) = secs;
    }
}

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Time {
        let mono = self.scheduler.now();
        let ahead = *self.ahead_secs.lock().unwrap_or_else(PoisonError::into_inner);
        let right = begin().saturating_add(mono);
        let wall = cluster_types::Timestamp::from_unix(right.unix_secs() + ahead, right.subsec_nanos());
        Time { mono, wall }
    }

    async fn sleep_until(&self, at: Duration) {
        SleepUntil { scheduler: self.scheduler.clone(), at, key: None }.await;
    }
}

struct SleepUntil {
    scheduler: Scheduler,
    at: Duration,
    key: Option<(Duration, u64)>,
}

impl Future for SleepUntil {
    type Output = ();

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let scheduler = self.scheduler.clone();
        if scheduler.now() >= self.at {
            return Poll::Ready(());
        }
        let key = *self.key.get_or_insert_with(|| (Duration::ZERO, scheduler.next_id()));
        let key = (self.at, key.1);
        self.key = Some(key);
        scheduler.state().due.insert(key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for SleepUntil {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.scheduler.state().due.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_component::ports::sleep;

    /// Three tasks that sleep and say so.
    fn history(seed: u64) -> (Mark, Vec<u64>) {
        let world = Scheduler::new(seed);
        world.keep_lines();
        let said: Arc<Mutex<Vec<u64>>> = Arc::default();
        for number in 0..3_u64 {
            let (clock, said, world_too) = (world.clock(0), Arc::clone(&said), world.clone());
            let task = async move {
                for round in 0..10 {
                    sleep(&*clock, Duration::from_millis(10)).await;
                    said.lock().expect("lock").push(number);
                    world_too.note(|| format!("{number} in round {round}"));
                }
            };
            world.spawner(number).spawn("talker", Box::pin(task));
        }
        world.run_until(Duration::from_secs(1));
        let said = said.lock().expect("lock").clone();
        (world.mark(), said)
    }

    #[test]
    fn one_seed_has_one_history_and_seeds_differ() {
        assert_eq!(history(1), history(1));
        assert_ne!(history(1).1, history(2).1);
        assert_eq!(history(1).1.len(), 30);
    }

    #[test]
    fn a_crash_ends_the_tasks_of_its_group_alone() {
        let world = Scheduler::new(7);
        let ticks: Arc<Mutex<BTreeMap<u64, u64>>> = Arc::default();
        for group in [1, 2] {
            let (clock, ticks) = (world.clock(0), Arc::clone(&ticks));
            let task = async move {
                loop {
                    sleep(&*clock, Duration::from_secs(1)).await;
                    *ticks.lock().expect("lock").entry(group).or_default() += 1;
                }
            };
            world.spawner(group).spawn("ticker", Box::pin(task));
        }
        world.run_for(Duration::from_secs(5));
        world.crash(1);
        world.run_for(Duration::from_secs(5));

        assert_eq!(*ticks.lock().expect("lock"), BTreeMap::from([(1, 5), (2, 10)]));
    }

    #[test]
    fn what_never_comes_is_given_up() {
        let world = Scheduler::new(1);
        let clock = world.clock(3_600);
        let hour = begin().saturating_add(Duration::from_secs(3_600));
        assert_eq!(clock.now().wall, hour);
        assert_eq!(
            world.complete(Duration::from_secs(9), async move { sleep(&*clock, Duration::from_secs(5)).await }),
            Some(())
        );
        assert_eq!(world.complete(Duration::from_secs(9), std::future::pending::<()>()), None);
        assert_eq!(world.now(), Duration::from_secs(5));
    }
}
