//! A dot names one write of one row and carries its hybrid logical clock.
//!
//! The clock orders concurrent writes; causality is decided by version vectors, never by it
//! (Kulkarni et al. 2014, "Logical Physical Clocks"). Nothing here reads a clock: time is an argument.

use std::cmp::Ordering;

use super::ids::{PersonId, ReplicaId};

/// A hybrid logical clock reading: Unix milliseconds in the upper 48 bits, a counter in the lower 16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hlc(pub u64);

/// How far into the future a stamp may lie before the hub clamps it, in milliseconds.
pub const FUTURE_MS_MAX: u64 = 5 * 60 * 1000;

impl Hlc {
    /// The reading at a wall-clock time, counter 0. `unix_ms` beyond 47 bits saturates, so that a stamp always
    /// fits a signed 64-bit column.
    pub fn at(unix_ms: u64) -> Self {
        Self(unix_ms.min((1 << 47) - 1) << 16)
    }

    /// The wall-clock part, in Unix milliseconds.
    pub fn unix_ms(self) -> u64 {
        self.0 >> 16
    }

    /// The stamp of a write at `unix_ms` on a row whose highest stamp is `self`: later than both.
    pub fn tick(self, unix_ms: u64) -> Self {
        Self(self.0.saturating_add(1)).max(Self::at(unix_ms))
    }

    /// The latest stamp the hub accepts at `unix_ms`.
    pub fn ceiling(unix_ms: u64) -> Self {
        Self::at(unix_ms.saturating_add(FUTURE_MS_MAX))
    }
}

/// One write of one row: the replica's `seq`-th, at `hlc`, by a person if a person wrote it.
///
/// Its identity is `(replica, seq)`; its rank among concurrent writes is `(hlc, replica, seq)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dot {
    /// Who wrote.
    pub replica: ReplicaId,
    /// The replica's counter, from 1, rising with every row write.
    pub seq: u64,
    /// When, as far as the writer knew.
    pub hlc: Hlc,
    /// The person, if any.
    pub by: Option<PersonId>,
}

impl Dot {
    /// Whether both name the same write, whatever their stamps say.
    pub fn same_write(&self, other: &Self) -> bool {
        (self.replica, self.seq) == (other.replica, other.seq)
    }

    /// The dot that wins between two writes: the same write takes its lower stamp (a clamped one is the
    /// corrected one), different writes are ranked by `(hlc, replica, seq)`.
    pub fn join(self, other: Self) -> Self {
        if self.same_write(&other) {
            if other.hlc < self.hlc { other } else { self }
        } else if self.rank() < other.rank() {
            other
        } else {
            self
        }
    }

    fn rank(&self) -> (Hlc, ReplicaId, u64) {
        (self.hlc, self.replica, self.seq)
    }
}

impl PartialOrd for Dot {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Dot {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.rank(), self.by).cmp(&(other.rank(), other.by))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tick_is_later_than_the_row_and_than_now() {
        let row = Hlc::at(1_000);
        assert_eq!(row.tick(500), Hlc(row.0 + 1));
        assert_eq!(row.tick(2_000), Hlc::at(2_000));
    }

    #[test]
    fn stamps_of_any_clock_fit_a_signed_column() {
        assert!(i64::try_from(Hlc::at(u64::MAX).0).is_ok());
        assert!(i64::try_from(Hlc::ceiling(u64::MAX).0).is_ok());
    }

    #[test]
    fn the_hub_takes_stamps_of_the_next_five_minutes_and_none_later() {
        assert_eq!(Hlc::ceiling(1_000).unix_ms(), 301_000);
        assert_eq!(Hlc(Hlc::at(1_000).0 + 7).unix_ms(), 1_000, "the counter is no time");
    }
}
