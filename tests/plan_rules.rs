//! The rules of pushing and pulling a row, one test for each way in which a rule was once found missing.

use sync::merge::clock::Hlc;
use sync::merge::conflict::Kind;
use sync::merge::ids::ReplicaId;
use sync::merge::plan::{
    Clamp, Forgery, Late, PullPlan, Push, PushPlan, clamp, clamp_conflict, is_forgotten_there, plan_discard, plan_gone,
    plan_late, plan_pull, restamp,
};
use sync::merge::value::Values;
use sync::merge::vector::Vector;
use sync::merge::version::Row;
use tests::history::{Actor, History};
use tests::one_task::{
    ROW, TASKS, YEAR_2099_MS, dot, four_that_know_one_task, hub_plans, join, losers, push_of, sees, set_title, text,
    values, vector,
};

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
fn conflict_with_a_write_of_2099_is_the_same_whether_it_was_met_before_or_after_the_clamp() {
    let history = &mut History::default();
    let [mut hub, mut a, mut b, _] = four_that_know_one_task(history);
    let base = hub.row.version.vv.clone();
    set_title(history, &mut b, 20, "lost");
    sees(&mut hub, &b);
    set_title(history, &mut a, YEAR_2099_MS, "from the future");
    let mut met_at_a = join(&a, &hub).conflicts.remove(0);

    let mut push = push_of(&a, &base);
    clamp(&mut push.version, &hub.row.version, &[a.id], Hlc::ceiling(1_000));
    let PushPlan::Store { row, conflicts, .. } = hub_plans(Some(&hub.row), &push, &[2]) else { panic!("not stored") };
    assert!(clamp_conflict(&mut met_at_a, &row.version, Hlc::ceiling(9_000)));
    assert_eq!([met_at_a.clone()].as_slice(), conflicts);
    assert!(
        !clamp_conflict(&mut met_at_a, &row.version, Hlc::ceiling(9_000)),
        "the second time there is nothing to do"
    );
}

#[test]
fn write_of_2099_that_its_row_names_no_more_is_listed_at_the_ceiling() {
    let history = &mut History::default();
    let [hub, mut a, mut b, _] = four_that_know_one_task(history);
    set_title(history, &mut a, YEAR_2099_MS, "from the future");
    set_title(history, &mut b, YEAR_2099_MS + 1, "from a later future");
    let mut conflict = join(&a, &b).conflicts.remove(0);
    let id = conflict.id();
    assert!(clamp_conflict(&mut conflict, &hub.row.version, Hlc::ceiling(1_000)));
    assert_eq!((conflict.loser.dot.hlc, conflict.winner.dot.hlc), (Hlc::ceiling(1_000), Hlc::ceiling(1_000)));
    assert_eq!(conflict.id(), id);
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

#[test]
fn clamp_says_each_write_once_and_none_that_lies_at_the_ceiling() {
    let (ceiling, late) = (Hlc::at(1_000), YEAR_2099_MS);
    let (now, former) = (ReplicaId(2), ReplicaId(5));
    let mut version = Row::default().version;
    version.write(dot(2, 1, late), &["title".to_owned(), "priority".to_owned()]);
    version.write(dot(5, 1, late), &["status".to_owned()]);
    version.write(dot(2, 2, 1_000), &["metadata.k".to_owned()]);
    let mut clamps = clamp(&mut version, &Row::default().version, &[now, former], ceiling);
    clamps.sort_by_key(|clamp| clamp.replica);
    let lowered = |replica| Clamp { replica, seq: 1, hlc: ceiling };
    assert_eq!(clamps, [lowered(now), lowered(former)]);
    assert!(version.dots.iter().all(|dot| dot.hlc == ceiling));
}

// Two people at one replica: a vector orders their writes, and what each had seen does not.

#[test]
fn write_on_an_old_page_wins_over_what_it_had_not_seen_and_keeps_it_as_a_conflict() {
    let history = &mut History::default();
    let [_, mut a, _, _] = four_that_know_one_task(history);
    let past = a.row.version.vv.clone();
    set_title(history, &mut a, 20, "by the first");
    let late = |past: &Vector, title: &str| {
        let values = [("title".to_owned(), Some(text(title))), ("updated_at".to_owned(), Some(text("30")))];
        let late = Late { dot: dot(2, 2, 30), past: past.clone(), values: values.into() };
        plan_late(TASKS, ROW, &a.row, &late, &["updated_at"])
    };
    let merged = late(&past, "by the second");
    assert_eq!(losers(&merged.conflicts), [(Kind::EditEdit, Some("title"), 2, 1)]);
    let conflict = &merged.conflicts[0];
    assert_eq!(
        (&conflict.loser.value, &conflict.winner.value),
        (&Some(text("by the first")), &Some(text("by the second")))
    );
    assert_eq!((conflict.winner.dot, &merged.row.values["title"]), (dot(2, 2, 30), &text("by the second")));

    let mut plain = a.clone();
    history.update(&mut plain, 30, &[("title", Some(text("by the second"))), ("updated_at", Some(text("30")))]);
    assert_eq!(merged.row, plain.row, "what is stored is what any write of this replica leaves");
    assert_eq!(late(&past, "by the first").conflicts, [], "equal values do not conflict");
    assert_eq!(late(&a.row.version.vv, "by the second").conflicts, [], "what was seen is overwritten");
}

#[test]
fn write_on_an_old_page_of_another_register_conflicts_with_nothing() {
    let history = &mut History::default();
    let [_, mut a, _, _] = four_that_know_one_task(history);
    let past = a.row.version.vv.clone();
    set_title(history, &mut a, 20, "by the first");
    let values = [("priority".to_owned(), Some(text("high")))].into();
    let merged = plan_late(TASKS, ROW, &a.row, &Late { dot: dot(2, 2, 30), past, values }, &[]);
    assert_eq!(merged.conflicts, []);
    assert_eq!((&merged.row.values["title"], &merged.row.values["priority"]), (&text("by the first"), &text("high")));
}

#[test]
fn write_on_an_old_page_of_a_deleted_row_keeps_it_alive() {
    let history = &mut History::default();
    let [_, mut a, _, _] = four_that_know_one_task(history);
    let past = a.row.version.vv.clone();
    history.delete(&mut a, 20);
    let values = [("title".to_owned(), Some(text("still needed")))].into();
    let merged = plan_late(TASKS, ROW, &a.row, &Late { dot: dot(2, 2, 30), past, values }, &[]);
    assert!(merged.row.version.is_alive());
    assert_eq!(losers(&merged.conflicts), [(Kind::EditDelete, None, 2, 1)]);
    assert_eq!(merged.conflicts[0].winner.dot, dot(2, 2, 30));
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
fn edit_by_a_second_edge_of_a_row_that_the_hub_forgot_is_listed_beside_the_first_ones() {
    let history = &mut History::default();
    let [mut hub, mut a, _, _] = four_that_know_one_task(history);
    let base = hub.row.version.vv.clone();
    history.delete(&mut hub, 90);
    let kept = hub.row.clone();
    // All that is left of it is the death that was written down for the first edge.
    hub.row.values.clear();
    set_title(history, &mut a, 100, "too late");
    let PushPlan::Gone { conflicts } = hub_plans(Some(&hub.row), &push_of(&a, &base), &[2]) else {
        panic!("the row came back")
    };
    assert_eq!(losers(&conflicts), [(Kind::EditDelete, Some("title"), 2, 1)]);
    assert!(
        matches!(hub_plans(Some(&kept), &push_of(&a, &base), &[2]), PushPlan::Store { .. }),
        "a death with its values"
    );
}

#[test]
fn edit_that_met_a_death_without_values_at_its_edge_is_listed_and_a_row_that_was_made_anew_there_lives() {
    let history = &mut History::default();
    let [mut hub, mut a, mut b, _] = four_that_know_one_task(history);
    history.delete(&mut hub, 90);
    hub.row.values.clear();
    let told = hub.row.version.vv.clone();
    set_title(history, &mut a, 100, "too late");
    a.row.version.vv = a.row.version.vv.join(&told);
    a.row.version.gone = a.row.version.gone.join(&hub.row.version.gone);
    let PushPlan::Gone { conflicts } = hub_plans(Some(&hub.row), &push_of(&a, &told), &[2]) else {
        panic!("a part of a row was taken for one")
    };
    assert_eq!(losers(&conflicts), [(Kind::EditDelete, Some("title"), 2, 1)]);
    b.row = hub.row.clone();
    history.insert(&mut b, 110, values(&[("title", "anew"), ("priority", "low")]));
    assert!(matches!(hub_plans(Some(&hub.row), &push_of(&b, &told), &[3]), PushPlan::Store { .. }), "it is whole");
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
fn death_that_meets_a_death_without_values_is_taken_though_the_hub_forgot_what_it_had_acknowledged() {
    let history = &mut History::default();
    let [mut hub, mut a, _, _] = four_that_know_one_task(history);
    set_title(history, &mut a, 90, "acknowledged");
    let base = a.row.version.vv.clone();
    history.delete(&mut a, 100);
    // Another edge spoke of the row when it was forgotten here.
    history.delete(&mut hub, 110);
    hub.row.values.clear();
    assert_eq!(hub_plans(Some(&hub.row), &push_of(&a, &base), &[2]), PushPlan::Gone { conflicts: Vec::new() });
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

#[test]
fn push_carries_what_the_edge_wrote_that_the_hub_lacks_and_nothing_else() {
    let history = &mut History::default();
    let [mut hub, mut a, mut b, _] = four_that_know_one_task(history);
    set_title(history, &mut a, 20, "the hub has it");
    sees(&mut hub, &a);
    let base = hub.row.version.vv.clone();
    sees(&mut b, &a);
    history.update(&mut b, 30, &[("status", Some(text("of another edge, not at the hub yet")))]);
    sees(&mut a, &b);
    history.update(&mut a, 40, &[("priority", Some(text("high")))]);
    assert_eq!(push_of(&a, &base).values, values(&[("priority", "high")]));
}

// Rule 28: a discard is a write of the hub that absorbs the refused writes.

/// The hub's row after it has discarded what the edge holds; the hub's clock stands at 50.
fn discarded(hub: Option<&Row>, edge: &Actor, base: &Vector) -> Row {
    let hlc = hub.map(|row| row.version.hlc()).unwrap_or_default().max(edge.row.version.hlc()).tick(50);
    let dot = sync::merge::clock::Dot { hlc, ..dot(1, 100, 0) };
    plan_discard(hub, &push_of(edge, base), &[edge.id], dot).expect("the hub lacks these writes")
}

#[test]
fn discard_gives_the_edge_the_hubs_row_and_is_done_once() {
    let history = &mut History::default();
    let [hub, edge, ..] = four_that_know_one_task(history);
    let base = hub.row.version.vv.clone();
    let edits: [fn(&mut History, &mut Actor); 4] = [
        |history, edge| set_title(history, edge, YEAR_2099_MS, "refused"),
        |history, edge| history.delete(edge, 20),
        |history, edge| history.update(edge, 20, &[("metadata.k", Some(text("refused")))]),
        |history, edge| history.insert(edge, 20, values(&[("title", "another row of the same id")])),
    ];
    for edit in edits {
        let mut edge = edge.clone();
        edit(history, &mut edge);
        let row = discarded(Some(&hub.row), &edge, &base);
        assert_eq!(row.values, hub.row.values);
        assert!(row.version.is_alive());
        assert_eq!(plan_pull(TASKS, ROW, Some(&edge.row), &row, &[]), PullPlan::Replace);
        assert_eq!(plan_pull(TASKS, ROW, Some(&hub.row), &row, &[]), PullPlan::Replace);
        assert_eq!(plan_discard(Some(&row), &push_of(&edge, &base), &[edge.id], dot(1, 101, 60)), None);
        assert_eq!(
            hub_plans(Some(&row), &push_of(&edge, &base), &[2]),
            PushPlan::Known,
            "a late repeat brings nothing"
        );
    }
}

#[test]
fn discard_of_a_row_that_the_hub_never_had_is_a_delete() {
    let history = &mut History::default();
    let mut edge = Actor::new(2);
    history.insert(&mut edge, 20, values(&[("title", "refused"), ("priority", "low")]));
    let row = discarded(None, &edge, &Vector::default());
    assert!(!row.version.is_alive());
    assert_eq!(plan_pull(TASKS, ROW, Some(&edge.row), &row, &[]), PullPlan::Replace);

    // An edit that was made meanwhile brings it back whole.
    set_title(history, &mut edge, 60, "better");
    let PushPlan::Store { row: stored, .. } = hub_plans(Some(&row), &push_of(&edge, &Vector::default()), &[2]) else {
        panic!("the edit is lost")
    };
    assert!(stored.version.is_alive());
    assert_eq!(stored.values, values(&[("title", "better"), ("priority", "low")]));
    let PullPlan::Merge { row: merged, .. } = plan_pull(TASKS, ROW, Some(&edge.row), &row, &[]) else {
        panic!("the edit is lost")
    };
    assert_eq!(merged.values, stored.values);
}

#[test]
fn discarded_values_do_not_return_beside_a_later_edit_of_another_column() {
    let history = &mut History::default();
    let [hub, mut edge, mut other, _] = four_that_know_one_task(history);
    let base = hub.row.version.vv.clone();
    set_title(history, &mut edge, 900, "refused");
    let row = discarded(Some(&hub.row), &edge, &base);
    history.update(&mut edge, 950, &[("priority", Some(text("high")))]);
    let expected = values(&[("title", "new"), ("priority", "high"), ("updated_at", "10")]);

    let PullPlan::Merge { row: merged, conflicts } = plan_pull(TASKS, ROW, Some(&edge.row), &row, &[]) else {
        panic!("an edit was overwritten")
    };
    assert_eq!((merged.values, conflicts), (expected.clone(), vec![]));
    let PushPlan::Store { row: stored, conflicts, .. } = hub_plans(Some(&row), &push_of(&edge, &base), &[2]) else {
        panic!("the edit is lost")
    };
    assert_eq!((&stored.values, conflicts), (&expected, vec![]));

    // Another site's edit of another column is no conflict with it either.
    history.update(&mut other, 30, &[("priority", Some(text("none")))]);
    let PushPlan::Store { conflicts, .. } = hub_plans(Some(&row), &push_of(&other, &base), &[3]) else {
        panic!("the edit is lost")
    };
    assert_eq!(conflicts, []);
}

#[test]
fn a_death_that_is_written_down_late_takes_no_write_for_dead_that_the_centre_has_yet_to_make() {
    let history = &mut History::default();
    let [hub, mut edge, ..] = four_that_know_one_task(history);
    set_title(history, &mut edge, 20, "of a lost future");
    edge.row.version.vv.observe(hub.id, 124);
    let known = |replica: ReplicaId| replica != ReplicaId(9);
    edge.row.version.vv.observe(ReplicaId(9), 3);
    let mut row = plan_gone(&Default::default(), &edge.row.version, known, dot(hub.id.0, 118, 30));
    assert_eq!(row.vv, vector(&[(1, 118), (2, 1)]));
    assert!(!row.is_alive());
    row.write(dot(hub.id.0, 119, 40), &[]);
    assert!(row.is_alive(), "made anew there");
}

#[test]
fn discard_of_an_edit_of_a_deleted_row_leaves_it_deleted() {
    let history = &mut History::default();
    let [mut hub, mut edge, ..] = four_that_know_one_task(history);
    let base = hub.row.version.vv.clone();
    history.delete(&mut hub, 15);
    set_title(history, &mut edge, 20, "refused");
    let row = discarded(Some(&hub.row), &edge, &base);
    assert!(!row.version.is_alive());
    assert_eq!(plan_pull(TASKS, ROW, Some(&edge.row), &row, &[]), PullPlan::Replace);
    assert_eq!(row.values, hub.row.values);
}

#[test]
fn discard_absorbs_no_writes_of_others() {
    let history = &mut History::default();
    let [hub, mut edge, mut other, _] = four_that_know_one_task(history);
    set_title(history, &mut other, 20, "unknown to the hub");
    sees(&mut edge, &other);
    set_title(history, &mut edge, 30, "refused");
    let row = discarded(Some(&hub.row), &edge, &hub.row.version.vv);
    assert_eq!(row.version.vv, vector(&[(1, 100), (2, 1)]));
    let plan = hub_plans(Some(&row), &push_of(&other, &hub.row.version.vv), &[3]);
    assert!(matches!(plan, PushPlan::Store { .. }), "{plan:?}");
}

#[test]
fn discard_leaves_the_name_of_what_the_hub_had_taken_before() {
    let history = &mut History::default();
    let [mut hub, mut edge, ..] = four_that_know_one_task(history);
    history.update(&mut edge, 20, &[("priority", Some(text("taken")))]);
    sees(&mut hub, &edge);
    set_title(history, &mut edge, 30, "refused");
    let row = discarded(Some(&hub.row), &edge, &hub.row.version.vv);
    assert_eq!(row.version.dots.of("priority"), Some(dot(2, 1, 20)));
    assert_eq!(row.version.dots.of("title").map(|dot| (dot.replica, dot.seq)), Some((ReplicaId(1), 100)));
}

#[test]
fn forgotten_is_what_is_dead_here_and_waits_for_nothing_when_a_living_row_or_another_ones_death_comes() {
    let history = &mut History::default();
    let [mut hub, mut dead, living, _] = four_that_know_one_task(history);
    history.delete(&mut dead, 20);
    history.delete(&mut hub, 30);
    let own = [dead.id];
    let cases = [
        (&dead, &living, own.as_slice(), false, true),
        (&dead, &living, &own, true, false),
        (&living, &living, &own, false, false),
        (&living, &living, &own, true, false),
        (&dead, &hub, &own, false, false),
        (&dead, &hub, &[], false, true),
        (&dead, &hub, &[], true, false),
        (&dead, &dead, &[], false, false),
    ];
    for (number, (local, incoming, own, waits, expected)) in cases.into_iter().enumerate() {
        assert_eq!(is_forgotten_there(&local.row, &incoming.row, own, waits), expected, "case {number}");
    }
}
