//! Whether a peer may let go of a pin that is others' now. A peer that comes back finds its pins given to others, who may
//! still be fetching them: from it, if nobody else has them.

use cluster_types::Pin;

/// What a peer that shall hold a pin says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// Its daemon holds it.
    Holds,
    /// It does not, or not yet.
    Lacks,
    /// It cannot be asked.
    Silent,
    /// It does not answer this peer. It is there, and its pins are its own affair: waiting would have no end.
    Refuses,
}

/// Too few others hold a pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("kept for now: {holders} of the {needed} peers that must hold it first say that they do")]
pub struct StillNeeded {
    /// How many do.
    pub holders: usize,
    /// How many must.
    pub needed: usize,
}

/// Checks that so many of a pin's peers hold it as must.
///
/// # Errors
/// When they do not.
pub fn may_leave(pin: &Pin, reports: impl IntoIterator<Item = Report>) -> Result<(), StillNeeded> {
    let needed =
        usize::try_from(pin.options.replication_factor_min).unwrap_or(1).clamp(1, pin.allocations.len().max(1));
    let counts = |report: &Report| matches!(report, Report::Holds | Report::Refuses);
    let holders = reports.into_iter().filter(counts).count();
    if holders < needed { Err(StillNeeded { holders, needed }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_types::{Cid, PeerId, PinOptions};

    fn pin(min: i32, peers: usize) -> Pin {
        let options = PinOptions { replication_factor_min: min, ..PinOptions::default() };
        let allocations = (0..peers).map(|_| PeerId::random()).collect();
        Pin { allocations, ..Pin::new(Cid(Default::default()), options) }
    }

    #[test]
    fn as_many_as_the_minimum_must_hold_it_and_never_none() {
        use Report::{Holds, Lacks, Refuses, Silent};
        assert_eq!(may_leave(&pin(2, 3), [Holds, Lacks, Holds]), Ok(()));
        assert_eq!(may_leave(&pin(2, 3), [Holds, Lacks, Silent]), Err(StillNeeded { holders: 1, needed: 2 }));
        assert_eq!(may_leave(&pin(0, 1), [Lacks]), Err(StillNeeded { holders: 0, needed: 1 }));
        assert_eq!(may_leave(&pin(1, 2), [Refuses, Silent]), Ok(()));
        // Nobody is asked for more than there are.
        assert_eq!(may_leave(&pin(3, 1), [Holds]), Ok(()));
    }
}
