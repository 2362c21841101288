//! A version vector: per replica, the highest write of a row that somebody has seen (Parker et al. 1983).

use std::collections::BTreeMap;

use super::clock::Dot;
use super::ids::ReplicaId;

/// Replica to the highest seq seen, both ends included; an absent replica means nothing seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Vector(BTreeMap<ReplicaId, u64>);

impl Vector {
    /// The seq seen of one replica, 0 for none.
    pub fn seen(&self, replica: ReplicaId) -> u64 {
        self.0.get(&replica).copied().unwrap_or(0)
    }

    /// Whether the write that `dot` names has been seen.
    pub fn covers(&self, dot: &Dot) -> bool {
        dot.seq <= self.seen(dot.replica)
    }

    /// Whether everything that `other` has seen has been seen.
    pub fn includes(&self, other: &Self) -> bool {
        other.0.iter().all(|(&replica, &seq)| seq <= self.seen(replica))
    }

    /// Notes that a write has been seen. Never lowers a seq.
    pub fn observe(&mut self, replica: ReplicaId, seq: u64) {
        if seq > self.seen(replica) {
            self.0.insert(replica, seq);
        }
    }

    /// The least vector that includes both.
    pub fn join(&self, other: &Self) -> Self {
        let mut joined = self.clone();
        for (&replica, &seq) in &other.0 {
            joined.observe(replica, seq);
        }
        joined
    }

    /// The entries, in the order of replicas.
    pub fn iter(&self) -> impl Iterator<Item = (ReplicaId, u64)> + '_ {
        self.0.iter().map(|(&replica, &seq)| (replica, seq))
    }

    /// Whether nothing has been seen.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of replicas with an entry.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<(ReplicaId, u64)> for Vector {
    fn from_iter<I: IntoIterator<Item = (ReplicaId, u64)>>(entries: I) -> Self {
        let mut vector = Self::default();
        for (replica, seq) in entries {
            vector.observe(replica, seq);
        }
        vector
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_counts_the_replicas_of_which_something_was_seen() {
        let (one, other, third) = (ReplicaId(1), ReplicaId(2), ReplicaId(3));
        let vector: Vector = [(one, 5), (other, 0), (third, 1), (one, 3)].into_iter().collect();
        assert_eq!((vector.len(), vector.is_empty()), (2, false));
        assert_eq!(vector.iter().collect::<Vec<_>>(), [(one, 5), (third, 1)]);
        let none: Vector = [(other, 0)].into_iter().collect();
        assert_eq!((none.len(), none.is_empty()), (0, true));
        assert_eq!(none, Vector::default(), "nothing seen of somebody is nothing seen");
    }
}
