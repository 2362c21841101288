//! Writes that take another name: after a rewind of the centre, and when a restored or copied edge gets a new id.
//!
//! A dot's identity is (replica, seq). A database that goes back and goes on uses numbers again, and two writes with
//! one name would be taken for one. So what may be named twice is renamed on both sides, in the vectors too, before
//! anything is compared.

use std::collections::BTreeMap;

use super::clock::Dot;
use super::fence::Rename;
use super::ids::ReplicaId;
use super::vector::Vector;
use super::version::Version;

/// Renames what a rewind of the centre made ambiguous; says whether that was anything.
///
/// A vector that had seen the centre beyond the common past has seen all of that past, and what it saw above becomes
/// an entry of the new name.
pub fn rename(version: &mut Version, rename: Rename) -> bool {
    let changed = rename_vector(&mut version.vv, rename) | rename_vector(&mut version.gone, rename);
    for dot in version.dots.iter_mut().filter(|dot| dot.replica == rename.from && dot.seq > rename.above) {
        dot.replica = rename.to;
    }
    changed
}

/// The same for a vector that stands alone.
pub fn rename_vector(vector: &mut Vector, Rename { from, above, to }: Rename) -> bool {
    let seen = vector.seen(from);
    if seen <= above {
        return false;
    }
    let kept = vector.iter().filter(|(replica, _)| *replica != from);
    let common = (above > 0).then_some((from, above));
    *vector = kept.chain(common).chain([(to, seen)]).collect();
    true
}

/// The writes of a row that are `own` and not in `acknowledged`, each once.
pub fn unanswered(version: &Version, acknowledged: &Vector, own: &[ReplicaId]) -> Vec<Dot> {
    let mut dots: BTreeMap<(ReplicaId, u64), Dot> = BTreeMap::new();
    for dot in version.dots.iter().filter(|dot| own.contains(&dot.replica) && !acknowledged.covers(dot)) {
        dots.insert((dot.replica, dot.seq), *dot);
    }
    dots.into_values().collect()
}

/// Gives the writes of a row that are `own` and not in `acknowledged` to the replica `to`, numbered by `next` in their
/// order, with their stamps and persons. What the row had seen of the old ids is cut back to what was acknowledged.
/// Says by which number each goes; empty when there were none.
///
/// A write that no register shows any more counts too: the row may live because of it.
pub fn reissue(
    version: &mut Version,
    acknowledged: &Vector,
    own: &[ReplicaId],
    to: ReplicaId,
    mut next: impl FnMut() -> u64,
) -> BTreeMap<(ReplicaId, u64), u64> {
    let mut stamped = unanswered(version, acknowledged, own);
    stamped.sort_by_key(|dot| (dot.hlc, dot.replica, dot.seq));
    let mut names: Vec<(ReplicaId, u64)> = stamped.iter().map(|dot| (dot.replica, dot.seq)).collect();
    // Writes that only the vector knows come last: they have no stamp.
    let beyond = |(replica, seq): &(ReplicaId, u64)| own.contains(replica) && *seq > acknowledged.seen(*replica);
    let hidden: Vec<_> = version.vv.iter().filter(beyond).filter(|name| !names.contains(name)).collect();
    names.extend(hidden);
    // But what a deleter had seen comes before what he had not: else he would have seen that too.
    names.sort_by_key(|&(replica, seq)| version.gone.seen(replica) < seq);
    let renamed: BTreeMap<(ReplicaId, u64), u64> = names.into_iter().map(|name| (name, next())).collect();
    if renamed.is_empty() {
        return renamed;
    }
    for dot in version.dots.iter_mut() {
        if let Some(seq) = renamed.get(&(dot.replica, dot.seq)) {
            (dot.replica, dot.seq) = (to, *seq);
        }
    }
    version.vv = moved(&version.vv, acknowledged, own, to, &renamed);
    version.gone = moved(&version.gone, acknowledged, own, to, &renamed);
    renamed
}

/// Gives writes of a row the names under which the centre has them, because another life of this edge sent them so; they are
/// `acknowledged` then. A later write that the other life made of the row has a higher number there, so that nothing is taken
/// for seen which was not.
pub fn take_names(
    version: &mut Version,
    acknowledged: &mut Vector,
    names: &BTreeMap<(ReplicaId, u64), (ReplicaId, u64)>,
) {
    for dot in version.dots.iter_mut() {
        if let Some(now) = names.get(&(dot.replica, dot.seq)) {
            (dot.replica, dot.seq) = *now;
        }
    }
    let shown: Vector = version.dots.iter().map(|dot| (dot.replica, dot.seq)).collect();
    for (&(replica, seq), now) in names.iter().rev() {
        acknowledged.observe(now.0, now.1);
        for vector in [&mut version.vv, &mut version.gone] {
            if vector.seen(replica) < seq {
                continue;
            }
            if vector.seen(replica) == seq {
                let kept = acknowledged.seen(replica).max(shown.seen(replica).min(seq));
                let others = vector.iter().filter(|(id, _)| *id != replica);
                *vector = others.chain((kept > 0).then_some((replica, kept))).collect();
            }
            vector.observe(now.0, now.1);
        }
    }
}

/// A vector without what is cut back, with what it had seen of it under the new names.
fn moved(
    vector: &Vector,
    acknowledged: &Vector,
    own: &[ReplicaId],
    to: ReplicaId,
    renamed: &BTreeMap<(ReplicaId, u64), u64>,
) -> Vector {
    let mut moved = Vector::default();
    for (replica, seq) in vector.iter() {
        let kept = if own.contains(&replica) { seq.min(acknowledged.seen(replica)) } else { seq };
        if kept > 0 {
            moved.observe(replica, kept);
        }
    }
    let seen = renamed.iter().filter(|((replica, old), _)| *old <= vector.seen(*replica)).map(|(_, new)| *new).max();
    if let Some(seq) = seen {
        moved.observe(to, seq);
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::clock::Hlc;

    const CENTRE: ReplicaId = ReplicaId(1);
    const OLD: ReplicaId = ReplicaId(7);
    const NEW: ReplicaId = ReplicaId(9);

    fn dot(replica: ReplicaId, seq: u64, hlc: u64) -> Dot {
        Dot { replica, seq, hlc: Hlc(hlc), by: None }
    }

    fn vector(entries: &[(ReplicaId, u64)]) -> Vector {
        entries.iter().copied().collect()
    }

    fn counter() -> impl FnMut() -> u64 {
        let mut seq = 0;
        move || {
            seq += 1;
            seq
        }
    }

    #[test]
    fn what_the_centre_wrote_above_the_common_past_is_renamed_and_the_rest_is_not() {
        let mut version = Version::default();
        version.write(dot(CENTRE, 80, 1), &[]);
        version.write(dot(OLD, 3, 2), &["title".to_owned()]);
        let untouched = version.clone();
        let rule = Rename { from: CENTRE, above: 100, to: NEW };
        assert!(!rename(&mut version, rule));
        assert_eq!(version, untouched);
        version.write(dot(CENTRE, 150, 3), &["status".to_owned()]);
        version.delete(dot(CENTRE, 151, 4));
        assert!(rename(&mut version, rule));
        assert_eq!(version.vv, vector(&[(CENTRE, 100), (OLD, 3), (NEW, 151)]));
        assert_eq!(version.gone, version.vv);
        assert_eq!(version.dots.of("status"), Some(dot(NEW, 150, 3)));
        assert_eq!((version.dots.default, version.dots.deleted), (Some(dot(CENTRE, 80, 1)), Some(dot(NEW, 151, 4))));
        assert!(!version.is_alive());
        let once = version.clone();
        assert!(!rename(&mut version, rule), "a second time changes nothing");
        assert_eq!(version, once);
    }

    #[test]
    fn unanswered_writes_get_new_names_with_their_old_stamps_and_the_old_id_is_cut_back() {
        let mut version = Version::default();
        version.write(dot(CENTRE, 80, 1), &[]);
        version.write(dot(OLD, 3, 2), &["status".to_owned()]);
        version.write(dot(OLD, 5, 5), &["title".to_owned()]);
        version.write(dot(OLD, 6, 6), &["priority".to_owned()]);
        let acknowledged = vector(&[(CENTRE, 80), (OLD, 3)]);
        let renamed = reissue(&mut version, &acknowledged, &[OLD, NEW], NEW, counter());
        assert_eq!(renamed, [((OLD, 5), 1), ((OLD, 6), 2)].into_iter().collect());
        assert_eq!(version.vv, vector(&[(CENTRE, 80), (OLD, 3), (NEW, 2)]));
        assert_eq!(version.dots.of("status"), Some(dot(OLD, 3, 2)));
        assert_eq!(version.dots.of("title"), Some(dot(NEW, 1, 5)));
        assert_eq!(version.dots.of("priority"), Some(dot(NEW, 2, 6)));
        assert!(reissue(&mut version, &vector(&[(OLD, 3), (NEW, 2)]), &[OLD, NEW], NEW, counter()).is_empty());
    }

    #[test]
    fn a_delete_that_was_not_answered_stays_a_delete_of_what_it_had_seen() {
        let mut version = Version::default();
        version.write(dot(OLD, 3, 2), &[]);
        version.write(dot(OLD, 4, 3), &["title".to_owned()]);
        version.delete(dot(OLD, 5, 4));
        assert!(!reissue(&mut version, &vector(&[(OLD, 3)]), &[OLD], NEW, counter()).is_empty());
        assert_eq!(version.vv, vector(&[(OLD, 3), (NEW, 2)]));
        assert_eq!(version.gone, version.vv);
        assert!(!version.is_alive());
    }

    #[test]
    fn a_delete_that_was_acknowledged_is_not_undone_by_the_cut() {
        let mut version = Version::default();
        version.write(dot(OLD, 3, 2), &[]);
        version.delete(dot(OLD, 4, 3));
        let before = version.clone();
        assert!(reissue(&mut version, &vector(&[(OLD, 4)]), &[OLD], NEW, counter()).is_empty());
        assert_eq!(version, before);
    }

    #[test]
    fn writes_that_another_life_sent_under_other_names_take_these_and_what_is_left_keeps_its_own() {
        let mut version = Version::default();
        version.write(dot(CENTRE, 80, 1), &[]);
        version.write(dot(OLD, 3, 2), &["status".to_owned()]);
        version.write(dot(OLD, 5, 5), &["title".to_owned()]);
        version.write(dot(OLD, 6, 6), &["priority".to_owned()]);
        let mut acknowledged = vector(&[(CENTRE, 80)]);
        let names = [((OLD, 3), (NEW, 1)), ((OLD, 6), (NEW, 4))].into_iter().collect();
        take_names(&mut version, &mut acknowledged, &names);
        assert_eq!(version.vv, vector(&[(CENTRE, 80), (OLD, 5), (NEW, 4)]));
        assert_eq!(acknowledged, vector(&[(CENTRE, 80), (NEW, 4)]));
        assert_eq!(version.dots.of("status"), Some(dot(NEW, 1, 2)));
        assert_eq!(version.dots.of("title"), Some(dot(OLD, 5, 5)));
        assert_eq!(version.dots.of("priority"), Some(dot(NEW, 4, 6)));
        assert_eq!(unanswered(&version, &acknowledged, &[OLD, NEW]), [dot(OLD, 5, 5)]);
    }

    #[test]
    fn a_delete_that_another_life_sent_takes_its_name_and_deletes_the_same() {
        let mut version = Version::default();
        version.write(dot(CENTRE, 80, 1), &[]);
        version.delete(dot(OLD, 4, 3));
        let mut acknowledged = vector(&[(CENTRE, 80)]);
        take_names(&mut version, &mut acknowledged, &[((OLD, 4), (NEW, 1))].into_iter().collect());
        assert_eq!(version.vv, vector(&[(CENTRE, 80), (NEW, 1)]));
        assert_eq!(version.gone, version.vv);
        assert!(!version.is_alive());
        assert!(reissue(&mut version, &acknowledged, &[OLD, NEW], NEW, counter()).is_empty());
    }

    #[test]
    fn a_row_that_lives_by_a_write_that_no_register_shows_goes_on_living() {
        let mut version = Version::default();
        version.write(dot(OLD, 3, 2), &[]);
        version.vv.observe(OLD, 6);
        version.vv.observe(CENTRE, 90);
        version.write(dot(CENTRE, 90, 9), &[]);
        version.gone = vector(&[(OLD, 3), (CENTRE, 90)]);
        assert!(version.is_alive());
        assert!(!reissue(&mut version, &vector(&[(OLD, 3)]), &[OLD], NEW, counter()).is_empty());
        assert_eq!(version.vv, vector(&[(CENTRE, 90), (OLD, 3), (NEW, 1)]));
        assert!(version.is_alive());
    }

    #[test]
    fn a_row_made_anew_goes_on_living_though_its_delete_had_seen_a_write_under_an_older_id() {
        const OLDER: ReplicaId = ReplicaId(6);
        let mut version = Version::default();
        version.write(dot(OLDER, 1, 2), &[]);
        version.delete(dot(OLD, 2, 3));
        version.write(dot(OLD, 4, 4), &[]);
        // The centre was rewound and lacks the first write too.
        assert_eq!(reissue(&mut version, &Vector::default(), &[OLDER, OLD], NEW, counter()).len(), 3);
        assert!(version.is_alive());
        assert_eq!((version.gone, version.vv), (vector(&[(NEW, 2)]), vector(&[(NEW, 3)])));
    }

    #[test]
    fn of_a_row_that_was_never_deleted_only_writes_above_the_common_past_are_renamed() {
        let mut version = Version::default();
        version.write(dot(CENTRE, 100, 1), &[]);
        version.write(dot(CENTRE, 101, 2), &["title".to_owned()]);
        assert!(rename(&mut version, Rename { from: CENTRE, above: 100, to: NEW }));
        assert_eq!(version.dots.default, Some(dot(CENTRE, 100, 1)), "both histories have it");
        assert_eq!(version.dots.of("title"), Some(dot(NEW, 101, 2)));
        assert_eq!((version.vv, version.gone), (vector(&[(CENTRE, 100), (NEW, 101)]), Vector::default()));
    }

    #[test]
    fn whoever_has_seen_more_than_a_write_has_seen_it_under_its_new_name_too_and_who_has_not_has_not() {
        let mut version = Version::default();
        version.write(dot(OLD, 2, 1), &[]);
        version.gone = version.vv.clone();
        version.write(dot(OLD, 3, 2), &["status".to_owned()]);
        version.write(dot(OLD, 6, 6), &["title".to_owned()]);
        let mut acknowledged = vector(&[(OLD, 2)]);
        take_names(&mut version, &mut acknowledged, &[((OLD, 3), (NEW, 1))].into_iter().collect());
        assert_eq!(version.vv, vector(&[(OLD, 6), (NEW, 1)]));
        assert_eq!(version.gone, vector(&[(OLD, 2)]), "the delete had not seen it");
        assert_eq!(acknowledged, vector(&[(OLD, 2), (NEW, 1)]));
    }
}
