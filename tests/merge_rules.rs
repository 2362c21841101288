//! The rules of merging two states, one test for each way in which a rule was once found missing.

use sync::catalog::{self, by_name, key_register, split_key};
use sync::merge::clock::Dot;
use sync::merge::conflict::{Conflict, Kind, Party, Status};
use sync::merge::ids::{RowId, TableId};
use sync::merge::plan::PushPlan;
use sync::merge::rename::reissue;
use sync::merge::resolve::merge;
use sync::merge::value::Value;
use tests::every_case::EveryCase;
use tests::history::{Actor, History};
use tests::one_task::{
    ROW, TASKS, dot, four_that_know_one_task, hub_plans, join, losers, push_of, sees, set_title, text, values, vector,
};
use uuid::Uuid;

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

#[test]
fn edits_that_were_each_deleted_apart_are_not_lost_when_a_third_write_brings_the_row_back() {
    let history = &mut History::default();
    let [_, mut a, mut b, mut c] = four_that_know_one_task(history);
    for (actor, title) in [(&mut a, "from a"), (&mut b, "from b")] {
        set_title(history, actor, 100, title);
        history.delete(actor, 200);
    }
    history.update(&mut c, 300, &[("priority", Some(text("high")))]);

    let dead = join(&a, &b);
    assert!(!dead.row.version.is_alive());
    assert_eq!(losers(&dead.conflicts), [(Kind::EditEdit, Some("title"), 2, 1)]);
    let living = merge(TASKS, ROW, &dead.row, &c.row, &[]);
    assert!(living.row.version.is_alive());
    assert_eq!(living.row.values["title"], text("from b"));
    assert_eq!(losers(&living.conflicts), [(Kind::EditDelete, None, 3, 2)]);
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

#[test]
fn write_that_ranks_below_one_that_it_had_beaten_since_it_goes_by_another_name_is_listed() {
    let history = &mut History::default();
    let [_, mut a, mut b, _] = four_that_know_one_task(history);
    set_title(history, &mut a, 100, "from a");
    set_title(history, &mut b, 100, "from b");
    let mut here = join(&a, &b).row;
    assert_eq!(here.values["title"], text("from b"), "of equal stamps the higher id wins");
    let (own, to) = (dot(3, 1, 0).replica, dot(1, 0, 0).replica);
    let mut seq = 100;
    let next = || {
        seq += 1;
        seq
    };
    assert_eq!(reissue(&mut here.version, &a.row.version.vv, &[own], to, next).len(), 1);
    let merged = merge(TASKS, ROW, &a.row, &here, &[]);
    assert_eq!(merged.row.values["title"], text("from a"));
    assert_eq!(losers(&merged.conflicts), [(Kind::EditEdit, Some("title"), 1, 101)]);
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
        let winner = *cases.one_of(&[dot(3, 1, 200), dot(4, 1, 300), dot(4, 1, 250)]);
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
fn winner_with_two_stamps_takes_the_lower_in_either_order() {
    let with =
        |winner| Conflict { winner: Party { dot: winner, value: None }, ..conflict(dot(2, 1, 100), Some("title")) };
    let (before, after, other) = (with(dot(3, 1, 900)), with(dot(3, 1, 300)), with(dot(4, 1, 200)));
    assert_eq!(before.clone().join(after.clone()), after);
    assert_eq!(after.clone().join(before), after);
    assert_eq!(other.join(after.clone()), after, "of two writes the higher");
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
