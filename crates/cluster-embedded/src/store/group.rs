//! Syncs in groups: whoever waits at the same moment shares one.

use super::error::BlockError;
use std::sync::{Condvar, Mutex, PoisonError};

#[derive(Default)]
pub(super) struct Group {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    running: bool,
    /// Everything up to this ticket was synced, or failed.
    done: u64,
    /// The tickets that the last failure met.
    failed: Option<(u64, u64, BlockError)>,
}

impl Group {
    /// Returns when the ticket is synced. `sync` returns the last ticket that it covered, and how it went.
    pub(super) fn wait(&self, ticket: u64, sync: impl Fn() -> (u64, Result<(), BlockError>)) -> Result<(), BlockError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.done < ticket {
            if state.running {
                state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.running = true;
            drop(state);
            let (upto, result) = sync();
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = result {
                state.failed = Some((state.done, upto, error));
            }
            state.running = false;
            state.done = state.done.max(upto);
            self.ended.notify_all();
        }
        match &state.failed {
            Some((after, upto, error)) if ticket > *after && ticket <= *upto => Err(error.clone()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn a_ticket_that_is_covered_is_not_synced_again_and_a_failure_is_told_to_those_it_met() {
        let (group, syncs) = (Group::default(), AtomicU64::new(0));
        let sync = |upto: u64, result: Result<(), BlockError>| {
            syncs.fetch_add(1, Ordering::Relaxed);
            (upto, result)
        };
        assert_eq!(group.wait(3, || sync(5, Ok(()))), Ok(()));
        assert_eq!(group.wait(5, || sync(5, Ok(()))), Ok(()));
        assert_eq!(syncs.load(Ordering::Relaxed), 1);

        let error = BlockError::Io("gone".into());
        assert_eq!(group.wait(6, || sync(7, Err(error.clone()))), Err(error.clone()));
        assert_eq!(group.wait(7, || sync(9, Ok(()))), Err(error));
        assert_eq!(group.wait(5, || sync(9, Ok(()))), Ok(()));
        assert_eq!(group.wait(8, || sync(9, Ok(()))), Ok(()));
    }
}
