//! What was broken in simulated runs, and what that reached: a run of many seeds that never reaches something is no
//! evidence of it.

use std::collections::BTreeMap;
use std::fmt;

/// Something that is broken on purpose.
pub const FAULTS: &[&str] = &[
    "a request is lost",
    "an answer is lost",
    "a request arrives twice",
    "a link is cut",
    "a process restarts",
    "a clock is set wrong",
    "a row is busy",
    "a row is refused",
    "an edge is restored",
    "an edge is restored with a push unanswered",
    "an edge is restored and its new writes overtake the old counter",
    "an edge is copied",
    "a dump of the centre is restored",
    "a dump of the centre is restored on a new server",
    "the storage of the centre goes back",
    "a standby that lagged takes over",
    "a transaction stays open",
    "transactions commit out of order",
    "a transaction is rolled back",
    "an edge is away for long",
];

/// Something that is reached because of it.
pub const PATHS: &[&str] = &[
    "a lost answer is given again",
    "a push is fenced",
    "a pull is fenced",
    "an edge gets a new id",
    "writes that wait are found to be taken",
    "an incarnation begins",
    "an edge is compared",
    "an edge is compared after a rewind",
    "what is in flight is answered before a comparison",
    "a comparison is broken off",
    "a comparison finds a difference",
    "a row is offered",
    "an offer is accepted",
    "an offer is discarded",
    "a refused row is given up",
    "a window has several pages",
    "a row waits for a refused one",
    "a refused row is taken later",
    "a parent stays for the sake of its children",
    "a delete at the centre takes rows along",
    "a user leaves the scope",
    "a dead row is forgotten",
    "an edge is marked as stale",
    "a write meets a forgotten row",
    "a write is declared lost",
    "two writes conflict",
    "a stamp in a conflict is lowered",
];

/// What only a campaign comes to: of two copies of a box, the slower one is mostly found out before it is sent such a page.
pub const RARE: &[&str] = &["own writes come that were never made"];

/// How often each thing happened.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    counts: BTreeMap<&'static str, u64>,
}

impl Coverage {
    /// Notes that something happened.
    ///
    /// # Panics
    /// When nobody looks at that.
    pub fn count(&mut self, what: &'static str) {
        let listed = [FAULTS, PATHS, RARE].iter().any(|list| list.contains(&what));
        assert!(listed, "{what} is in no list");
        *self.counts.entry(what).or_default() += 1;
    }

    /// Adds what happened in another run.
    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.counts {
            *self.counts.entry(what).or_default() += count;
        }
    }

    /// How often a thing happened.
    pub fn of(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    /// How many faults there were.
    pub fn faults(&self) -> u64 {
        FAULTS.iter().map(|what| self.of(what)).sum()
    }

    /// What never happened and should have, in a campaign the rare things too.
    pub fn missing(&self, campaign: bool) -> Vec<&'static str> {
        let rare = if campaign { RARE } else { &[] };
        FAULTS.iter().chain(PATHS).chain(rare).copied().filter(|what| self.of(what) == 0).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        FAULTS.iter().chain(PATHS).chain(RARE).try_for_each(|what| writeln!(formatter, "{:>9} {what}", self.of(what)))
    }
}
