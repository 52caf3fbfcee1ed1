//! Whether what clients saw of one value could have come from one copy of it: the check for linearizable reads and writes.

use std::collections::BTreeSet;
use std::time::Duration;

/// What a client did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// It set the value. `None`: removed it.
    Write(Option<u64>),
    /// It read this.
    Read(Option<u64>),
}

/// When it did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// What.
    pub op: Op,
    /// When it asked.
    pub asked: Duration,
    /// When it had the answer; `None`: it never knew whether it was done, so that it may be done at any later time.
    pub answered: Option<Duration>,
}

/// Whether there is an order of the events, each between its question and its answer, in which every read gives what was
/// written last. The value is absent at first. Reads without an answer say nothing.
///
/// After Wing and Gong, with the states visited remembered.
///
/// # Panics
/// When there are more than 128 events: cut the history by value.
#[must_use]
pub fn is_linearizable(events: &[Event]) -> bool {
    let told = |event: &&Event| event.answered.is_some() || matches!(event.op, Op::Write(_));
    let events: Vec<Event> = events.iter().filter(told).copied().collect();
    assert!(events.len() <= 128, "{} events of one value", events.len());
    let mut seen = BTreeSet::new();
    let mut stack = vec![(0u128, None)];
    while let Some((done, value)) = stack.pop() {
        if !seen.insert((done, value)) {
            continue;
        }
        let open = |i: &usize| done & (1 << i) == 0;
        let left: Vec<usize> = (0..events.len()).filter(open).collect();
        if left.iter().all(|i| events[*i].answered.is_none()) {
            return true;
        }
        // Nothing can be next that was asked for after something that is left was answered.
        let first_answer = left.iter().filter_map(|i| events[*i].answered).min().unwrap_or(Duration::MAX);
        for i in left.into_iter().filter(|i| events[*i].asked <= first_answer) {
            match events[i].op {
                Op::Write(new) => stack.push((done | 1 << i, new)),
                Op::Read(read) if read == value => stack.push((done | 1 << i, value)),
                Op::Read(_) => {}
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(op: Op, asked: u64, answered: impl Into<Option<u64>>) -> Event {
        Event { op, asked: Duration::from_millis(asked), answered: answered.into().map(Duration::from_millis) }
    }

    #[test]
    fn what_one_copy_can_say_is_accepted() {
        use Op::{Read, Write};
        assert!(is_linearizable(&[event(Write(Some(1)), 0, 10), event(Read(Some(1)), 11, 12)]));
        // At the same time, either order will do.
        assert!(is_linearizable(&[event(Write(Some(1)), 0, 10), event(Read(None), 5, 6), event(Read(Some(1)), 7, 8)]));
        // A write whose fate is not known may be done late, or never.
        let lost = [event(Write(Some(1)), 0, None), event(Read(None), 5, 6), event(Read(Some(1)), 50, 51)];
        assert!(is_linearizable(&lost) && is_linearizable(&lost[..2]));
    }

    #[test]
    fn what_no_single_copy_can_say_is_noticed() {
        use Op::{Read, Write};
        // A read of what was before an acknowledged write.
        assert!(!is_linearizable(&[event(Write(Some(1)), 0, 10), event(Read(None), 11, 12)]));
        // A value that comes back.
        let back = [
            event(Write(Some(1)), 0, 1),
            event(Write(None), 2, 3),
            event(Read(None), 4, 5),
            event(Read(Some(1)), 6, 7),
        ];
        assert!(!is_linearizable(&back));
        // A write that was refused for good, and is seen all the same, twice.
        let twice = [
            event(Write(Some(1)), 0, None),
            event(Write(Some(2)), 1, 2),
            event(Read(Some(1)), 3, 4),
            event(Read(Some(2)), 5, 6),
        ];
        assert!(!is_linearizable(&twice));
    }
}
