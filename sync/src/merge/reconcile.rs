//! What becomes of a row that an edge and the centre hold differently when the two are compared.
//!
//! An edge's own writes that the centre lacks are sent again. Writes of others that the centre lacks are lost there:
//! the edge offers them, for a person to decide about, and takes the centre's version meanwhile. Whatever else
//! differs is joined as after any pull.

use super::clock::Dot;
use super::conflict::Conflict;
use super::ids::{ReplicaId, RowId, TableId};
use super::plan::written_to_a_forgotten_row;
use super::resolve::{Quiet, merge};
use super::value::{Register, Value};
use super::vector::Vector;
use super::version::{Dots, Row, Version};

/// A row as an edge holds it.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    /// The row.
    pub row: &'a Row,
    /// What the centre is known to have of it; `None` when nothing waits.
    pub base: Option<&'a Vector>,
}

/// Under which circumstances the two are compared.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The edge's ids, former ones included.
    pub own: &'a [ReplicaId],
    /// Whether edges write the table.
    pub writable: bool,
    /// The names of the centre's writes that it has lost; empty if it was not rewound. If it was, what it lacks may be lost
    /// rather than forgotten.
    pub lost: &'a [ReplicaId],
    /// Registers of no interest to people.
    pub quiet: Quiet<'a>,
}

impl Terms<'_> {
    fn rewound(&self) -> bool {
        !self.lost.is_empty()
    }
}

/// What the edge does with a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// What it stores.
    pub store: Store,
    /// Whether the row as it was is first offered to the centre.
    pub offer: bool,
}

/// What an edge stores.
#[derive(Clone, Debug, PartialEq)]
pub enum Store {
    /// The row stays, and the centre has this of it.
    Keep {
        /// `None` when nothing waits.
        base: Option<Vector>,
    },
    /// The centre's row takes its place.
    Replace,
    /// The same, and what was written here to another row of that id, which the centre has forgotten as deleted, is kept so.
    Supersede {
        /// What lost.
        conflicts: Vec<Conflict>,
    },
    /// This row takes its place.
    Join {
        /// The row.
        row: Row,
        /// What the centre has of it; `None` when nothing waits.
        base: Option<Vector>,
        /// What lost.
        conflicts: Vec<Conflict>,
    },
    /// It goes.
    Remove,
}

/// Settles one row that differs; `None` is a side that knows nothing of it.
pub fn settle(table: TableId, id: RowId, here: Option<Here<'_>>, hub: Option<&Row>, terms: Terms<'_>) -> Settlement {
    let settled = |store| Settlement { store, offer: false };
    let Some(here) = here else {
        return settled(if hub.is_some() { Store::Replace } else { Store::Remove });
    };
    if !terms.writable {
        let lost = terms.rewound() && lacks(hub, here.row, &[]) && differ(here.row, hub, terms.quiet);
        let store = if hub.is_some_and(|hub| hub.version.is_alive()) { Store::Replace } else { Store::Remove };
        return Settlement { store, offer: lost };
    }
    match hub {
        None => settle_unknown(here, terms),
        Some(hub) => settle_known(table, id, here, hub, terms),
    }
}

/// A row of which the centre knows nothing.
fn settle_unknown(here: Here<'_>, terms: Terms<'_>) -> Settlement {
    let settled = |store| Settlement { store, offer: false };
    let never_sent = here.base.is_some_and(Vector::is_empty);
    if never_sent || !terms.rewound() && here.base.is_some() {
        return settled(Store::Keep { base: here.base.cloned() });
    }
    if !terms.rewound() {
        // It was deleted so long ago that the centre has forgotten even that.
        return settled(Store::Remove);
    }
    let is_own_delete = here.row.version.dots.deleted.is_some_and(|dot| terms.own.contains(&dot.replica));
    if !here.row.version.is_alive() && is_own_delete {
        // Another edge may hold the row still, or make it anew: the centre has to know that it was deleted.
        let others = here.row.version.vv.iter().filter(|(replica, _)| !terms.own.contains(replica)).collect();
        return settled(Store::Keep { base: Some(others) });
    }
    let mut registers = here.row.values.keys();
    let is_own =
        |register: &Register| here.row.version.dots.of(register).is_some_and(|dot| terms.own.contains(&dot.replica));
    if here.row.version.is_alive() && registers.all(is_own) {
        let row = without_lost(here, &Row::default(), terms.own);
        return settled(Store::Join { row, base: Some(Vector::default()), conflicts: Vec::new() });
    }
    // A death too: another edge may hold the row still and send it again, and who deleted it may have gone back as well. If he
    // has not, he sends his delete, and the offer is superseded.
    Settlement { store: Store::Remove, offer: true }
}

fn settle_known(table: TableId, id: RowId, here: Here<'_>, hub: &Row, terms: Terms<'_>) -> Settlement {
    let acknowledged = here.base.unwrap_or(&here.row.version.vv);
    // A delete of it says the same still, and who asks for it finds it.
    if here.row.version.is_alive() && !terms.rewound() && is_another_row(acknowledged, hub) {
        let written = (&here.row.version, &here.row.values);
        let conflicts = written_to_a_forgotten_row((table, id), written, acknowledged, terms.own, terms.quiet);
        return Settlement { store: Store::Supersede { conflicts }, offer: false };
    }
    let lost = lacks(Some(hub), here.row, terms.own);
    let offer = lost && differ(here.row, Some(hub), terms.quiet);
    let known = if lost { without_lost(here, hub, terms.own) } else { here.row.clone() };
    let is_unsent = |dot: &Dot| terms.own.contains(&dot.replica) && !hub.version.vv.covers(dot);
    let shows_one = known.version.dots.iter().any(is_unsent);
    // An own write that no register shows any more was overwritten by one that is lost: there is nothing to send again, and
    // without its value it brings back no row that is dead here.
    let is_dead_for_all_that_is_known = lost && !here.row.version.is_alive() && !shows_one;
    if hub.version.vv.includes(&known.version.vv) || is_dead_for_all_that_is_known {
        return Settlement { store: Store::Replace, offer };
    }
    let base = Some(hub.version.vv.clone());
    let store = if !lost && known.version.vv.includes(&hub.version.vv) {
        match filled_in(here, hub) {
            Some(row) => Store::Join { row, base, conflicts: Vec::new() },
            None => Store::Keep { base },
        }
    } else {
        // What the lost writes had in their registers is the centre's again.
        let merged = merge(table, id, &known, hub, terms.quiet);
        Store::Join { row: merged.row, base, conflicts: merged.conflicts }
    };
    Settlement { store, offer }
}

/// Whether the centre has forgotten, as deleted, the row of which it had `acknowledged`, and has another one under that id since,
/// or the bare death that it wrote down for somebody who spoke of the row later. A centre that only lacks something of the row
/// has a part of it.
fn is_another_row(acknowledged: &Vector, hub: &Row) -> bool {
    let is_part = |(replica, seq)| seq <= acknowledged.seen(replica);
    let is_bare_death = hub.version.dots.edits().next().is_none();
    !hub.version.vv.includes(acknowledged) && (is_bare_death || !hub.version.vv.iter().any(is_part))
}

/// The row with the centre's values where both have the same write, known to be the centre's, and not the same value: the
/// edge did not know the column when it stored the row, or somebody changed it in the dark. `None` when there are none.
fn filled_in(here: Here<'_>, hub: &Row) -> Option<Row> {
    let base = here.base?;
    let is_stale = |(register, value): &(&Register, &Value)| {
        let (ours, theirs) = (here.row.version.dots.of(register), hub.version.dots.of(register));
        let same = ours.zip(theirs).is_some_and(|(ours, theirs)| ours.same_write(&theirs) && base.covers(&ours));
        same && here.row.values.get(*register) != Some(*value)
    };
    if !here.row.version.is_alive() || !hub.version.is_alive() {
        return None;
    }
    let stale: Vec<(&Register, &Value)> = hub.values.iter().filter(is_stale).collect();
    let mut row = here.row.clone();
    row.values.extend(stale.iter().map(|(register, value)| ((*register).clone(), (*value).clone())));
    (!stale.is_empty()).then_some(row)
}

/// Whether the row holds writes of others than `own` that the centre does not have.
fn lacks(hub: Option<&Row>, row: &Row, own: &[ReplicaId]) -> bool {
    let seen = |replica| hub.map_or(0, |hub| hub.version.vv.seen(replica));
    row.version.vv.iter().any(|(replica, seq)| !own.contains(&replica) && seq > seen(replica))
}

/// Whether a person would see a difference.
fn differ(row: &Row, hub: Option<&Row>, quiet: Quiet<'_>) -> bool {
    let none = Row::default();
    let hub = hub.unwrap_or(&none);
    if row.version.is_alive() != hub.version.is_alive() {
        return true;
    }
    let loud = |register: &&Register| !quiet.contains(&register.as_str());
    let mut registers = row.values.keys().chain(hub.values.keys()).filter(loud);
    row.version.is_alive() && registers.any(|register| row.values.get(register) != hub.values.get(register))
}

/// The row as if the edge had never seen the writes of others that the centre has lost: what they wrote is unknown,
/// what they deleted is not deleted.
fn without_lost(here: Here<'_>, hub: &Row, own: &[ReplicaId]) -> Row {
    let row = here.row;
    let held = |replica: ReplicaId, seq: u64| match own.contains(&replica) {
        true => seq,
        false => seq.min(hub.version.vv.seen(replica)),
    };
    let cut = |vector: &Vector| -> Vector {
        let entries = vector.iter().map(|(replica, seq)| (replica, held(replica, seq)));
        entries.filter(|(_, seq)| *seq > 0).collect()
    };
    let stays = |dot: &Dot| held(dot.replica, dot.seq) == dot.seq;
    let deleted = row.version.dots.deleted.filter(stays).or_else(|| hidden_delete(here, own));
    let gone = match (deleted, row.version.dots.deleted) {
        (None, Some(_)) => cut(&hub.version.gone),
        _ => cut(&row.version.gone),
    };
    let mut known = Row {
        version: Version { vv: cut(&row.version.vv), gone, dots: Dots { deleted, ..Dots::default() } },
        ..Row::default()
    };
    let Dots { default, named, .. } = &row.version.dots;
    if default.as_ref().is_some_and(stays) && named.values().all(stays) {
        // It was written whole, so that its keys that went stay away wherever somebody else still has them.
        (known.version.dots.default, known.version.dots.named) = (*default, named.clone());
        known.values = row.values.clone();
        return known;
    }
    // A JSON key that only the centre has went when the row was written whole: that is the default's to tell.
    let here = row.values.keys().chain(row.version.dots.named.keys());
    for register in here.chain(hub.values.keys().filter(|register| register.contains('.'))) {
        let Some(dot) = row.version.dots.of(register).filter(stays) else { continue };
        known.version.dots.named.insert(register.clone(), dot);
        if let Some(value) = row.values.get(register) {
            known.values.insert(register.clone(), value.clone());
        }
    }
    known
}

/// The own delete that waits under a later one: the two say the same, so that nothing lists the earlier one. Nobody else can
/// have deleted what the centre does not have.
fn hidden_delete(here: Here<'_>, own: &[ReplicaId]) -> Option<Dot> {
    let (base, later) = (here.base?, here.row.version.dots.deleted?);
    let waits = |(replica, seq): &(ReplicaId, u64)| own.contains(replica) && *seq > base.seen(*replica);
    let (replica, seq) = here.row.version.gone.iter().filter(waits).max_by_key(|(_, seq)| *seq)?;
    Some(Dot { replica, seq, hlc: later.hlc, by: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::clock::Hlc;
    use crate::merge::value::Value;

    const CENTRE: ReplicaId = ReplicaId(1);
    const OWN: ReplicaId = ReplicaId(7);
    const FORMER: ReplicaId = ReplicaId(6);
    const LOST: ReplicaId = ReplicaId(9);
    const OTHER: ReplicaId = ReplicaId(8);
    const TABLE: TableId = TableId(8);
    const ID: RowId = RowId(uuid::Uuid::nil());

    fn dot(replica: ReplicaId, seq: u64, hlc: u64) -> Dot {
        Dot { replica, seq, hlc: Hlc(hlc), by: None }
    }

    /// A row by its writes: who, seq, stamp, register and value; no register for a whole row, no value for a delete.
    fn row(writes: &[(ReplicaId, u64, u64, &str, &str)]) -> Row {
        let mut row = Row::default();
        for &(replica, seq, hlc, register, value) in writes {
            match (register, value) {
                (_, "") => row.version.delete(dot(replica, seq, hlc)),
                ("", value) => {
                    row.version.write(dot(replica, seq, hlc), &[]);
                    for register in ["title", "priority"] {
                        row.values.insert(register.to_owned(), Value::text(value));
                    }
                }
                (register, value) => {
                    row.version.write(dot(replica, seq, hlc), &[register.to_owned()]);
                    row.values.insert(register.to_owned(), Value::text(value));
                }
            }
        }
        row
    }

    fn settled(here: Option<(&Row, Option<Vector>)>, hub: Option<&Row>, rewound: bool) -> Settlement {
        let here = here.as_ref().map(|(row, base)| Here { row, base: base.as_ref() });
        let lost: &[ReplicaId] = if rewound { &[LOST] } else { &[] };
        settle(TABLE, ID, here, hub, Terms { own: &[OWN, FORMER], writable: true, lost, quiet: &[] })
    }

    #[test]
    fn a_key_that_went_when_the_row_was_written_whole_stays_away_after_a_rewind() {
        let mut here = row(&[(LOST, 1, 1, "", "old"), (LOST, 2, 2, "metadata.k", "old"), (OWN, 1, 3, "", "")]);
        here.values.clear();
        here.version.write(dot(OWN, 2, 4), &[]);
        here.values.insert("title".to_owned(), Value::text("ours"));
        let hub = row(&[(CENTRE, 1, 1, "", "old"), (CENTRE, 2, 2, "metadata.k", "old")]);
        let Store::Join { row, .. } = settled(Some((&here, None)), Some(&hub), true).store else {
            panic!("it is joined")
        };
        assert_eq!(row.values.get("title"), Some(&Value::text("ours")));
        assert_eq!(row.values.get("metadata.k"), None);
    }

    #[test]
    fn a_row_that_was_written_whole_is_sent_whole_to_a_centre_that_lost_it() {
        let here = row(&[(LOST, 1, 1, "", "theirs"), (OWN, 1, 2, "", "ours")]);
        let Store::Join { row, .. } = settled(Some((&here, None)), None, true).store else { panic!("it is sent") };
        assert_eq!(row.version.dots.of("metadata.k"), Some(dot(OWN, 1, 2)), "whoever still has that key loses it");
        assert_eq!(row.version.vv, [(OWN, 1)].into_iter().collect());
    }

    #[test]
    fn an_own_delete_that_waits_is_sent_though_a_later_one_was_lost_with_the_centre() {
        let here = row(&[(CENTRE, 80, 1, "", "a"), (OWN, 2, 2, "", ""), (LOST, 150, 3, "", "")]);
        let base: Vector = [(CENTRE, 80), (LOST, 150)].into_iter().collect();
        let hub = row(&[(CENTRE, 80, 1, "", "a")]);
        let Store::Join { row: joined, base: known, conflicts } =
            settled(Some((&here, Some(base.clone()))), Some(&hub), true).store
        else {
            panic!("it is joined")
        };
        assert!(!joined.version.is_alive());
        assert_eq!(joined.version.dots.deleted, Some(dot(OWN, 2, 3)));
        assert_eq!((known, conflicts), (Some(hub.version.vv), Vec::new()));
        let hub = row(&[(CENTRE, 81, 4, "", "b")]);
        let Store::Join { row: joined, conflicts, .. } = settled(Some((&here, Some(base))), Some(&hub), true).store
        else {
            panic!("it is joined")
        };
        assert!(joined.version.is_alive() && conflicts.len() == 1, "it had not seen that write, and is listed");
    }

    #[test]
    fn own_writes_that_the_centre_lost_are_sent_again() {
        let hub = row(&[(CENTRE, 80, 1, "", "a")]);
        let here = row(&[(CENTRE, 80, 1, "", "a"), (FORMER, 4, 2, "title", "b"), (OWN, 2, 3, "priority", "c")]);
        let expected = Settlement { store: Store::Keep { base: Some(hub.version.vv.clone()) }, offer: false };
        assert_eq!(settled(Some((&here, None)), Some(&hub), true), expected);
        let whole = row(&[(OWN, 2, 3, "", "mine")]);
        let again = settled(Some((&whole, None)), None, true);
        assert!(matches!(again.store, Store::Join { base: Some(base), .. } if base.is_empty()), "an insert again");
        assert!(!again.offer);
    }

    #[test]
    fn what_the_centre_has_under_the_same_write_is_taken_beside_what_waits_and_what_waits_is_not_touched() {
        let hub = row(&[(CENTRE, 80, 1, "", "told"), (OWN, 2, 3, "title", "theirs")]);
        let mut here = row(&[(CENTRE, 80, 1, "", "told"), (OWN, 2, 3, "title", "ours"), (OWN, 3, 4, "status", "new")]);
        here.values.remove("priority");
        let base: Vector = [(CENTRE, 80)].into_iter().collect();
        let Store::Join { row: joined, base: known, conflicts } =
            settled(Some((&here, Some(base))), Some(&hub), false).store
        else {
            panic!("it is filled in");
        };
        assert_eq!((joined.version, known), (here.version, Some(hub.version.vv)));
        let text = |register: &str| joined.values.get(register).cloned();
        assert_eq!(text("priority"), Some(Value::text("told")), "the centre is known to have that write");
        assert_eq!(text("title"), Some(Value::text("ours")), "it is not known to have this one");
        assert_eq!((text("status"), conflicts), (Some(Value::text("new")), Vec::new()));
    }

    #[test]
    fn lost_writes_of_others_are_offered_and_the_centres_version_is_taken() {
        let hub = row(&[(CENTRE, 80, 1, "", "a")]);
        let here = row(&[(CENTRE, 80, 1, "", "a"), (LOST, 150, 2, "title", "b")]);
        assert_eq!(settled(Some((&here, None)), Some(&hub), true), Settlement { store: Store::Replace, offer: true });
        let here = row(&[(LOST, 150, 2, "", "b"), (OWN, 2, 3, "title", "c")]);
        assert_eq!(settled(Some((&here, None)), None, true), Settlement { store: Store::Remove, offer: true });
        let here = row(&[(CENTRE, 80, 1, "", "a"), (LOST, 150, 2, "", "a")]);
        let same = settled(Some((&here, None)), Some(&hub), true);
        assert_eq!(same, Settlement { store: Store::Replace, offer: false }, "nothing is lost that anybody would see");
    }

    #[test]
    fn own_writes_beside_lost_ones_are_kept_apart_from_them() {
        let hub = row(&[(CENTRE, 80, 1, "", "a")]);
        let here = row(&[(CENTRE, 80, 1, "", "a"), (LOST, 150, 2, "title", "lost"), (OWN, 2, 3, "priority", "mine")]);
        let Settlement { store: Store::Join { row: joined, base, conflicts }, offer: true } =
            settled(Some((&here, None)), Some(&hub), true)
        else {
            panic!("a join with an offer");
        };
        assert_eq!(base, Some(hub.version.vv.clone()));
        assert_eq!(joined.values.get("priority"), Some(&Value::text("mine")));
        assert_eq!(joined.version.vv, [(CENTRE, 80), (OWN, 2)].into_iter().collect());
        assert_eq!(conflicts, []);
        assert_eq!(joined.values.get("title"), Some(&Value::text("a")), "the lost write's register is the centre's");
    }

    #[test]
    fn a_lost_delete_is_offered_and_the_row_lives_again() {
        let hub = row(&[(CENTRE, 80, 1, "", "a")]);
        let here = row(&[(CENTRE, 80, 1, "", "a"), (LOST, 150, 2, "", "")]);
        assert!(!here.version.is_alive());
        assert_eq!(settled(Some((&here, None)), Some(&hub), true), Settlement { store: Store::Replace, offer: true });
        let own = row(&[(CENTRE, 80, 1, "", "a"), (OWN, 2, 2, "", "")]);
        let kept = settled(Some((&own, None)), Some(&hub), true);
        assert_eq!(kept, Settlement { store: Store::Keep { base: Some(hub.version.vv) }, offer: false });
    }

    #[test]
    fn an_edit_of_a_row_that_the_centre_has_forgotten_is_not_joined_with_another_row_of_that_id() {
        let mut here = row(&[(OWN, 1, 9, "", "old"), (OWN, 3, 10, "priority", "edit")]);
        let anew = row(&[(OTHER, 3, 5, "", "anew")]);
        let mut bare = Row::default();
        bare.version.vv.observe(OTHER, 2);
        bare.version.delete(dot(CENTRE, 90, 11));
        let acknowledged: Vector = [(OWN, 1)].into_iter().collect();
        for hub in [&anew, &bare] {
            let Settlement { store: Store::Supersede { conflicts }, offer: false } =
                settled(Some((&here, Some(acknowledged.clone()))), Some(hub), false)
            else {
                panic!("it is another row");
            };
            let kept: Vec<_> = conflicts.into_iter().map(|one| (one.register, one.loser.value)).collect();
            assert_eq!(kept, [(Some("priority".to_owned()), Some(Value::text("edit")))]);
        }
        here.version.vv.observe(CENTRE, 80);
        let nothing = Settlement { store: Store::Supersede { conflicts: Vec::new() }, offer: false };
        assert_eq!(settled(Some((&here, None)), Some(&anew), false), nothing, "nothing waits");
        let never_sent = settled(Some((&here, Some(Vector::default()))), Some(&anew), false);
        assert!(matches!(never_sent.store, Store::Join { .. }), "made on both sides: {never_sent:?}");
        let deleted = row(&[(LOST, 150, 1, "", "old"), (OWN, 2, 2, "", "")]);
        let of_a_lost_row = settled(Some((&deleted, Some([(LOST, 150)].into_iter().collect()))), Some(&anew), false);
        assert!(matches!(of_a_lost_row.store, Store::Join { .. }), "the delete is sent: {of_a_lost_row:?}");
        let part = row(&[(OWN, 1, 9, "", "old"), (CENTRE, 81, 10, "title", "later")]);
        let lacking: Vector = [(OWN, 1), (CENTRE, 80), (OTHER, 4)].into_iter().collect();
        let lacks_some = settled(Some((&here, Some(lacking))), Some(&part), false);
        assert!(!matches!(lacks_some.store, Store::Supersede { .. }), "it is that row: {lacks_some:?}");
    }

    #[test]
    fn a_write_of_which_a_lost_death_has_kept_no_value_brings_back_no_older_value() {
        let hub = row(&[(OWN, 2, 1, "", "old"), (CENTRE, 80, 2, "", "")]);
        let mut here = Row::default();
        here.version.vv = [(OWN, 3), (CENTRE, 80)].into_iter().collect();
        here.version.delete(dot(LOST, 150, 4));
        let expected = Settlement { store: Store::Replace, offer: false };
        assert_eq!(settled(Some((&here, None)), Some(&hub), true), expected);
        let mut overwritten = row(&[(OWN, 2, 1, "", "old"), (LOST, 150, 4, "title", "later")]);
        overwritten.version.vv.observe(OWN, 3);
        let Store::Join { row: living, .. } =
            settled(Some((&overwritten, None)), Some(&row(&[(OWN, 2, 1, "", "old")])), true).store
        else {
            panic!("a join")
        };
        assert_eq!(living.version.vv.seen(OWN), 3, "in a row that lives it stays known that it was written");
        let shown =
            row(&[(OWN, 2, 1, "", "old"), (CENTRE, 80, 2, "", ""), (OWN, 3, 3, "", "new"), (LOST, 150, 4, "", "")]);
        let Store::Join { row, .. } = settled(Some((&shown, None)), Some(&hub), true).store else { panic!("a join") };
        assert_eq!((row.version.is_alive(), row.values.get("title")), (true, Some(&Value::text("new"))));
    }

    #[test]
    fn of_a_row_that_the_centre_lost_an_own_delete_is_sent_and_anybody_elses_is_offered() {
        let here = row(&[(LOST, 150, 1, "", "a"), (OWN, 2, 2, "", "")]);
        let others: Vector = [(LOST, 150)].into_iter().collect();
        let sent = Settlement { store: Store::Keep { base: Some(others) }, offer: false };
        assert_eq!(settled(Some((&here, None)), None, true), sent);
        let here = row(&[(OWN, 2, 1, "", "a"), (OTHER, 150, 2, "", "")]);
        let offered = Settlement { store: Store::Remove, offer: true };
        assert_eq!(settled(Some((&here, None)), None, true), offered, "who deleted it may have gone back");
        let here = row(&[(OWN, 2, 1, "", "a"), (LOST, 150, 2, "", "")]);
        assert_eq!(settled(Some((&here, None)), None, true), offered, "the centre does not know that it did");
    }

    #[test]
    fn what_the_centre_has_forgotten_as_deleted_does_not_come_back() {
        let here = row(&[(OWN, 2, 1, "", "a")]);
        assert_eq!(settled(Some((&here, None)), None, false).store, Store::Remove);
        let waiting = Some(here.version.vv.clone());
        let kept = Store::Keep { base: waiting.clone() };
        assert_eq!(settled(Some((&here, waiting)), None, false).store, kept, "the hub makes a conflict of it");
        let new = Some(Vector::default());
        assert_eq!(settled(Some((&here, new.clone())), None, false).store, Store::Keep { base: new });
    }

    #[test]
    fn the_centres_contents_win_where_the_versions_are_equal() {
        let hub = row(&[(CENTRE, 80, 1, "", "a")]);
        let here = row(&[(CENTRE, 80, 1, "", "changed in the dark")]);
        assert_eq!(settled(Some((&here, None)), Some(&hub), false).store, Store::Replace);
        assert_eq!(settled(None, Some(&hub), false).store, Store::Replace);
    }

    #[test]
    fn writes_that_did_not_know_each_other_are_joined_with_a_conflict() {
        let hub = row(&[(CENTRE, 80, 1, "", "a"), (CENTRE, 90, 9, "title", "theirs")]);
        let here = row(&[(CENTRE, 80, 1, "", "a"), (OWN, 2, 5, "title", "mine")]);
        let Store::Join { row: joined, conflicts, .. } = settled(Some((&here, None)), Some(&hub), true).store else {
            panic!("a join");
        };
        assert_eq!((joined.values.get("title"), conflicts.len()), (Some(&Value::text("theirs")), 1));
    }

    #[test]
    fn a_row_that_edges_do_not_write_is_offered_only_if_a_rewound_centre_lost_what_a_person_would_miss() {
        let hub = row(&[(CENTRE, 80, 1, "", "a")]);
        let offered = |hub: &Row, here: &Row, lost: &[ReplicaId]| {
            let here = Here { row: here, base: None };
            let terms = Terms { own: &[OWN], writable: false, lost, quiet: &[] };
            let settlement = settle(TABLE, ID, Some(here), Some(hub), terms);
            assert_eq!(settlement.store, Store::Replace, "the centre's row is taken");
            settlement.offer
        };
        let lost = row(&[(CENTRE, 80, 1, "", "a"), (LOST, 150, 2, "title", "b")]);
        assert!(offered(&hub, &lost, &[LOST]));
        assert!(!offered(&hub, &lost, &[]), "the centre did not go back: it forgot");
        let same = row(&[(CENTRE, 80, 1, "", "a"), (LOST, 150, 2, "title", "a")]);
        assert!(!offered(&hub, &same, &[LOST]), "nobody would see a difference");
        let old = row(&[(CENTRE, 79, 1, "", "old")]);
        assert!(!offered(&hub, &old, &[LOST]), "the centre has all of it, and more");
    }

    #[test]
    fn a_delete_that_waits_is_not_touched_by_what_the_centre_has_under_the_same_write() {
        let hub = row(&[(CENTRE, 80, 1, "", "told")]);
        let here = row(&[(CENTRE, 80, 1, "", "changed in the dark"), (OWN, 2, 3, "", "")]);
        let kept = Store::Keep { base: Some(hub.version.vv.clone()) };
        assert_eq!(settled(Some((&here, Some(hub.version.vv.clone()))), Some(&hub), false).store, kept);
    }

    #[test]
    fn own_writes_that_a_lost_delete_had_seen_live_again() {
        let hub = row(&[(CENTRE, 80, 1, "", "a")]);
        let here = row(&[(CENTRE, 80, 1, "", "a"), (OWN, 2, 2, "title", "mine"), (LOST, 150, 3, "", "")]);
        let Settlement { store: Store::Join { row: joined, .. }, offer: true } =
            settled(Some((&here, None)), Some(&hub), true)
        else {
            panic!("a join with an offer");
        };
        assert!(joined.version.is_alive());
        assert_eq!(joined.values.get("title"), Some(&Value::text("mine")));
    }

    #[test]
    fn an_own_delete_of_a_row_with_lost_writes_is_sent_as_the_delete_that_it_was() {
        let hub = row(&[(CENTRE, 80, 1, "", "a")]);
        let here = row(&[(CENTRE, 80, 1, "", "a"), (LOST, 150, 2, "title", "lost"), (OWN, 3, 3, "", "")]);
        let Store::Join { row: joined, base, .. } = settled(Some((&here, None)), Some(&hub), true).store else {
            panic!("a join");
        };
        assert_eq!((joined.version.is_alive(), joined.version.dots.deleted), (false, Some(dot(OWN, 3, 3))));
        assert_eq!(base, Some(hub.version.vv));
    }

    #[test]
    fn a_write_that_nothing_shows_is_not_sent_again_because_of_one_that_the_centre_has() {
        let hub = row(&[(OWN, 2, 1, "", "old"), (CENTRE, 80, 2, "", "")]);
        let mut here = hub.clone();
        here.version.vv.observe(OWN, 3);
        here.version.delete(dot(LOST, 150, 4));
        let expected = Settlement { store: Store::Replace, offer: false };
        assert_eq!(settled(Some((&here, None)), Some(&hub), true), expected);
    }

    #[test]
    fn a_delete_is_hidden_under_a_later_one_only_if_it_is_an_own_one_that_waits() {
        let here = row(&[(CENTRE, 80, 1, "", "a"), (OWN, 2, 2, "", ""), (LOST, 150, 3, "", "")]);
        let hidden = |base: &[(ReplicaId, u64)]| {
            let base = base.iter().copied().collect();
            hidden_delete(Here { row: &here, base: Some(&base) }, &[OWN])
        };
        assert_eq!(hidden(&[(CENTRE, 80), (OWN, 1), (LOST, 150)]), Some(dot(OWN, 2, 3)));
        assert_eq!(hidden(&[(CENTRE, 80), (OWN, 2), (LOST, 150)]), None, "the centre has it");
        assert_eq!(hidden(&[(CENTRE, 79), (OWN, 2)]), None, "what it lacks is of others");
    }
}
