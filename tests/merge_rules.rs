//! The rules of merging, one test for each way in which a rule was once found missing.
//!
//! Replicas: 1 is the centre, the others are edges. Times are milliseconds on the writer's clock.

use sync::catalog::{self, by_name, key_register, split_key};
use sync::merge::clock::{Dot, Hlc};
use sync::merge::conflict::{Conflict, Kind, Party, Status};
use sync::merge::ids::{ReplicaId, RowId, TableId};
use sync::merge::plan::{
    Clamp, Forgery, PullPlan, Push, PushPlan, clamp, plan_pull, plan_push, restamp, unacknowledged,
};
use sync::merge::resolve::{Merged, merge};
use sync::merge::value::{Value, Values};
use sync::merge::vector::Vector;
use sync::merge::version::Row;
use tests::every_case::EveryCase;
use tests::history::{Actor, History};
use uuid::Uuid;

const TASKS: TableId = TableId(8);
const ROW: RowId = RowId(Uuid::from_u128(1));
const YEAR_2099_MS: u64 = 4_070_908_800_000;

fn text(value: &str) -> Value {
    Value::text(value)
}

fn values(entries: &[(&str, &str)]) -> Values {
    entries.iter().map(|(register, value)| ((*register).to_owned(), text(value))).collect()
}

/// Replicas 1 to 4 that all hold one task, written by the centre at time 10.
fn four_that_know_one_task(history: &mut History) -> [Actor; 4] {
    let mut centre = Actor::new(1);
    history.insert(&mut centre, 10, values(&[("title", "new"), ("priority", "low"), ("updated_at", "10")]));
    let copy = |id| Actor { row: centre.row.clone(), seen: centre.seen, ..Actor::new(id) };
    [copy(1), copy(2), copy(3), copy(4)].map(|actor| if actor.id == centre.id { centre.clone() } else { actor })
}

fn set_title(history: &mut History, actor: &mut Actor, now_ms: u64, title: &str) {
    history.update(actor, now_ms, &[("title", Some(text(title)))]);
}

/// `actor` takes over the state of another that has seen more.
fn sees(actor: &mut Actor, other: &Actor) {
    actor.row = other.row.clone();
    actor.seen = other.seen;
}

fn join(ours: &Actor, theirs: &Actor) -> Merged {
    merge(TASKS, ROW, &ours.row, &theirs.row, &["updated_at"])
}

/// Kind, register and loser of each conflict, sorted.
fn losers(conflicts: &[Conflict]) -> Vec<(Kind, Option<&str>, u32, u64)> {
    let loser = |conflict: &'_ Conflict| (conflict.loser.dot.replica.0, conflict.loser.dot.seq);
    let mut losers: Vec<_> = conflicts
        .iter()
        .map(|conflict| (conflict.kind, conflict.register.as_deref(), loser(conflict).0, loser(conflict).1))
        .collect();
    losers.sort();
    losers
}

/// What an edge sends for its row when the hub's vector was last known to be `base`.
fn push_of(edge: &Actor, base: &Vector) -> Push {
    let own = [edge.id];
    let carried = unacknowledged(&edge.row, base, &own);
    let values = carried.map(|register| (register.clone(), edge.row.values[register].clone())).collect();
    Push { version: edge.row.version.clone(), base: base.clone(), values }
}

fn hub_plans(hub: Option<&Row>, push: &Push, own: &[u32]) -> PushPlan {
    let own: Vec<ReplicaId> = own.iter().copied().map(ReplicaId).collect();
    plan_push(TASKS, ROW, hub, push, &own, &["updated_at"])
}

fn vector(entries: &[(u32, u64)]) -> Vector {
    entries.iter().map(|&(replica, seq)| (ReplicaId(replica), seq)).collect()
}

fn dot(replica: u32, seq: u64, unix_ms: u64) -> Dot {
    Dot { replica: ReplicaId(replica), seq, hlc: Hlc::at(unix_ms), by: None }
}

// Rule 1: a row lives exactly when some write of it was seen by no deleter.

#[test]
fn edit_unseen_by_the_deleter_keeps_the_row_though_a_deleted_edit_wins() {
    let history = &mut History::default();
    let [_, mut a, mut d, mut b] = four_that_know_one_task(history);
    set_title(history, &mut a, 100, "from a");
    sees(&mut d, &a);
    history.delete(&mut d, 110);
    set_title(history, &mut b, 50, "from b");

    let merged = join(&d, &b);
    assert!(merged.row.version.is_alive());
    assert_eq!(merged.row.values["title"], text("from a"));
    let expected = [(Kind::EditEdit, Some("title"), 4, 1), (Kind::EditDelete, None, 3, 1)];
    assert_eq!(losers(&merged.conflicts), expected);
}

#[test]
fn delete_shows_in_the_vector_and_kills_exactly_what_it_saw() {
    let history = &mut History::default();
    let [_, mut a, _, _] = four_that_know_one_task(history);
    history.delete(&mut a, 20);
    assert_eq!(a.row.version.vv, vector(&[(1, 1), (2, 1)]));
    assert_eq!(a.row.version.gone, a.row.version.vv);
    assert!(!a.row.version.is_alive());
}

#[test]
fn delete_that_lost_names_a_write_it_had_not_seen_even_an_overwritten_one() {
    let history = &mut History::default();
    let (mut one, mut two, mut three) = (Actor::new(2), Actor::new(3), Actor::new(4));
    history.insert(&mut one, 10, values(&[("title", "one")]));
    history.insert(&mut two, 20, values(&[("title", "two")]));
    sees(&mut three, &two);
    history.delete(&mut three, 30);

    let inserted = Actor { row: join(&one, &two).row, seen: one.seen | two.seen, ..Actor::new(5) };
    let merged = join(&inserted, &three);
    assert_eq!(losers(&merged.conflicts), [(Kind::EditDelete, None, 4, 1)]);
    assert!(
        merged.conflicts[0].winner.dot.same_write(&dot(2, 1, 0)),
        "the deleter knew {:?}",
        merged.conflicts[0].winner
    );
}

// Rule 2: `updated_at` goes with the last writer and is never listed.

#[test]
fn updated_at_is_the_last_writers_though_another_is_later() {
    let history = &mut History::default();
    let [_, mut a, mut b, _] = four_that_know_one_task(history);
    history.update(&mut a, 200, &[("title", Some(text("a"))), ("updated_at", Some(text("2001")))]);
    history.update(&mut b, 100, &[("priority", Some(text("high"))), ("updated_at", Some(text("2999")))]);

    for merged in [join(&a, &b), join(&b, &a)] {
        assert_eq!(merged.row.values["updated_at"], text("2001"));
        assert_eq!(merged.row.values["priority"], text("high"));
        assert_eq!(losers(&merged.conflicts), []);
    }
    let heard = merge(TASKS, ROW, &a.row, &b.row, &[]);
    assert_eq!(losers(&heard.conflicts), [(Kind::EditEdit, Some("updated_at"), 3, 1)], "quiet is what silences it");
}

#[test]
fn updated_at_is_the_only_quiet_column_of_every_table() {
    for table in catalog::TABLES {
        assert_eq!(table.quiet(), ["updated_at"], "{}", table.name);
    }
}

// Rule 4: a write is (replica, seq); of two stamps it has the lower.

#[test]
fn write_with_two_stamps_takes_the_lower_whichever_comes_first() {
    let (high, low, between) = (dot(2, 1, 900), dot(2, 1, 100), dot(3, 1, 500));
    assert_eq!(high.join(low), low);
    assert_eq!(low.join(high), low);
    assert_eq!(low.join(between), between);
}

#[test]
fn stamp_of_2099_does_not_beat_an_edit_that_knew_it() {
    let history = &mut History::default();
    let [mut hub, mut a, mut b, _] = four_that_know_one_task(history);
    let base = hub.row.version.vv.clone();
    set_title(history, &mut a, YEAR_2099_MS, "from the future");

    let mut push = push_of(&a, &base);
    let clamps = clamp(&mut push.version, &hub.row.version, &[a.id], Hlc::ceiling(1_000));
    assert_eq!(clamps, [Clamp { replica: a.id, seq: 1, hlc: Hlc::ceiling(1_000) }]);
    let PushPlan::Store { row, .. } = hub_plans(Some(&hub.row), &push, &[2]) else { panic!("not stored") };
    hub.row = row;
    sees(&mut b, &hub);
    set_title(history, &mut b, 2_000, "knew it");

    history.update(&mut a, 30, &[("priority", Some(text("unsent")))]);
    restamp(&mut a.row.version, &base, &clamps);
    let plan = plan_pull(TASKS, ROW, Some(&a.row), &b.row, &[]);
    let PullPlan::Merge { row, conflicts } = plan else { panic!("an edit was overwritten: {plan:?}") };
    assert_eq!(row.values["title"], text("knew it"));
    assert_eq!(row.values["priority"], text("unsent"));
    assert_eq!(conflicts, []);
}

#[test]
fn later_unsent_writes_follow_a_clamp_in_their_order() {
    let history = &mut History::default();
    let [_, mut a, _, _] = four_that_know_one_task(history);
    set_title(history, &mut a, YEAR_2099_MS, "sent");
    history.update(&mut a, 30, &[("priority", Some(text("high")))]);
    history.delete(&mut a, 40);
    let clamped = Clamp { replica: a.id, seq: 1, hlc: Hlc::ceiling(1_000) };
    restamp(&mut a.row.version, &vector(&[(1, 1)]), &[clamped]);

    let dots = &a.row.version.dots;
    let stamps = [dots.of("title"), dots.of("priority"), dots.deleted].map(|dot| dot.map(|dot| dot.hlc.0));
    let ceiling = Hlc::ceiling(1_000).0;
    assert_eq!(stamps, [Some(ceiling), Some(ceiling + 1), Some(ceiling + 2)]);
    assert_eq!(dots.of("updated_at"), Some(dot(1, 1, 10)), "the writes of others keep their stamps");
}

#[test]
fn clamp_heard_again_leaves_what_was_written_since() {
    let history = &mut History::default();
    let [mut hub, mut a, _, _] = four_that_know_one_task(history);
    let base = hub.row.version.vv.clone();
    set_title(history, &mut a, YEAR_2099_MS, "from the future");
    let clamped = Clamp { replica: a.id, seq: 1, hlc: Hlc::ceiling(1_000) };
    restamp(&mut a.row.version, &base, &[clamped]);
    sees(&mut hub, &a);
    set_title(history, &mut hub, 9_000_000, "from the centre");
    sees(&mut a, &hub);
    let base = hub.row.version.vv.clone();
    set_title(history, &mut a, 9_000_001, "knew the centre's");

    restamp(&mut a.row.version, &base, &[clamped]);
    assert_eq!(join(&a, &hub).row.values["title"], text("knew the centre's"));
}

#[test]
fn clamp_by_a_slow_hub_never_falls_below_what_the_write_had_seen() {
    let history = &mut History::default();
    // The writer's id is the lower one, so a tie between the stamps would go against it.
    let [mut hub, mut a, _, mut b] = four_that_know_one_task(history);
    set_title(history, &mut b, 400_000, "stored by a hub whose clock is right");
    sees(&mut hub, &b);
    sees(&mut a, &hub);
    let base = hub.row.version.vv.clone();
    history.update(&mut a, YEAR_2099_MS, &[("title", Some(text("knew it"))), ("priority", Some(text("high")))]);
    set_title(history, &mut a, 0, "knew that too");

    let mut push = push_of(&a, &base);
    clamp(&mut push.version, &hub.row.version, &[a.id], Hlc::ceiling(0));
    let PushPlan::Store { row, conflicts, .. } = hub_plans(Some(&hub.row), &push, &[2]) else { panic!("not stored") };
    assert_eq!(row.values["title"], text("knew that too"));
    assert_eq!(row.values["priority"], text("high"));
    assert_eq!(conflicts, []);
}

#[test]
fn clamp_touches_neither_what_is_known_nor_what_is_not_the_pushers() {
    let history = &mut History::default();
    let [hub, mut a, _, _] = four_that_know_one_task(history);
    set_title(history, &mut a, YEAR_2099_MS, "a");
    let pushed = a.row.version.clone();
    for (known, own) in [(&a.row.version, a.id), (&hub.row.version, ReplicaId(7))] {
        let mut version = pushed.clone();
        assert_eq!(clamp(&mut version, known, &[own], Hlc::ceiling(0)), []);
        assert_eq!(version, pushed);
    }
}

// Rule 5: a conflict is a pure function of the losing write.

fn conflict(loser: Dot, register: Option<&str>) -> Conflict {
    Conflict {
        table: TASKS,
        row: ROW,
        kind: Kind::EditEdit,
        register: register.map(str::to_owned),
        loser: Party { dot: loser, value: Some(text("lost")) },
        winner: Party { dot: dot(9, 9, 999), value: Some(text("won")) },
        status: Status::Open,
    }
}

#[test]
fn conflict_id_follows_from_table_row_register_and_losing_write_alone() {
    let id = conflict(dot(2, 1, 100), Some("title")).id();
    let same = [
        conflict(dot(2, 1, 50), Some("title")),
        Conflict { status: Status::Restored, ..conflict(dot(2, 1, 100), Some("title")) },
        Conflict { winner: Party { dot: dot(5, 5, 5), value: None }, ..conflict(dot(2, 1, 100), Some("title")) },
    ];
    for other in same {
        assert_eq!(other.id(), id, "{other:?}");
    }
    let different = [
        conflict(dot(2, 2, 100), Some("title")),
        conflict(dot(3, 1, 100), Some("title")),
        conflict(dot(2, 1, 100), Some("priority")),
        conflict(dot(2, 1, 100), None),
        Conflict { table: TableId(7), ..conflict(dot(2, 1, 100), Some("title")) },
        Conflict { row: RowId(Uuid::from_u128(2)), ..conflict(dot(2, 1, 100), Some("title")) },
    ];
    for other in different {
        assert_ne!(other.id(), id, "{other:?}");
    }
    assert_eq!(id.to_string(), "7266651e-aa21-5c32-85bf-0c660524aa88", "ids are stored, so they never change");
}

#[test]
fn conflict_met_at_two_places_is_one_record_whatever_it_met_there() {
    let history = &mut History::default();
    let [_, mut a, mut b, mut c] = four_that_know_one_task(history);
    set_title(history, &mut a, 100, "a");
    set_title(history, &mut b, 200, "b");
    set_title(history, &mut c, 300, "c");
    let (at_b, at_c) = (join(&a, &b).conflicts, join(&c, &a).conflicts);
    assert_eq!(at_b[0].id(), at_c[0].id());
    let joined = at_b[0].clone().join(at_c[0].clone());
    assert_eq!(joined, at_c[0], "the higher winner");
}

#[test]
fn copies_of_a_conflict_join_to_one_record_in_any_order() {
    let pick = |cases: &mut EveryCase| {
        let status = *cases.one_of(&[Status::Open, Status::Dismissed, Status::Restored]);
        let kind = *cases.one_of(&[Kind::EditEdit, Kind::EditDelete]);
        let winner = *cases.one_of(&[dot(3, 1, 200), dot(4, 1, 300)]);
        let loser = *cases.one_of(&[dot(2, 1, 100), dot(2, 1, 50)]);
        let winner = Party { dot: winner, value: Some(text(&winner.replica.to_string())) };
        Conflict { status, kind, winner, ..conflict(loser, Some("title")) }
    };
    let mut cases = EveryCase::new();
    while cases.advance() {
        let [a, b, c] = [pick(&mut cases), pick(&mut cases), pick(&mut cases)];
        assert_eq!(a.clone().join(b.clone()), b.clone().join(a.clone()));
        assert_eq!(a.clone().join(b.clone()).join(c.clone()), a.clone().join(b.join(c)));
        assert_eq!(a.clone().join(a.clone()), a);
    }
}

#[test]
fn decision_about_a_conflict_only_moves_upwards() {
    let open = conflict(dot(2, 1, 100), Some("title"));
    let dismissed = Conflict { status: Status::Dismissed, ..open.clone() };
    let restored = Conflict { status: Status::Restored, ..open.clone() };
    assert_eq!(dismissed.clone().join(open.clone()).status, Status::Dismissed);
    assert_eq!(dismissed.join(restored.clone()).status, Status::Restored);
    assert_eq!(restored.join(open).status, Status::Restored);
}

#[test]
fn equal_values_and_seen_writes_are_no_conflict() {
    let history = &mut History::default();
    let [_, mut a, mut b, mut c] = four_that_know_one_task(history);
    set_title(history, &mut a, 100, "same");
    set_title(history, &mut b, 200, "same");
    sees(&mut c, &a);
    set_title(history, &mut c, 300, "knew a");
    assert_eq!(join(&a, &b).conflicts, []);
    assert_eq!(join(&a, &c).conflicts, []);
    assert_eq!(losers(&join(&b, &c).conflicts), [(Kind::EditEdit, Some("title"), 3, 1)]);
}

// Rule 6: last values outlive the row.

#[test]
fn loser_restored_on_a_dead_row_revives_it_from_its_last_values() {
    let history = &mut History::default();
    let [hub, mut a, _, _] = four_that_know_one_task(history);
    set_title(history, &mut a, 100, "last");
    history.delete(&mut a, 110);
    assert_eq!(a.row.values["title"], text("last"), "a dead row keeps its values");

    let mut revived = a.row.values.clone();
    revived.insert("priority".to_owned(), text("restored"));
    history.insert(&mut a, 120, revived);
    let merged = join(&hub, &a);
    assert!(merged.row.version.is_alive());
    assert_eq!(merged.row.values, values(&[("title", "last"), ("priority", "restored"), ("updated_at", "10")]));
    assert_eq!(merged.conflicts, []);
}

#[test]
fn unacknowledged_values_travel_with_a_delete_and_are_there_when_another_edit_revives_the_row() {
    let history = &mut History::default();
    let [mut hub, mut a, _, _] = four_that_know_one_task(history);
    let base = hub.row.version.vv.clone();
    set_title(history, &mut a, 100, "never acknowledged");
    history.delete(&mut a, 110);
    history.update(&mut hub, 105, &[("priority", Some(text("high")))]);

    let push = push_of(&a, &base);
    assert_eq!(push.values, values(&[("title", "never acknowledged")]));
    let PushPlan::Store { row, conflicts, .. } = hub_plans(Some(&hub.row), &push, &[2]) else { panic!("not stored") };
    assert!(row.version.is_alive());
    assert_eq!(row.values["title"], text("never acknowledged"));
    assert_eq!(losers(&conflicts), [(Kind::EditDelete, None, 2, 2)]);
}

// Rule 7: columns that make sense only together win together.

#[test]
fn status_and_completed_at_are_one_register() {
    let tasks = by_name("tasks").expect("tasks are synced");
    let columns: Vec<&str> = tasks.columns_of("status").map(|column| column.name).collect();
    assert_eq!(columns, ["status", "completed_at"]);
    assert_eq!(tasks.register_of("completed_at"), Some("status"));
    assert!(!tasks.registers().any(|register| register == "completed_at"));

    let done = Value::Group(vec![text("done"), text("2026-01-01T00:00:00.000000Z")]);
    let blocked = Value::Group(vec![text("blocked"), Value::Null]);
    let history = &mut History::default();
    let [_, mut a, mut b, _] = four_that_know_one_task(history);
    history.update(&mut a, 100, &[("status", Some(done.clone()))]);
    history.update(&mut b, 200, &[("status", Some(blocked.clone()))]);
    let merged = join(&a, &b);
    assert_eq!(merged.row.values["status"], blocked);
    assert_eq!(merged.conflicts.len(), 1);
    assert_eq!(merged.conflicts[0].loser.value, Some(done));
}

// Rule 8: a removed JSON key keeps its dot.

#[test]
fn removed_key_stays_removed_when_an_older_state_arrives() {
    let history = &mut History::default();
    let [mut hub, mut a, mut b, _] = four_that_know_one_task(history);
    history.update(&mut hub, 20, &[("metadata.firmware", Some(text("1.0")))]);
    sees(&mut a, &hub);
    sees(&mut b, &hub);
    history.update(&mut a, 30, &[("metadata.firmware", None)]);
    assert!(a.row.version.dots.named.contains_key("metadata.firmware"));
    history.update(&mut b, 40, &[("title", Some(text("unrelated")))]);

    for merged in [join(&a, &b), join(&b, &a)] {
        assert!(!merged.row.values.contains_key("metadata.firmware"));
        assert_eq!(merged.row.version.dots.of("metadata.firmware").map(|dot| dot.replica), Some(a.id));
        assert_eq!(merged.conflicts, []);
    }
    let PushPlan::Store { row, exact, .. } = hub_plans(Some(&hub.row), &push_of(&a, &hub.row.version.vv), &[2]) else {
        panic!("not stored")
    };
    assert!(exact && !row.values.contains_key("metadata.firmware"), "a push carries the removal without a value");
}

#[test]
fn key_that_was_set_while_another_removed_it_is_kept_or_listed() {
    let history = &mut History::default();
    let [mut hub, mut a, mut b, _] = four_that_know_one_task(history);
    history.update(&mut hub, 20, &[("metadata.a.b", Some(text("old")))]);
    sees(&mut a, &hub);
    sees(&mut b, &hub);
    history.update(&mut a, 40, &[("metadata.a.b", None)]);
    history.update(&mut b, 30, &[("metadata.a.b", Some(text("set")))]);
    let merged = join(&a, &b);
    assert!(!merged.row.values.contains_key("metadata.a.b"));
    assert_eq!(merged.conflicts[0].loser.value, Some(text("set")));
}

#[test]
fn key_register_is_split_at_its_first_dot_only() {
    for (column, key) in [("metadata", "firmware"), ("metadata", "a.b"), ("metadata", ".a"), ("metadata", "")] {
        assert_eq!(split_key(&key_register(column, key)), Some((column, key)));
    }
    assert_eq!(split_key("title"), None);
}

// Rule 18: a push is not echoed only when the hub holds exactly what the edge sent.

#[test]
fn push_is_exact_only_when_the_hub_holds_nothing_else() {
    let history = &mut History::default();
    let [mut hub, mut a, mut b, _] = four_that_know_one_task(history);
    let base = hub.row.version.vv.clone();
    set_title(history, &mut a, 100, "a");
    let push = push_of(&a, &base);
    let exactness = |hub: &Actor, push: &Push| match hub_plans(Some(&hub.row), push, &[2]) {
        PushPlan::Store { exact, .. } => exact,
        plan => panic!("not stored: {plan:?}"),
    };
    assert!(exactness(&hub, &push));

    history.update(&mut b, 90, &[("priority", Some(text("high")))]);
    hub.row = join(&hub, &b).row;
    assert!(!exactness(&hub, &push), "another site's edit has yet to arrive");
}

#[test]
fn push_is_not_exact_when_the_hub_knows_another_stamp() {
    let history = &mut History::default();
    let [hub, mut a, _, _] = four_that_know_one_task(history);
    set_title(history, &mut a, 100, "a");
    let mut push = push_of(&a, &hub.row.version.vv);
    push.version.dots.default = Some(dot(1, 1, 9));
    let PushPlan::Store { row, exact, .. } = hub_plans(Some(&hub.row), &push, &[2]) else { panic!("not stored") };
    assert!(!exact);
    assert_eq!(row.version.dots.default, Some(dot(1, 1, 10)));
}

#[test]
fn repeated_push_is_known() {
    let history = &mut History::default();
    let [hub, mut a, _, _] = four_that_know_one_task(history);
    set_title(history, &mut a, 100, "a");
    let push = push_of(&a, &hub.row.version.vv);
    let PushPlan::Store { row, .. } = hub_plans(Some(&hub.row), &push, &[2]) else { panic!("not stored") };
    assert_eq!(hub_plans(Some(&row), &push, &[2]), PushPlan::Known);
}

// Rule 21: of a push the hub believes nothing but the pusher's own new writes.

/// Changes a good push of replica 2 on a task that all know, and says what the hub must make of it.
fn check_forgery(forge: impl FnOnce(&mut Push), expected: impl FnOnce(&PushPlan) -> bool) {
    let history = &mut History::default();
    let [hub, mut a, _, _] = four_that_know_one_task(history);
    set_title(history, &mut a, 100, "a");
    let mut push = push_of(&a, &hub.row.version.vv);
    forge(&mut push);
    let plan = hub_plans(Some(&hub.row), &push, &[2]);
    assert!(expected(&plan), "{plan:?}");
}

#[test]
fn foreign_seq_that_the_hub_never_saw_needs_the_full_row() {
    check_forgery(|push| push.version.vv.observe(ReplicaId(3), 1_000_000_000), |plan| *plan == PushPlan::NeedFull);
    check_forgery(|push| push.version.vv.observe(ReplicaId(1), 2), |plan| *plan == PushPlan::NeedFull);
    check_forgery(|push| push.version.gone.observe(ReplicaId(3), 1), |plan| *plan == PushPlan::NeedFull);
}

#[test]
fn new_write_under_a_foreign_id_is_refused() {
    let refused = |plan: &PushPlan| *plan == PushPlan::Refused(Forgery::ForeignDot);
    let forged = Some(dot(3, 7, 100));
    check_forgery(|push| push.version.dots.default = forged, refused);
    check_forgery(|push| push.version.dots.deleted = forged, refused);
    check_forgery(
        |push| {
            push.version.dots.named.insert("title".to_owned(), dot(3, 7, 100));
        },
        refused,
    );
}

#[test]
fn push_that_contradicts_itself_is_refused() {
    let outside = |plan: &PushPlan| *plan == PushPlan::Refused(Forgery::DotOutsideVector);
    check_forgery(
        |push| {
            push.version.dots.named.insert("title".to_owned(), dot(2, 2, 100));
        },
        outside,
    );
    check_forgery(|push| push.version.dots.deleted = Some(dot(2, 2, 100)), outside);
    let gone = |plan: &PushPlan| *plan == PushPlan::Refused(Forgery::GoneOutsideVector);
    check_forgery(|push| push.version.gone.observe(ReplicaId(2), 1_000_000_000), gone);
    let missing = |plan: &PushPlan| *plan == PushPlan::Refused(Forgery::MissingValue);
    check_forgery(|push| push.values.clear(), missing);
    check_forgery(|push| push.version.dots.default = Some(dot(2, 1, 100)), missing);
}

#[test]
fn forged_stamp_or_value_of_another_changes_nothing() {
    let untouched = |plan: &PushPlan| match plan {
        PushPlan::Store { row, conflicts, .. } => {
            row.values == values(&[("title", "a"), ("priority", "low"), ("updated_at", "10")])
                && row.version.dots.of("priority") == Some(dot(1, 1, 10))
                && conflicts.is_empty()
        }
        _ => false,
    };
    check_forgery(|_| (), untouched);
    check_forgery(|push| push.version.dots.default = Some(dot(1, 1, 0)), untouched);
    check_forgery(|push| push.version.dots.default = Some(dot(1, 1, YEAR_2099_MS)), untouched);
    check_forgery(
        |push| {
            push.values.insert("priority".to_owned(), text("forged"));
        },
        untouched,
    );
    check_forgery(
        |push| {
            push.version.dots.named.insert("priority".to_owned(), dot(1, 1, YEAR_2099_MS));
        },
        untouched,
    );
}

#[test]
fn edit_of_a_row_that_the_hub_forgot_is_listed_and_revives_nothing() {
    let history = &mut History::default();
    let [hub, mut a, _, _] = four_that_know_one_task(history);
    let base = hub.row.version.vv.clone();
    history.update(&mut a, 100, &[("title", Some(text("too late"))), ("updated_at", Some(text("100")))]);

    let PushPlan::Gone { conflicts } = hub_plans(None, &push_of(&a, &base), &[2]) else { panic!("the row came back") };
    assert_eq!(losers(&conflicts), [(Kind::EditDelete, Some("title"), 2, 1)]);
    assert_eq!(conflicts[0].loser.value, Some(text("too late")));

    let created = push_of(&a, &Vector::default());
    assert!(!matches!(hub_plans(None, &created, &[2]), PushPlan::Gone { .. }), "a new row has no base");
}

#[test]
fn row_that_the_edge_deleted_too_leaves_no_conflict_when_the_hub_forgot_it() {
    let history = &mut History::default();
    let [hub, mut a, _, _] = four_that_know_one_task(history);
    let base = hub.row.version.vv.clone();
    set_title(history, &mut a, 100, "deleted by its writer");
    history.delete(&mut a, 110);
    assert_eq!(hub_plans(None, &push_of(&a, &base), &[2]), PushPlan::Gone { conflicts: Vec::new() });
}

#[test]
fn acknowledged_values_are_not_listed_when_the_hub_forgot_the_row() {
    let history = &mut History::default();
    let [mut hub, mut a, _, _] = four_that_know_one_task(history);
    set_title(history, &mut a, 100, "acknowledged");
    sees(&mut hub, &a);
    let base = hub.row.version.vv.clone();
    history.update(&mut a, 110, &[("priority", Some(text("high")))]);
    let whole = Push { values: a.row.values.clone(), ..push_of(&a, &base) };
    let PushPlan::Gone { conflicts } = hub_plans(None, &whole, &[2]) else { panic!("the row came back") };
    assert_eq!(losers(&conflicts), [(Kind::EditDelete, Some("priority"), 2, 2)]);
}

#[test]
fn former_id_of_the_pusher_is_its_own() {
    let history = &mut History::default();
    let [hub, mut former, _, _] = four_that_know_one_task(history);
    set_title(history, &mut former, 100, "under the former id");
    let push = push_of(&former, &hub.row.version.vv);
    assert_eq!(hub_plans(Some(&hub.row), &push, &[9]), PushPlan::NeedFull);
    assert!(matches!(hub_plans(Some(&hub.row), &push, &[9, 2]), PushPlan::Store { exact: true, .. }));
}

// Rule 22: a local row is replaced only by one that has seen all of it.

#[test]
fn pulled_row_replaces_only_what_it_includes() {
    let history = &mut History::default();
    let [mut hub, mut a, _, _] = four_that_know_one_task(history);
    let old = hub.row.clone();
    let plan = |local: Option<&Row>, incoming: &Row| plan_pull(TASKS, ROW, local, incoming, &["updated_at"]);
    assert_eq!(plan(None, &old), PullPlan::Replace);
    assert_eq!(plan(Some(&old), &old), PullPlan::Replace);

    set_title(history, &mut hub, 20, "centre");
    assert_eq!(plan(Some(&old), &hub.row), PullPlan::Replace);
    assert_eq!(plan(Some(&hub.row), &old), PullPlan::Keep);

    set_title(history, &mut a, 30, "edge");
    let PullPlan::Merge { row, conflicts } = plan(Some(&a.row), &hub.row) else { panic!("an edit was overwritten") };
    assert_eq!(row.values["title"], text("edge"));
    assert_eq!(losers(&conflicts), [(Kind::EditEdit, Some("title"), 1, 2)]);
}

#[test]
fn row_whose_own_edit_lost_locally_still_pushes_its_vector() {
    let history = &mut History::default();
    let [mut hub, mut a, _, _] = four_that_know_one_task(history);
    set_title(history, &mut hub, 900, "centre");
    set_title(history, &mut a, 30, "lost here");
    let plan = plan_pull(TASKS, ROW, Some(&a.row), &hub.row, &[]);
    let PullPlan::Merge { row, .. } = plan else { panic!("an edit was overwritten") };
    a.row = row;

    let push = push_of(&a, &hub.row.version.vv);
    assert_eq!(push.values, Values::new(), "nothing of its own is left to carry");
    let PushPlan::Store { row, conflicts, exact } = hub_plans(Some(&hub.row), &push, &[2]) else {
        panic!("the hub never learns of the write")
    };
    assert!(exact);
    assert_eq!(row, a.row);
    assert_eq!(conflicts, []);
}
