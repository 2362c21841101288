//! Whether a number of a replica names one write: over every copy of every row, at any time that was looked.
//!
//! It reads the versions of rows as both databases store them, by plain SQL, and knows nothing of how they came about.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::deployment::{Deployment, Edge};

/// What was seen under each number: the rows, and the stamps of the write.
#[derive(Clone, Debug, Default)]
pub struct Dots(BTreeMap<(u64, u64), BTreeSet<(String, u64)>>);

impl Dots {
    /// Looks at the centre.
    pub async fn look_at_centre(&mut self, world: &Deployment) {
        self.read(&world.sql("select table_id || ' ' || row_id || ' ' || dots::text from sync.row_versions").await);
    }

    /// Looks at what an edge and the centre agree on. Writes that wait are the edge's own affair: one that was restored and has
    /// not heard of it yet gives them numbers that it takes back before it sends them.
    pub async fn look_at(&mut self, edge: &Edge) {
        self.read(&edge.sqlite("select tbl || ' ' || row_id || ' ' || dots from sync_rows where base is null").await);
    }

    /// Every number that names two writes.
    pub fn problems(&self) -> Vec<String> {
        let twice = self.0.iter().filter(|(_, writes)| writes.len() > 1);
        twice.map(|((replica, seq), writes)| format!("{seq} of replica {replica} names {writes:?}")).collect()
    }

    /// Every number that names writes of two rows, whatever their stamps: the hub sets back a stamp that is ahead of its clock.
    pub fn problems_but_for_stamps(&self) -> Vec<String> {
        let rows =
            |writes: &BTreeSet<(String, u64)>| writes.iter().map(|(row, _)| row.clone()).collect::<BTreeSet<_>>();
        let twice = self.0.iter().filter(|(_, writes)| rows(writes).len() > 1);
        twice.map(|((replica, seq), writes)| format!("{seq} of replica {replica} names {writes:?}")).collect()
    }

    /// How many numbers were seen.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    fn read(&mut self, lines: &str) {
        for line in lines.lines() {
            let (row, dots) = line
                .match_indices(' ')
                .nth(1)
                .map(|(at, _)| line.split_at(at))
                .unwrap_or_else(|| panic!("no version in {line}"));
            let dots: BTreeMap<String, Value> =
                serde_json::from_str(dots).unwrap_or_else(|error| panic!("{line}: {error}"));
            for dot in dots.values() {
                let number = |index: usize| dot[index].as_u64().unwrap_or_else(|| panic!("no dot in {line}"));
                self.0.entry((number(0), number(1))).or_default().insert((row.to_owned(), number(2)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_names_two_writes_is_found() {
        let mut dots = Dots::default();
        dots.read("8 a {\"*\": [3, 1, 10], \"title\": [3, 2, 11, \"somebody\"]}\n8 b {\"*\":[4,1,10]}");
        dots.read("8 a {\"*\":[3,1,10],\"title\":[3,2,11]}");
        assert_eq!((dots.problems(), dots.count()), (vec![], 3));
        dots.read("8 b {\"*\":[3,2,11]}");
        assert_eq!(dots.problems().len(), 1, "another row");
        dots.read("8 b {\"*\":[4,1,12]}");
        assert_eq!(dots.problems().len(), 2, "another write of the same row");
    }
}
