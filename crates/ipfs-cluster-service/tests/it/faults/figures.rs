//! What a run was like, in numbers.

use super::plan::{Fault, Plan};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What clients did in a round.
#[derive(Debug, Clone, Default)]
pub(super) struct Pause {
    pub(super) acknowledged: u64,
    /// Answered with an error, or not at all: done or not, nobody knows.
    pub(super) unknown: u64,
    /// Removals of what the peer did not know: nothing was done.
    pub(super) nothing: u64,
    pub(super) reads: u64,
    /// The longest time in which nothing was acknowledged.
    pub(super) longest_silence: Duration,
}

/// All rounds together.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) rounds: usize,
    faults: BTreeMap<Fault, u64>,
    all_killed: u64,
    orders: Pause,
    of_round: Pause,
    silence_without_majority: Duration,
    agreed_after: Duration,
    longest_to_agree: Duration,
    memory_peak: u64,
}

impl Figures {
    pub(super) fn add(&mut self, plan: &Plan, pause: &Pause) {
        self.rounds += 1;
        self.of_round = pause.clone();
        let silence = if plan.takes_the_majority() {
            self.all_killed += 1;
            &mut self.silence_without_majority
        } else {
            plan.faults.iter().for_each(|(_, fault)| *self.faults.entry(*fault).or_default() += 1);
            &mut self.orders.longest_silence
        };
        *silence = (*silence).max(pause.longest_silence);
        self.orders.acknowledged += pause.acknowledged;
        self.orders.unknown += pause.unknown;
        self.orders.nothing += pause.nothing;
        self.orders.reads += pause.reads;
    }

    pub(super) fn agreed_after(&mut self, time: Duration) {
        self.agreed_after = time;
        self.longest_to_agree = self.longest_to_agree.max(time);
    }

    /// Bytes.
    pub(super) fn memory_peak(&mut self, bytes: u64) {
        self.memory_peak = self.memory_peak.max(bytes);
    }

    /// The last round in a line.
    pub(super) fn of_round(&self) -> String {
        let Pause { acknowledged, unknown, longest_silence, .. } = &self.of_round;
        format!(
            "{acknowledged} acknowledged, {unknown} unknown, silent for {longest_silence:.1?} at most, agreed after {:.1?}",
            self.agreed_after
        )
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<String> = self.faults.iter().map(|(fault, count)| format!("{fault:?} {count}")).collect();
        writeln!(f, "  rounds               {}", self.rounds)?;
        writeln!(f, "  faults               {}, all killed at once {}", faults.join(", "), self.all_killed)?;
        let Pause { acknowledged, unknown, nothing, reads, longest_silence } = &self.orders;
        writeln!(f, "  orders acknowledged  {acknowledged}; without an answer {unknown}; nothing to remove {nothing}")?;
        writeln!(f, "  linearizable reads   {reads}")?;
        writeln!(f, "  longest silence      {longest_silence:.1?}; all killed {:.1?}", self.silence_without_majority)?;
        writeln!(f, "  longest to agree     {:.1?}", self.longest_to_agree)?;
        write!(f, "  peak memory          {} MiB", self.memory_peak >> 20)
    }
}
