//! The hub as edges meet it: real HTTP, a real PostgreSQL with capture, and an edge in memory that merges for real.

#[path = "hub/collection.rs"]
mod collection;
#[path = "hub/comparisons.rs"]
mod comparisons;
#[path = "hub/constraints.rs"]
mod constraints;
#[path = "hub/file.rs"]
mod file;
#[path = "hub/poison.rs"]
mod poison;
#[path = "hub/quarantine.rs"]
mod quarantine;
#[path = "hub/site.rs"]
mod site;

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};
use site::{
    ACME, ANN, BOB, Centre, ELSEWHERE, EVE, HEADQUARTERS, OTHER, Site, WAREHOUSE, enrolling, id, post, settle, task,
};
use sync::merge::clock::Dot;
use sync::wire::message::{Audit, NDJSON, Pull, Report, Verdict};
use sync::wire::recovery::{AcceptedRow, Verification};
use sync::wire::stream;
use tests::postgres::{Cluster, shared_cluster};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use uuid::Uuid;

async fn pair() -> (Centre, Site, Site) {
    let centre = Centre::start().await;
    let mut left = centre.site(ACME, HEADQUARTERS, "left").await;
    let mut right = centre.site(ACME, WAREHOUSE, "right").await;
    left.pull().await;
    right.pull().await;
    (centre, left, right)
}

#[tokio::test]
async fn each_wrong_code_gets_its_own_answer_and_a_right_one_works_once() {
    let centre = Centre::start().await;
    let good = centre.code(ACME, HEADQUARTERS, "left", 60_000).await;
    let expired = centre.code(ACME, HEADQUARTERS, "late", 0).await;
    let enroll = |code: &str| {
        let body = stream::write_one(&enrolling(code)).unwrap();
        let url = centre.url.clone();
        async move {
            let answer = post(&url, "enroll", None, body).await;
            (answer.status, answer.code())
        }
    };
    assert_eq!(enroll("0000-0000-0000-0000").await, (401, "unknown_code".to_owned()));
    assert_eq!(enroll(&expired).await, (410, "expired_code".to_owned()));
    assert_eq!(enroll(&good.to_lowercase().replace('-', " ")).await, (200, String::new()));
    assert_eq!(enroll(&good).await, (410, "used_code".to_owned()));
    let again = centre.code(ACME, WAREHOUSE, "left", 60_000).await;
    assert_eq!(enroll(&again).await, (409, "name_taken".to_owned()));
    assert_eq!(centre.value("select count(*) from sync.edges").await, "1");
}

#[tokio::test]
async fn a_session_begins_with_a_directory_and_leaves_a_report() {
    let (centre, left, _right) = pair().await;
    let welcome = left.hello().await;
    assert_eq!(welcome.verdict, Verdict::Ok);
    let names: BTreeSet<&str> = welcome.directory.iter().map(|replica| replica.name.as_str()).collect();
    assert_eq!(names, ["centre", "left", "right"].into());
    assert_eq!(centre.value("select pending from sync.edge_status where name = 'left'").await, "3");
}

#[tokio::test]
async fn inserts_edits_and_deletes_arrive_at_the_centre_and_at_the_other_site() {
    let (centre, mut left, mut right) = pair().await;
    left.device(id(100), HEADQUARTERS, Some("S1"));
    left.task(id(101), "one");
    left.task(id(102), "two");
    left.write("tasks", id(101), json!({"device_id": id(100), "metadata.a.b": {"y": 1, "x": [1.5]}}));
    assert!(left.push().await.values().all(|outcome| outcome == "accepted"));
    assert_eq!(
        centre.value("select metadata from tasks where device_id is not null").await,
        r#"{"a.b": {"x": [1.5], "y": 1}}"#
    );
    right.pull().await;
    right.write("tasks", id(101), json!({"title": "uno"}));
    right.delete("tasks", id(102));
    right.push().await;
    assert_eq!(centre.value("select string_agg(title, ',') from tasks").await, "uno");
    assert_eq!(
        centre.value("select last_row ->> 'title' from sync.row_versions where last_row is not null").await,
        "two"
    );
    settle(&centre, &mut [&mut left, &mut right]).await;
    assert_eq!(centre.value("select count(*) from sync.announced").await, "0");
}

#[tokio::test]
async fn a_row_is_not_echoed_only_when_the_centre_holds_exactly_what_was_pushed() {
    let (centre, mut left, mut right) = pair().await;
    left.task(id(100), "one");
    left.push().await;
    assert_eq!(left.pull().await, Vec::<String>::new(), "exactly what it pushed");
    right.pull().await;
    right.write("tasks", id(100), json!({"priority": "high"}));
    right.push().await;
    left.write("tasks", id(100), json!({"title": "uno"}));
    assert_eq!(left.push().await[&id(100)], "merged");
    assert_eq!(left.pull().await, [format!("tasks {}", id(100))], "the other site's edit is in it");
    centre
        .execute(
            "create function shout() returns trigger language plpgsql as
        $$ begin new.title := upper(new.title); return new; end $$;
        create trigger shout before insert or update on tasks for each row execute function shout()",
        )
        .await;
    left.write("tasks", id(100), json!({"title": "due"}));
    assert_eq!(left.push().await[&id(100)], "accepted");
    assert_eq!(left.pull().await, [format!("tasks {}", id(100))], "a trigger of the centre changed it");
    assert_eq!(left.field("tasks", id(100), "title"), r#""DUE""#);
    settle(&centre, &mut [&mut left, &mut right]).await;
}

#[tokio::test]
async fn a_repeated_batch_gets_the_same_answer_and_has_no_second_effect() {
    let (centre, mut left, _right) = pair().await;
    left.task(id(100), "one");
    left.write("tasks", id(100), json!({"device_id": id(999)}));
    left.task(id(101), "two");
    let body = left.batch();
    let first = left.post("push", body.clone()).await;
    let state = "select string_agg(v::text, ';' order by row_id) from sync.row_versions as v";
    let before = centre.value(state).await;
    let second = left.post("push", body.clone()).await;
    assert_eq!((first.status, &first.body), (200, &second.body));
    assert_eq!(centre.value(state).await, before);
    assert_eq!(
        centre
            .value("select token_count from sync.fences join sync.edges using (replica_id) where name = 'left'")
            .await,
        "1"
    );
    left.take(&first.body);
    left.task(id(102), "three");
    left.push().await;
    let late = left.post("push", body).await;
    assert_eq!((late.status, late.code()), (409, "fence".to_owned()), "two pushes later it is a replay");
}

#[tokio::test]
async fn a_copy_of_an_edge_is_refused_by_its_fence() {
    let (centre, mut left, _right) = pair().await;
    let mut copy = left.clone();
    left.task(id(100), "one");
    left.push().await;
    copy.task(id(101), "two");
    let answer = copy.post("push", copy.batch()).await;
    assert_eq!((answer.status, answer.code()), (409, "fence".to_owned()));
    assert_eq!(copy.hello().await.verdict, Verdict::Reidentify);
    copy.fence.count = 7;
    assert_eq!(copy.hello().await.verdict, Verdict::Reidentify, "a token that the hub has not sealed proves nothing");
    assert_eq!(left.hello().await.verdict, Verdict::Ok);
    assert_eq!(centre.value("select count(*) from tasks").await, "1");
}

/// A question about one write of a task.
fn asked_about(id: Uuid, dot: &Dot, hlc: u64) -> AcceptedRow {
    let dots = vec![(dot.replica.0, dot.seq, hlc)];
    AcceptedRow { table: "tasks".to_owned(), id, dots, contents: Vec::new(), now: Vec::new() }
}

/// The last write of a task that is new.
fn written(site: &Site, id: Uuid) -> Dot {
    site.rows[&(8, id)].row.version.dots.default.unwrap()
}

#[tokio::test]
async fn a_copy_gets_an_id_of_its_own_and_both_go_on() {
    let (_centre, mut left, _right) = pair().await;
    let mut copy = left.clone();
    left.task(id(100), "one");
    left.push().await;
    copy.task(id(101), "two");
    let (mine, theirs) = (written(&copy, id(101)), written(&left, id(100)));
    let asked = [
        asked_about(id(101), &mine, mine.hlc.0),
        asked_about(id(100), &theirs, theirs.hlc.0),
        asked_about(id(100), &theirs, theirs.hlc.0 + 1),
    ];
    let counts: Vec<usize> = copy.accepted(&asked).await.iter().map(|row| row.dots.len()).collect();
    assert_eq!(counts, [0, 1, 0], "the same number is another write when its stamp is another");
    let given = copy.reidentify().await;
    assert!(given.former.contains(&left.me.replica) && given.replica != left.me.replica);
    assert_eq!(copy.push().await[&id(101)], "accepted");
    left.task(id(102), "three");
    assert_eq!(left.push().await[&id(102)], "accepted");
    for site in [&left, &copy] {
        assert_eq!(site.hello().await.verdict, Verdict::Ok, "neither fences the other");
    }
}

/// A centre that went back to before it gave `replica` to the edge `left`, which had `former`.
async fn lose(centre: &Centre, replica: u32, former: u32, drawn: &str) {
    let lost = format!(
        "update sync.edges set replica_id = {former} where name = 'left';
         delete from sync.fences where replica_id = {replica}; delete from sync.replicas where id = {replica};
         select setval('sync.replica_ids', {drawn})"
    );
    centre.execute(&lost).await;
}

#[tokio::test]
async fn an_id_that_was_given_in_a_lost_future_is_given_to_nobody_else() {
    let (centre, mut left, mut right) = pair().await;
    let (former, drawn) = (left.me.replica, centre.value("select last_value from sync.replica_ids").await);
    let lost = left.reidentify().await.replica;
    lose(&centre, lost, former, &drawn).await;
    assert_ne!(right.reidentify().await.replica, lost);
}

#[tokio::test]
async fn ids_that_the_centre_has_lost_are_given_back_with_a_new_one_but_for_those_of_others() {
    let (centre, mut left, right) = pair().await;
    let (former, drawn) = (left.me.replica, centre.value("select last_value from sync.replica_ids").await);
    let lost = left.reidentify().await.replica;
    left.reidentify().await;
    lose(&centre, left.me.replica, former, &drawn).await;
    lose(&centre, lost, former, &drawn).await;
    left.former = vec![lost, right.me.replica];
    let own: BTreeSet<u32> = [former, lost, left.me.replica].into();
    assert_eq!(left.reidentify().await.former.into_iter().collect::<BTreeSet<u32>>(), own);
    let waited_for =
        "select count(*)::text from sync.fences as f join sync.edges as e on e.id = f.edge_id where e.name = 'left'";
    assert_eq!(centre.value(waited_for).await, "4", "a copy may use any of them still");
}

#[tokio::test]
async fn a_write_that_was_sent_under_a_new_name_is_known_by_its_former_names_too() {
    let (_centre, mut left, _right) = pair().await;
    left.task(id(100), "one");
    let first = written(&left, id(100));
    left.reidentify().await;
    let second = written(&left, id(100));
    left.reidentify().await;
    let third = written(&left, id(100));
    // What the edge remembers of the first move follows the second.
    for name in left.formerly.get_mut(&id(100)).unwrap() {
        name.now_seq = third.seq;
    }
    assert_eq!(left.push().await[&id(100)], "accepted");
    let questions = [first, second, third].map(|dot| asked_about(id(100), &dot, dot.hlc.0));
    let other_row = asked_about(id(101), &first, first.hlc.0);
    let answers = left.accepted(&[&questions[..], &[other_row]].concat()).await;
    let names: Vec<_> = answers.iter().map(|row| row.taken().map(|(_, now)| now).collect::<Vec<_>>()).collect();
    let now = vec![(third.replica.0, third.seq)];
    assert_eq!(names, [now.clone(), now.clone(), now, Vec::new()]);
}

#[tokio::test]
async fn a_write_with_the_name_and_stamp_of_an_accepted_one_is_another_when_it_says_something_else() {
    let (_centre, mut left, _right) = pair().await;
    left.task(id(100), "one");
    left.push().await;
    let mine = left.rows[&(8, id(100))].row.clone();
    let dot = written(&left, id(100));
    let mut other = mine.clone();
    other.values.insert("title".to_owned(), sync::merge::value::Value::text("another"));
    let row = |row: &sync::merge::version::Row| AcceptedRow {
        contents: vec![sync::wire::digest::contents(row, &dot)],
        ..asked_about(id(100), &dot, dot.hlc.0)
    };
    let counts: Vec<usize> = left.accepted(&[row(&mine), row(&other)]).await.iter().map(|row| row.dots.len()).collect();
    assert_eq!(counts, [1, 0]);
    left.write("tasks", id(100), json!({"title": "later"}));
    left.push().await;
    let counts: Vec<usize> = left.accepted(&[row(&mine), row(&other)]).await.iter().map(|row| row.dots.len()).collect();
    assert_eq!(counts, [1, 0], "also when the row shows neither any more");
}

#[tokio::test]
async fn an_edit_with_the_name_and_stamp_of_an_accepted_delete_is_another_write() {
    let (_centre, mut left, _right) = pair().await;
    left.task(id(100), "one");
    left.push().await;
    let mut other = left.rows[&(8, id(100))].row.clone();
    left.delete("tasks", id(100));
    left.push().await;
    let mine = left.rows[&(8, id(100))].row.clone();
    let dot = mine.version.dots.deleted.unwrap();
    other.version.write(dot, &["title".to_owned()]);
    let row = |row: &sync::merge::version::Row| AcceptedRow {
        contents: vec![sync::wire::digest::contents(row, &dot)],
        ..asked_about(id(100), &dot, dot.hlc.0)
    };
    let counts: Vec<usize> = left.accepted(&[row(&mine), row(&other)]).await.iter().map(|row| row.dots.len()).collect();
    assert_eq!(counts, [1, 0]);
}

#[tokio::test]
async fn an_accepted_write_is_known_by_its_stamp_after_it_was_overwritten() {
    let (centre, mut left, _right) = pair().await;
    left.task(id(100), "one");
    left.push().await;
    let dot = written(&left, id(100));
    centre.execute("delete from tasks; update sync.row_versions set dots = jsonb_build_object('-', dots -> '-')").await;
    let rows = [asked_about(id(100), &dot, dot.hlc.0)];
    assert_eq!(left.accepted(&rows).await, rows);
}

#[tokio::test]
async fn a_database_on_another_timeline_begins_a_new_incarnation_and_voids_tokens_and_cursors() {
    let (centre, mut left, mut right) = pair().await;
    left.task(id(100), "one");
    settle(&centre, &mut [&mut left, &mut right]).await;
    let before = centre.value("select hub_id from sync.hub").await;
    let replica = centre.value("select replica from sync.hub").await;
    // As a dump of a cluster that was far ahead would bring them, and as a promotion would.
    centre
        .execute("update sync.hub set timeline = '000000FF', system_identifier = coalesce(system_identifier, '1')")
        .await;
    centre.execute("update sync.row_versions set txid = 999999999 where table_id = 8").await;
    left.task(id(101), "two");
    let told = left.hello().await;
    assert_eq!(told.verdict, Verdict::Reidentify, "what the centre knew of its numbers may be lost");
    assert_ne!(told.incarnation.unwrap().to_string(), before);
    assert_ne!(centre.value("select replica from sync.hub").await, replica);
    assert_eq!(centre.value("select count(*) from sync.row_versions where txid = 999999999").await, "0");
    assert_eq!((left.post("push", left.batch()).await.status, right.try_page(0).await), (409, None));
    left.reidentify().await;
    let welcome = left.hello().await;
    assert_eq!((welcome.verdict, welcome.incarnation), (Verdict::Reconcile, told.incarnation));
    let reconcile = welcome.reconcile.unwrap();
    assert_eq!(reconcile.renames.iter().map(|rename| rename.0.to_string()).collect::<Vec<_>>(), [replica]);
    let again = right.hello().await;
    assert_eq!(
        (again.verdict, again.incarnation),
        (Verdict::Reidentify, welcome.incarnation),
        "one rewind, one incarnation"
    );
    assert_eq!(centre.value("select count(*) from sync.incarnations").await, "1");
    left.fence = reconcile.fence;
    left.cursor = None;
    assert_eq!(left.push().await[&id(101)], "accepted");
}

#[tokio::test]
async fn of_two_copies_that_were_silent_for_long_under_one_id_both_are_compared_and_each_once() {
    let (centre, mut left, _right) = pair().await;
    left.pull().await;
    let mut copy = left.clone();
    centre.execute("update sync.fences set stale_at = now(), cursor_acknowledged = null").await;
    for who in [&mut left, &mut copy] {
        assert_eq!(who.try_page(0).await, None, "dead rows may be forgotten of which it was not told");
        assert_eq!(who.hello().await.verdict, Verdict::Reconcile);
        comparisons::compare(who, who.cursor.clone()).await;
        let found = Verification { replica: who.me.replica, ..Verification::default() };
        assert_eq!(who.post("verified", stream::write_one(&found).unwrap()).await.status, 200);
    }
    for who in [&mut left, &mut copy] {
        assert_eq!(who.hello().await.verdict, Verdict::Ok);
        assert!(who.try_page(0).await.is_some());
    }
}

#[tokio::test]
async fn what_an_edge_merely_says_begins_no_incarnation() {
    let (centre, mut left, mut right) = pair().await;
    left.pull().await;
    left.fence.count = 1_000;
    assert_eq!(left.hello().await.verdict, Verdict::Reidentify);
    // Another edge's cursor is none of ours, however far ahead it is.
    right.pull().await;
    left.cursor = right.cursor.clone();
    left.fence.count = 0;
    assert_eq!(left.hello().await.verdict, Verdict::Reconcile, "it is compared, and that is all");
    assert_eq!(centre.value("select count(*) from sync.incarnations").await, "0");
}

#[tokio::test]
async fn a_centre_that_lost_a_checkpoint_or_a_token_is_taken_for_rewound() {
    let (centre, mut left, _right) = pair().await;
    left.pull().await;
    centre.execute("create table saved as select * from sync.fences").await;
    left.pull().await;
    let back = "update sync.fences as f set (token_count, token, token_before, cursor_count, cursor_nonce) =
      (select token_count, token, token_before, cursor_count, cursor_nonce from saved s where s.replica_id = f.replica_id)";
    centre.execute(back).await;
    let told = left.hello().await;
    assert_eq!(
        (told.verdict, centre.value("select count(*) from sync.incarnations").await.as_str()),
        (Verdict::Reidentify, "1")
    );
    left.reidentify().await;
    let renewed = left.hello().await.reconcile.unwrap().fence;
    assert_eq!(renewed.count, left.fence.count + 1, "a token that is replaced counts as used");
    left.fence = renewed;
    left.cursor = None;
    centre.execute("drop table saved; create table saved as select * from sync.fences").await;
    left.task(id(100), "one");
    left.push().await;
    centre.execute(back).await;
    assert_eq!(left.hello().await.verdict, Verdict::Reidentify);
    assert_eq!(centre.value("select count(*) from sync.incarnations").await, "2");
}

#[tokio::test]
async fn a_centre_that_gave_another_checkpoint_in_the_place_of_one_that_it_lost_is_taken_for_rewound() {
    let (centre, mut left, _right) = pair().await;
    left.pull().await;
    let mut before = left.clone();
    centre.execute("create table saved as select * from sync.fences").await;
    left.pull().await;
    let back = "update sync.fences as f set (cursor_count, cursor_nonce) =
      (select cursor_count, cursor_nonce from saved s where s.replica_id = f.replica_id)";
    centre.execute(back).await;
    // A pull that was sent before comes once more.
    before.pull().await;
    let told = left.hello().await;
    assert_eq!(
        (told.verdict, centre.value("select count(*) from sync.incarnations").await.as_str()),
        (Verdict::Reidentify, "1")
    );
}

#[tokio::test]
async fn a_pull_with_a_checkpoint_that_the_centre_has_lost_is_not_answered() {
    let (centre, mut left, _right) = pair().await;
    left.pull().await;
    centre.execute("create table saved as select * from sync.fences").await;
    left.pull().await;
    let back = "update sync.fences as f set (cursor_count, cursor_nonce) =
      (select cursor_count, cursor_nonce from saved s where s.replica_id = f.replica_id)";
    centre.execute(back).await;
    assert_eq!(left.try_page(0).await, None, "else it would count up to where it was");
    assert_eq!(left.hello().await.verdict, Verdict::Reidentify);
}

#[tokio::test]
async fn an_edge_that_went_back_behind_what_it_had_acknowledged_is_compared_though_it_had_sent_nothing_since() {
    let (centre, mut left, _right) = pair().await;
    left.pull().await;
    let backup = left.clone();
    centre.execute(&format!("insert into tasks (tenant_id, title) values ('{ACME}', 'new')")).await;
    left.pull().await;
    left.pull().await;
    assert_eq!(left.hello().await.verdict, Verdict::Ok);
    assert_eq!(backup.hello().await.verdict, Verdict::Reconcile, "deaths may be forgotten of which it was told");
}

#[tokio::test]
async fn a_box_that_went_back_behind_numbers_of_which_the_hub_was_only_told_gets_a_new_id() {
    let (_centre, mut left, _right) = pair().await;
    left.pull().await;
    let backup = left.clone();
    left.task(id(100), "written, told of, and not sent");
    assert_eq!(left.hello().await.verdict, Verdict::Ok);
    assert_eq!(backup.hello().await.verdict, Verdict::Reidentify);
}

#[tokio::test]
async fn an_edge_and_a_centre_that_went_back_together_use_no_number_again_that_another_edge_has_seen() {
    let (centre, mut left, mut right) = pair().await;
    left.pull().await;
    let mut backup = left.clone();
    centre.execute("create table saved as select * from sync.fences").await;
    left.task(id(100), "known to the other edge");
    left.push().await;
    right.pull().await;
    let lost = written(&right, id(100));
    centre
        .execute(
            "delete from tasks; delete from sync.row_versions where table_id = 8; delete from sync.accepted;
             update sync.fences as f set (token_count, token, token_before, high_seq, last_batch, last_answer) =
               (select token_count, token, token_before, high_seq, last_batch, last_answer from saved s
                where s.replica_id = f.replica_id);
             update sync.hub set timeline = '000000FF', system_identifier = coalesce(system_identifier, '1')",
        )
        .await;
    backup.task(id(101), "written after both went back");
    assert_eq!((written(&backup, id(101)).replica, written(&backup, id(101)).seq), (lost.replica, lost.seq));
    assert_eq!(backup.hello().await.verdict, Verdict::Reidentify);
    backup.reidentify().await;
    backup.fence = backup.hello().await.reconcile.unwrap().fence;
    assert_eq!(backup.push().await[&id(101)], "accepted");
    let name = format!("select dots -> '*' ->> 0 from sync.row_versions where row_id = '{}'", id(101));
    assert_ne!(centre.value(&name).await, lost.replica.to_string());
}

#[tokio::test]
async fn a_push_may_speak_of_others_only_what_the_hub_knows() {
    let (centre, mut left, right) = pair().await;
    left.task(id(100), "one");
    left.push().await;
    let local = |left: &mut Site, change: &dyn Fn(&mut sync::merge::version::Version, u64)| {
        left.write("tasks", id(100), json!({"title": "forged"}));
        let seq = left.seq;
        let local = left.rows.get_mut(&(8, id(100))).unwrap();
        change(&mut local.row.version, seq);
        left.batch()
    };
    let honest = left.clone();
    let body = local(&mut left, &|version, _| version.vv.observe(right.replica(), 1_000_000_000));
    assert_eq!(left.clone().take(&left.post("push", body).await.body)[&id(100)], "need_full");
    let mut left = Site { fence: fence_of(&centre).await, ..honest };
    let body = local(&mut left, &|version, seq| {
        let dot = version.dots.named.get_mut("title").unwrap();
        dot.replica = right.replica();
        dot.seq = seq + 1_000;
    });
    assert_eq!(left.take(&left.post("push", body).await.body)[&id(100)], "quarantined forged_version");
    assert_eq!(centre.value("select title from tasks").await, "one");
    // A number that the edge has not reached yet would make its honest writes look old later.
    let mut left = Site { fence: fence_of(&centre).await, ..left };
    left.write("tasks", id(100), json!({"title": "far ahead"}));
    let (seq, replica) = (left.seq, left.replica());
    let version = &mut left.rows.get_mut(&(8, id(100))).unwrap().row.version;
    version.vv.observe(replica, seq + 1_000_000_000);
    version.dots.named.get_mut("title").unwrap().seq = seq + 1_000_000_000;
    let body = left.batch();
    assert_eq!(left.take(&left.post("push", body).await.body)[&id(100)], "quarantined forged_version");
    assert_eq!(centre.value("select title from tasks").await, "one");
}

async fn fence_of(centre: &Centre) -> sync::wire::message::Fence {
    let count = centre
        .value("select token_count from sync.fences join sync.edges using (replica_id) where name = 'left'")
        .await;
    let token = centre
        .value("select encode(token, 'hex') from sync.fences join sync.edges using (replica_id) where name = 'left'")
        .await;
    sync::wire::message::Fence { count: count.parse().unwrap(), token }
}

#[tokio::test]
async fn stamps_from_the_future_are_clamped_and_told() {
    let (centre, mut left, mut right) = pair().await;
    left.unix_ms += 80 * 365 * 24 * 3600 * 1000;
    left.task(id(100), "from 2106");
    left.push().await;
    let year =
        "select extract(year from to_timestamp((hlc >> 16) / 1000)) < 2100 from sync.row_versions where table_id = 8";
    assert_eq!(centre.value(year).await, "true");
    right.pull().await;
    right.unix_ms += 600_000;
    right.write("tasks", id(100), json!({"title": "later"}));
    settle(&centre, &mut [&mut left, &mut right]).await;
    assert_eq!(left.field("tasks", id(100), "title"), r#""later""#);
}

#[tokio::test]
async fn a_conflict_met_by_a_clock_in_2106_is_listed_with_the_stamps_of_the_centre() {
    let (centre, mut left, mut right) = pair().await;
    left.task(id(100), "start");
    left.task(id(101), "start");
    left.push().await;
    right.pull().await;
    right.write("tasks", id(100), json!({"title": "lost"}));
    right.write("tasks", id(101), json!({"title": "lives"}));
    right.push().await;
    left.unix_ms += 80 * 365 * 24 * 3600 * 1000;
    left.write("tasks", id(100), json!({"title": "from 2106"}));
    left.delete("tasks", id(101));
    left.pull().await;
    assert_eq!(left.conflicts.len(), 2, "both are met at the site, before the centre hears of them");
    left.push().await;
    let same = "select string_agg(c.kind, ',' order by c.kind) from sync.conflicts as c join sync.row_versions as v using (row_id)
      where c.winner -> 'dot' = v.dots -> 'title' and c.kind = 'edit_edit'
        or c.loser -> 'dot' = v.dots -> '-' and c.kind = 'edit_delete'";
    assert_eq!(centre.value(same).await, "edit_delete,edit_edit");
    // The site learns the stamps, and saying the same again with the wrong ones changes nothing but that it is told.
    let wrong = left.conflicts.clone();
    left.pull().await;
    right.pull().await;
    assert_eq!(left.conflicts, right.conflicts);
    let told = std::mem::replace(&mut left.conflicts, wrong);
    left.push().await;
    left.pull().await;
    assert_eq!(left.conflicts, told);
    settle(&centre, &mut [&mut left, &mut right]).await;
}

#[tokio::test]
async fn poison_is_quarantined_while_everything_else_flows() {
    let (centre, mut left, mut right) = pair().await;
    centre
        .execute(&format!(
            "insert into devices (id, site_id, name, type, serial_number)
        values ('{}', '{HEADQUARTERS}', 'x', 'sensor', 'TAKEN')",
            id(90)
        ))
        .await;
    left.device(id(100), HEADQUARTERS, Some("TAKEN"));
    left.device(id(101), HEADQUARTERS, Some("FREE"));
    left.task(id(102), "depends on poison");
    left.write("tasks", id(102), json!({"device_id": id(100)}));
    left.task(id(103), "fine");
    left.write("tasks", id(103), json!({"device_id": id(101)}));
    left.task(id(104), "bad label");
    left.write("tasks", id(104), json!({"priority": "cosmic"}));
    left.write(
        "sites",
        id(105),
        json!({"tenant_id": ACME, "name": "nowhere", "address": null, "latitude": 91,
        "longitude": 0, "timezone": "UTC", "created_at": site::NOW, "updated_at": site::NOW}),
    );
    left.write(
        "sites",
        id(106),
        json!({"tenant_id": ACME, "name": "zone", "address": null, "latitude": 9,
        "longitude": 0, "timezone": "Mars/Olympus", "created_at": site::NOW, "updated_at": site::NOW}),
    );
    let outcomes = left.push().await;
    let expected = [
        (100, "quarantined serial_number_taken"),
        (101, "accepted"),
        (102, "quarantined missing_reference"),
        (103, "accepted"),
        (104, "quarantined bad_value"),
        (105, "quarantined rule"),
        (106, "quarantined rule"),
    ];
    for (number, outcome) in expected {
        assert_eq!(outcomes[&id(number)], outcome, "{number}");
    }
    assert_eq!(centre.value("select count(*) from sync.quarantined_rows where edge = 'left'").await, "5");
    centre.execute("update devices set serial_number = null where serial_number = 'TAKEN'").await;
    let again = left.push().await;
    assert_eq!((again[&id(100)].as_str(), again[&id(102)].as_str()), ("accepted", "accepted"));
    assert_eq!(centre.value("select count(*) from sync.quarantine where status = 'superseded'").await, "2");
    for number in [104, 105, 106] {
        left.rows.retain(|(_, row), _| *row != id(number));
    }
    settle(&centre, &mut [&mut left, &mut right]).await;
}

#[tokio::test]
async fn a_line_that_cannot_be_read_is_refused_alone() {
    let (centre, mut left, _right) = pair().await;
    left.task(id(100), "fine");
    left.task(id(101), "also fine");
    let lines = stream::read::<Json>(&left.batch()).unwrap();
    let row = |number: u128, change: &dyn Fn(&mut Json)| {
        let mut line = lines[1].clone();
        line["row"]["id"] = json!(id(number));
        change(&mut line["row"]);
        line
    };
    let conflict = json!({"t": "tasks", "row": id(100), "kind": "edit_edit", "register": "title", "status": "open",
        "loser": {"dot": [1, 1, 1], "value": "x"}, "winner": {"dot": [1, 2, 2], "value": "y"}});
    let odd = [
        (row(110, &|row| row["vv"] = json!("all")), "quarantined bad_row"),
        (row(111, &|row| row["dots"]["*"] = json!([1, 2])), "quarantined bad_row"),
        (row(112, &|row| row["vv"] = json!({"1": 9_223_372_036_854_775_808_u64})), "quarantined bad_row"),
        (row(113, &|row| row["values"] = json!([])), "quarantined bad_row"),
        (row(114, &|row| drop(row.as_object_mut().unwrap().remove("base"))), "quarantined bad_row"),
        (row(115, &|row| row["values"]["user_id"] = json!("nobody")), "quarantined bad_value"),
        (row(116, &|row| row["values"]["title"] = json!(7)), "quarantined bad_value"),
        (row(117, &|row| row["values"]["due_date"] = json!("\0".repeat(9_000))), "quarantined bad_value"),
        (row(118, &|row| row["values"]["metadata.\0"] = json!(1)), "quarantined bad_value"),
        (row(119, &|row| row["values"]["priority"] = json!("cosmic")), "quarantined bad_value"),
        (row(120, &|row| row["dots"]["metadata.\0"] = json!([left.me.replica, 1, 5])), "quarantined bad_value"),
        (json!({"row": {"t": "users", "id": id(121), "vv": 1}}), "quarantined read_only"),
        (json!({"row": {"t": "photos", "id": id(122), "vv": 1}}), "quarantined unknown_table"),
        (json!({"row": {"t": "\0", "id": id(122), "vv": 1}}), "quarantined unknown_table"),
        (json!({"conflict": {"t": "tasks", "kind": "a\0b"}}), ""),
        (json!({"conflict": conflict}), ""),
        (json!({"conflict": merged(&conflict, "status", json!("undecided\0"))}), ""),
        (json!({"conflict": merged(&conflict, "loser", json!({"dot": [1]}))}), ""),
        (json!({"audit": {"id": "none"}}), ""),
    ];
    let mut body = stream::Writer::default();
    body.line(&lines[0]).unwrap();
    for line in [&lines[1]].into_iter().chain(odd.iter().map(|(line, _)| line)).chain([&lines[2]]) {
        body.line(line).unwrap();
    }
    body.line(&json!({"end": odd.len() + 2})).unwrap();
    let answer = left.post("push", body.finish().unwrap()).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let outcomes = left.take(&answer.body);
    assert_eq!([&outcomes[&id(100)], &outcomes[&id(101)]], ["accepted", "accepted"]);
    for (line, outcome) in odd.iter().filter(|(_, outcome)| !outcome.is_empty()) {
        let row: Uuid = line["row"]["id"].as_str().unwrap().parse().unwrap();
        assert_eq!(outcomes[&row], *outcome, "{line}");
    }
    assert_eq!(centre.value("select count(*) from tasks").await, "2");
    assert_eq!(centre.value("select count(*) from sync.conflicts").await, "1");
    let kept = "select string_agg(code || ' ' || n, ', ' order by code)
      from (select code, count(*) as n from sync.quarantine where status = 'open' group by code) as q";
    let expected = "bad_audit 1, bad_conflict 3, bad_row 5, bad_value 6, read_only 1, unknown_table 1";
    assert_eq!(centre.value(kept).await, expected);
    assert_eq!(centre.value("select max(length(reason)) < 600 from sync.quarantine").await, "true");
}

fn merged(object: &Json, key: &str, value: Json) -> Json {
    let mut object = object.clone();
    object[key] = value;
    object
}

#[tokio::test]
async fn swapped_and_reused_serial_numbers_pass_beside_poison() {
    let (centre, mut left, mut right) = pair().await;
    for (number, serial) in [(100, "A"), (101, "B"), (102, "C"), (103, "D"), (104, "E")] {
        left.device(id(number), HEADQUARTERS, Some(serial));
    }
    left.push().await;
    left.write("devices", id(100), json!({"serial_number": "B"}));
    left.write("devices", id(101), json!({"serial_number": "C"}));
    left.write("devices", id(102), json!({"serial_number": "A"}));
    left.delete("devices", id(103));
    left.device(id(99), HEADQUARTERS, Some("D"));
    left.device(id(105), WAREHOUSE, Some("E"));
    let outcomes = left.push().await;
    for number in [99, 100, 101, 102, 103] {
        assert_eq!(outcomes[&id(number)], "accepted", "{number}");
    }
    assert_eq!(outcomes[&id(105)], "quarantined serial_number_taken");
    let serials = "select string_agg(serial_number, '' order by id) from devices";
    assert_eq!(centre.value(serials).await, "DBCAE");
    left.rows.remove(&(7, id(105)));
    settle(&centre, &mut [&mut left, &mut right]).await;
}

#[tokio::test]
async fn rows_of_the_centre_only_and_unknown_tables_are_refused() {
    let (centre, mut left, _right) = pair().await;
    left.write("users", BOB, json!({"email": "rogue@acme"}));
    left.task(id(100), "fine");
    let outcomes = left.push().await;
    assert_eq!((outcomes[&BOB].as_str(), outcomes[&id(100)].as_str()), ("quarantined read_only", "accepted"));
    assert_eq!(centre.value(&format!("select email from users where id = '{BOB}'")).await, "bob@acme");
    let mut row = serde_json::to_value(
        json!({"t": "tenant_invitations", "id": id(101), "vv": {}, "base": {}, "dots": {}, "values": {}}),
    )
    .unwrap();
    let body = left.batch_of(sync::hub::clock::id(), vec![serde_json::from_value(row.take()).unwrap()]);
    let answer = left.post("push", body).await;
    assert_eq!(left.take(&answer.body)[&id(101)], "quarantined unknown_table");
}

#[tokio::test]
async fn a_row_that_somebody_holds_is_busy_and_stops_nothing() {
    let (centre, mut left, mut right) = pair().await;
    left.task(id(100), "held");
    left.task(id(101), "free");
    left.device(id(102), HEADQUARTERS, None);
    left.push().await;
    let holder = centre.client().await;
    holder.batch_execute(&format!("begin; update tasks set title = 'psql' where id = '{}'", id(100))).await.unwrap();
    left.write("tasks", id(100), json!({"title": "edge"}));
    left.write("tasks", id(101), json!({"title": "edge"}));
    let outcomes = left.push().await;
    assert_eq!((outcomes[&id(100)].as_str(), outcomes[&id(101)].as_str()), ("busy", "accepted"));
    holder.batch_execute("commit").await.unwrap();
    assert_eq!(left.push().await[&id(100)], "merged");
    holder
        .batch_execute(&format!(
            "begin; insert into tasks (id, tenant_id, title, device_id)
        values ('{}', '{ACME}', 'new child', '{}')",
            id(103),
            id(102)
        ))
        .await
        .unwrap();
    left.delete("devices", id(102));
    assert_eq!(left.push().await[&id(102)], "busy", "something is about to refer to it");
    holder.batch_execute("commit").await.unwrap();
    assert_eq!(left.push().await[&id(102)], "merged", "and now something does");
    settle(&centre, &mut [&mut left, &mut right]).await;
    assert_eq!(centre.value("select count(*) from sync.conflicts where kind = 'edit_edit'").await, "1");
}

#[tokio::test]
async fn fast_edits_and_a_concurrent_plain_edit_never_overwrite_each_other() {
    let (centre, mut left, mut right) = pair().await;
    left.task(id(100), "start");
    left.push().await;
    let psql = centre.client().await;
    let edits = async {
        for number in 0..100 {
            psql.batch_execute(&format!("update tasks set description = 'psql {number}'")).await.unwrap();
        }
    };
    let pushes = async {
        for number in 0..30 {
            left.write("tasks", id(100), json!({"title": format!("edge {number}")}));
            left.push().await;
        }
        while left.push().await.values().any(|outcome| outcome == "busy") {}
    };
    tokio::join!(edits, pushes);
    assert_eq!(centre.value("select title || ', ' || description from tasks").await, "edge 29, psql 99");
    settle(&centre, &mut [&mut left, &mut right]).await;
    assert_eq!(centre.value("select count(*) from sync.conflicts").await, "0", "different columns never conflict");
}

#[tokio::test]
async fn a_concurrent_edit_of_one_column_is_a_conflict_at_every_replica() {
    let (centre, mut left, mut right) = pair().await;
    left.task(id(100), "start");
    left.push().await;
    right.pull().await;
    left.write("tasks", id(100), json!({"title": "left"}));
    right.write("tasks", id(100), json!({"title": "right"}));
    left.push().await;
    right.push().await;
    settle(&centre, &mut [&mut left, &mut right]).await;
    assert_eq!(left.conflicts.len(), 1);
    assert_eq!(left.conflicts, right.conflicts);
    assert_eq!(centre.value("select register || ' ' || (loser ->> 'value') from sync.conflicts").await, "title left");
}

#[tokio::test]
async fn references_into_another_tenant_get_the_same_answer_as_missing_ones() {
    let (centre, mut left, _right) = pair().await;
    centre
        .execute(&format!(
            "insert into devices (id, site_id, name, type) values ('{}', '{ELSEWHERE}', 'x', 'sensor')",
            id(90)
        ))
        .await;
    let cases = [("user_id", EVE), ("site_id", ELSEWHERE), ("device_id", id(90))];
    for (column, foreign) in cases {
        let mut reasons = Vec::new();
        for target in [foreign, id(999)] {
            left.task(id(100), "probe");
            left.write("tasks", id(100), json!({column: target}));
            let answer = left.post("push", left.batch()).await;
            reasons.push(refusal_in(&answer.body));
            assert_eq!(left.take(&answer.body)[&id(100)], "quarantined missing_reference", "{column}");
            left.rows.remove(&(8, id(100)));
        }
        assert_eq!(reasons[0], reasons[1], "{column}");
    }
    left.write("tasks", id(101), task(OTHER, "smuggled"));
    assert_eq!(left.push().await[&id(101)], "quarantined missing_reference");
    left.rows.clear();
    assert_eq!(centre.value(&format!("select count(*) from tasks where tenant_id = '{OTHER}'")).await, "0");
}

#[tokio::test]
async fn an_id_of_another_tenant_gets_the_same_answer_as_one_that_a_trigger_keeps_out() {
    let (centre, mut left, _right) = pair().await;
    centre
        .execute(&format!(
            "insert into devices (id, site_id, name, type) values ('{}', '{ELSEWHERE}', 'x', 'sensor');
        create function keep_out() returns trigger language plpgsql as $$ begin return null; end $$;
        create trigger keep_out before insert on devices for each row when (new.id = '{}') execute function keep_out()",
            id(90),
            id(91)
        ))
        .await;
    let mut answers = Vec::new();
    for probed in [id(90), id(91)] {
        left.device(probed, HEADQUARTERS, None);
        let answer = left.post("push", left.batch()).await;
        answers.push(refusal_in(&answer.body));
        assert_eq!(left.take(&answer.body)[&probed], "quarantined refused");
        left.rows.remove(&(7, probed));
    }
    assert_eq!(answers[0], answers[1]);
    let kept = "select count(distinct (code, reason)) || ' ' || count(*) from sync.quarantine";
    assert_eq!(centre.value(kept).await, "1 2", "nor does what is kept of them tell the two apart");
}

/// Code and reason, word for word.
fn refusal_in(body: &[u8]) -> String {
    let lines = stream::read::<Json>(body).unwrap();
    let row = lines.iter().find_map(|line| line.get("row")).unwrap();
    format!("{} {}", row["code"], row["reason"])
}

#[tokio::test]
async fn an_assignee_who_left_keeps_old_work_and_gets_no_new() {
    let (centre, mut left, mut right) = pair().await;
    left.task(id(100), "work");
    left.write("tasks", id(100), json!({"user_id": BOB}));
    left.push().await;
    centre.execute(&format!("delete from user_tenant_associations where user_id = '{BOB}'")).await;
    left.write("tasks", id(100), json!({"title": "still his"}));
    left.task(id(101), "new work");
    left.write("tasks", id(101), json!({"user_id": BOB}));
    let outcomes = left.push().await;
    assert_eq!(
        (outcomes[&id(100)].as_str(), outcomes[&id(101)].as_str()),
        ("accepted", "quarantined missing_reference")
    );
    left.write("tasks", id(101), json!({"user_id": null}));
    settle(&centre, &mut [&mut left, &mut right]).await;
}

#[tokio::test]
async fn a_row_that_the_centre_forgot_is_a_conflict_and_not_an_insert() {
    let (centre, mut left, mut right) = pair().await;
    left.task(id(100), "old");
    left.push().await;
    centre.execute("delete from tasks; delete from sync.row_versions where table_id = 8").await;
    left.write("tasks", id(100), json!({"title": "edit of the gone"}));
    assert_eq!(left.push().await[&id(100)], "merged");
    assert_eq!(centre.value("select count(*) from tasks").await, "0");
    assert_eq!(centre.value("select loser ->> 'value' from sync.conflicts").await, "edit of the gone");
    settle(&centre, &mut [&mut left, &mut right]).await;
}

#[tokio::test]
async fn an_edit_that_meets_a_forgotten_death_at_its_edge_is_a_conflict_and_is_not_refused_for_ever() {
    let (centre, mut left, mut right) = pair().await;
    left.task(id(100), "old");
    settle(&centre, &mut [&mut left, &mut right]).await;
    centre.execute("delete from tasks; delete from sync.row_versions where table_id = 8").await;
    left.write("tasks", id(100), json!({"title": "first"}));
    left.push().await;
    right.write("tasks", id(100), json!({"title": "second"}));
    right.pull().await;
    assert_eq!(right.push().await[&id(100)], "merged", "the death that it was told of has no values to live by");
    assert_eq!(centre.value("select count(*) from tasks").await, "0");
    let listed = "select string_agg(loser ->> 'value', ', ' order by loser ->> 'value') from sync.conflicts
      where register is not null";
    assert_eq!(centre.value(listed).await, "first, second");
    right.task(id(100), "made anew");
    right.push().await;
    settle(&centre, &mut [&mut left, &mut right]).await;
}

#[tokio::test]
async fn a_delete_takes_what_its_deleter_saw_and_a_parent_with_unseen_children_stays() {
    let (centre, mut left, mut right) = pair().await;
    left.device(id(100), WAREHOUSE, None);
    left.device(id(101), WAREHOUSE, None);
    left.push().await;
    centre
        .execute(&format!(
            "insert into tasks (id, tenant_id, title, device_id) values ('{}', '{ACME}', 'unseen', '{}')",
            id(102),
            id(100)
        ))
        .await;
    left.delete("devices", id(100));
    left.delete("devices", id(101));
    let outcomes = left.push().await;
    assert_eq!((outcomes[&id(100)].as_str(), outcomes[&id(101)].as_str()), ("merged", "accepted"));
    assert_eq!(centre.value("select string_agg(id::text, ',') from devices").await, id(100).to_string());
    assert_eq!(centre.value("select string_agg(kind, ',') from sync.conflicts").await, "edit_delete");
    settle(&centre, &mut [&mut left, &mut right]).await;

    left.delete("sites", WAREHOUSE);
    left.rows.retain(|(table, _), _| *table != 5);
    assert_eq!(left.push().await[&WAREHOUSE], "merged", "its device was not deleted");
    let came = left.pull().await;
    assert!(came.iter().any(|line| line.starts_with("user_site_assignments")), "what the site took along: {came:?}");
    settle(&centre, &mut [&mut left, &mut right]).await;

    left.delete("devices", id(100));
    left.write("tasks", id(102), json!({"device_id": null}));
    left.delete("sites", WAREHOUSE);
    assert_eq!(left.push().await[&WAREHOUSE], "accepted");
    assert_eq!(centre.value("select count(*) from user_site_assignments").await, "0");
    let came = right.pull().await;
    assert!(came.iter().any(|line| line.starts_with("dead user_site_assignments")), "a cascade is captured: {came:?}");
    settle(&centre, &mut [&mut left, &mut right]).await;
}

#[tokio::test]
async fn users_enter_and_leave_the_scope_also_while_their_own_update_is_open() {
    let (centre, mut left, mut right) = pair().await;
    let (updater, granter) = (centre.client().await, centre.client().await);
    updater.batch_execute(&format!("begin; update users set first_name = 'Evelyn' where id = '{EVE}'")).await.unwrap();
    granter
        .batch_execute(&format!("insert into user_tenant_associations (user_id, tenant_id) values ('{EVE}', '{ACME}')"))
        .await
        .unwrap();
    assert!(left.pull().await.contains(&format!("users {EVE}")));
    assert_eq!(left.field("users", EVE, "first_name"), "null");
    updater.batch_execute("commit").await.unwrap();
    left.pull().await;
    assert_eq!(left.field("users", EVE, "first_name"), r#""Evelyn""#);
    centre
        .execute(&format!("delete from user_tenant_associations where user_id = '{EVE}' and tenant_id = '{ACME}'"))
        .await;
    assert!(left.pull().await.contains(&format!("evict users {EVE}")));
    centre
        .execute(&format!(
            "insert into tasks (id, tenant_id, title, user_id) values ('{}', '{ACME}', 'x', '{EVE}')",
            id(100)
        ))
        .await;
    assert!(left.pull().await.contains(&format!("users {EVE}")), "an assignee is in scope");
    centre.execute("delete from tasks").await;
    assert!(left.pull().await.contains(&format!("evict users {EVE}")));
    centre.execute(&format!("delete from users where id = '{BOB}'")).await;
    assert!(left.pull().await.contains(&format!("evict users {BOB}")));
    settle(&centre, &mut [&mut left, &mut right]).await;
}

#[tokio::test]
async fn credentials_go_to_their_site_only() {
    let (centre, mut left, mut right) = pair().await;
    centre
        .execute(&format!(
            "insert into sync.credentials (tenant_id, user_id, site_id, verifier)
        values ('{ACME}', '{ANN}', '{HEADQUARTERS}', '$argon2id$x')"
        ))
        .await;
    let credential = |came: &[String]| came.iter().any(|line| line.starts_with("credentials"));
    assert!(credential(&left.pull().await));
    assert!(!credential(&right.pull().await));
    let mut late = centre.site(ACME, WAREHOUSE, "late").await;
    assert!(!credential(&late.pull().await));
    centre.execute("delete from sync.credentials").await;
    assert!(left.pull().await.iter().any(|line| line.starts_with("dead credentials")));
    assert_eq!(right.pull().await, Vec::<String>::new());
}

#[tokio::test]
async fn commits_out_of_order_and_a_long_open_transaction_skip_and_delay_nothing() {
    let (centre, mut left, mut right) = pair().await;
    let (early, late) = (centre.client().await, centre.client().await);
    let elsewhere = shared_cluster().connect("postgres").await;
    elsewhere.batch_execute("begin; select pg_current_xact_id()").await.unwrap();
    let insert =
        |number: u128| format!("insert into tasks (id, tenant_id, title) values ('{}', '{ACME}', 'x')", id(number));
    early.batch_execute(&format!("begin; {}", insert(100))).await.unwrap();
    late.batch_execute(&insert(101)).await.unwrap();
    assert_eq!(left.pull().await, [format!("tasks {}", id(101))]);
    for number in 102..110 {
        late.batch_execute(&insert(number)).await.unwrap();
        assert_eq!(left.pull().await, [format!("tasks {}", id(number))], "nothing waits for the open transaction");
    }
    early.batch_execute("commit").await.unwrap();
    assert_eq!(left.pull().await, [format!("tasks {}", id(100))], "and its own row comes when it commits");
    settle(&centre, &mut [&mut left, &mut right]).await;
}

#[tokio::test]
async fn a_long_window_with_changes_under_it_ends_whole_after_its_tail() {
    let (centre, mut left, mut right) = pair().await;
    centre
        .execute(&format!(
            "insert into tasks (tenant_id, title) select '{ACME}', 'task ' || n from generate_series(1, 12000) as n"
        ))
        .await;
    let mut fresh = centre.site(ACME, WAREHOUSE, "fresh").await;
    let mut pages = 0;
    loop {
        let (lines, complete) = fresh.page(0).await;
        pages += 1;
        assert!(lines.len() <= 5_000);
        lines.into_iter().for_each(|line| drop(fresh.apply(line)));
        centre
            .execute(
                "delete from tasks where id in (select id from tasks order by id limit 7);
            update tasks set title = 'moved' where id in (select id from tasks order by id desc limit 7)",
            )
            .await;
        centre
            .execute(&format!("insert into tasks (tenant_id, title) select '{ACME}', 'new' from generate_series(1, 7)"))
            .await;
        if complete {
            break;
        }
    }
    assert_eq!(pages, 3);
    settle(&centre, &mut [&mut left, &mut right, &mut fresh]).await;
}

#[tokio::test]
async fn two_hubs_serve_one_edge_from_one_database() {
    let (mut centre, mut left, mut right) = pair().await;
    let other = centre.hub().await;
    for number in 100..110 {
        left.task(id(number), "x");
        left.push().await;
        left.url = if number % 2 == 0 { other.clone() } else { centre.url.clone() };
        left.pull().await;
    }
    right.url = other;
    settle(&centre, &mut [&mut left, &mut right]).await;
}

#[tokio::test]
async fn a_revoked_edge_and_a_wrong_credential_are_refused() {
    let (centre, mut left, _right) = pair().await;
    left.task(id(100), "x");
    let body = left.batch();
    assert_eq!(post(&centre.url, "push", None, body.clone()).await.status, 401);
    let (edge, _) = left.me.credential.split_once('.').unwrap();
    assert_eq!(post(&centre.url, "push", Some(&format!("{edge}.guess")), body.clone()).await.status, 401);
    assert!(sync::pg::edges::revoke(&centre.sql, "left").await.unwrap());
    for route in ["hello", "push"] {
        let body = if route == "push" { body.clone() } else { hello_of(&left) };
        let answer = left.post(route, body).await;
        assert_eq!((answer.status, answer.code()), (403, "revoked".to_owned()), "{route}");
    }
    assert_eq!(centre.value("select count(*) from tasks").await, "0");
}

#[tokio::test]
async fn a_stranger_is_refused_before_its_body_is_read() {
    let (centre, left, _right) = pair().await;
    let random: Vec<u8> = (0..250_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let bodies = [
        ("no body of ours", b"{}".to_vec()),
        ("as large as can be", random.clone()),
        ("cut", hello_of(&left)[..9].to_vec()),
    ];
    for route in ["hello", "push", "pull"] {
        for (name, body) in &bodies {
            for credential in [None, Some("nobody.guess")] {
                let answer = post(&centre.url, route, credential, body.clone()).await;
                assert_eq!((answer.status, answer.code().as_str()), (401, "unauthorized"), "{route}: {name}");
            }
        }
    }
    let answer = post(&centre.url, "enroll", None, random).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"), "a code needs no room");
    // Nobody waits for the rest of a body that will not be read.
    let address = centre.url.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /sync/v1/push HTTP/1.1\r\nhost: hub\r\nsync-protocol: 1\r\nsync-nonce: n\r\ncontent-type: {NDJSON}\r\n\
         content-length: 1000\r\n\r\nhalf"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(status, *b"HTTP/1.1 401");
}

fn hello_of(site: &Site) -> Vec<u8> {
    stream::write_one(
        &json!({"replica": site.me.replica, "seq": 0, "fence": site.fence, "schema": 1, "app_version": "",
        "unix_ms": 0, "report": Report::default()}),
    )
    .unwrap()
}

#[tokio::test]
async fn no_row_of_another_tenant_is_ever_in_a_page() {
    let (centre, mut left, mut right) = pair().await;
    let mut theirs = centre.site(OTHER, ELSEWHERE, "theirs").await;
    theirs.task(id(100), "secret");
    theirs.device(id(101), ELSEWHERE, None);
    theirs.push().await;
    theirs.pull().await;
    left.pull().await;
    let foreign = [OTHER, ELSEWHERE, EVE, id(100), id(101)];
    for key in left.rows.keys() {
        assert!(!foreign.contains(&key.1), "{key:?}");
    }
    assert!(!left.dump().concat().contains("secret"));
    left.cursor = theirs.cursor.clone();
    let pull = Pull { replica: left.me.replica, cursor: left.cursor.clone(), wait_ms: 0, report: Report::default() };
    let answer = left.post("pull", stream::write_one(&pull).unwrap()).await;
    assert_eq!((answer.status, answer.code()), (400, "bad_message".to_owned()), "nor does its cursor open");
    assert_eq!(left.hello().await.verdict, Verdict::Reconcile);
    left.cursor = None;
    settle(&centre, &mut [&mut left, &mut right, &mut theirs]).await;
}

#[tokio::test]
async fn every_kind_of_bad_body_has_its_own_refusal_and_changes_nothing() {
    let (centre, mut left, _right) = pair().await;
    left.task(id(100), "x");
    let body = left.batch();
    let random: Vec<u8> = (0..1_100_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let bomb = {
        let mut lines = stream::Writer::default();
        for _ in 0..4_000 {
            lines.line(&json!({"end": 0, "padding": "x".repeat(4_000)})).unwrap();
        }
        lines.finish().unwrap()
    };
    let no_end = {
        let mut lines = stream::Writer::default();
        stream::read::<Json>(&body).unwrap().iter().take(2).for_each(|line| lines.line(line).unwrap());
        lines.finish().unwrap()
    };
    let cases: [(&str, Vec<u8>, u16, &str); 6] = [
        ("not zstd", b"{}".to_vec(), 400, "bad_message"),
        ("empty", Vec::new(), 400, "bad_message"),
        ("cut", body[..body.len() / 2].to_vec(), 400, "bad_message"),
        ("without its end", no_end, 400, "bad_message"),
        ("too large as sent", random, 413, "too_large"),
        ("too large once inflated", bomb, 413, "too_large"),
    ];
    for (name, body, status, code) in cases {
        let answer = left.post("push", body).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{name}");
    }
    let raw = |header: &'static str, value: &'static str| {
        let request = tests::client::plain().post(format!("{}/sync/v1/push", centre.url)).body(body.clone());
        let all = [("sync-protocol", "1"), ("sync-nonce", "n"), ("content-type", "application/x-ndjson")];
        let request = all
            .iter()
            .filter(|(name, _)| *name != header)
            .fold(request, |request, (name, value)| request.header(*name, *value));
        let request = if value.is_empty() { request } else { request.header(header, value) };
        async move { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(raw("sync-protocol", "2").await, 400);
    assert_eq!(raw("sync-nonce", "").await, 400);
    assert_eq!(raw("content-type", "application/json").await, 415);
    assert_eq!(centre.value("select count(*) from tasks").await, "0");
    assert_eq!(
        centre
            .value("select token_count from sync.fences join sync.edges using (replica_id) where name = 'left'")
            .await,
        "0"
    );
}

#[tokio::test]
async fn a_waiting_pull_wakes_by_a_plain_write_and_by_a_push() {
    let (centre, left, mut right) = pair().await;
    let wait = |mut site: Site| tokio::spawn(async move { (site.page(20_000).await.0.len(), site) });
    let waiting = wait(left.clone());
    centre.execute(&format!("insert into tasks (id, tenant_id, title) values ('{}', '{ACME}', 'x')", id(100))).await;
    let (came, mut left) = waiting.await.unwrap();
    assert_eq!(came, 1);
    left.pull().await;
    let waiting = wait(left.clone());
    right.task(id(101), "y");
    right.push().await;
    assert_eq!(waiting.await.unwrap().0, 1);
    left.pull().await;
    let waiting = wait(left.clone());
    centre.execute(&format!("update users set first_name = 'B' where id = '{BOB}'")).await;
    assert_eq!(waiting.await.unwrap().0, 1);
}

#[tokio::test]
async fn what_has_no_canonical_form_is_listed_and_stops_nothing() {
    let (centre, mut left, _right) = pair().await;
    centre
        .execute(&format!(
            "insert into tasks (id, tenant_id, title, due_date, metadata) values
        ('{}', '{ACME}', 'for ever', 'infinity', '{{}}'),
        ('{}', '{ACME}', 'huge number', null, '{{\"n\": 12345678901234567890123}}'),
        ('{}', '{ACME}', repeat('a', 2000000), null, '{{}}'),
        ('{}', '{ACME}', repeat('a', 1000000), null, '{{}}')",
            id(100),
            id(101),
            id(102),
            id(103)
        ))
        .await;
    assert_eq!(left.pull().await, [format!("tasks {}", id(103))]);
    assert_eq!(left.pull().await, Vec::<String>::new());
    assert_eq!(
        centre.value("select count(*) from sync.quarantine where edge_id is null and code = 'unsendable'").await,
        "3"
    );
    left.task(id(104), "fine");
    assert_eq!(left.push().await[&id(104)], "accepted");
}

#[tokio::test]
async fn a_time_that_cannot_be_sent_is_listed_as_what_it_is() {
    let (centre, mut left, _right) = pair().await;
    let times = [
        ("infinity", "infinity"),
        ("-infinity", "-infinity"),
        ("0044-03-15 12:00:00.5 BC", "0044-03-15 12:00:00.500+00 BC"),
        ("0001-12-31 BC", "0001-12-31 00:00:00+00 BC"),
        ("12026-01-01", "12026-01-01 00:00:00+00"),
        ("294276-12-31", "a time in a year of six digits"),
    ];
    for (number, (time, _)) in (100..).zip(times) {
        let insert = format!(
            "set timezone = 'UTC'; insert into tasks (id, tenant_id, title, due_date) values ('{}', '{ACME}', 'x', '{time}')",
            id(number)
        );
        centre.execute(&insert).await;
    }
    assert_eq!(left.pull().await, Vec::<String>::new());
    for (number, (_, words)) in (100..).zip(times) {
        let reason = centre.value(&format!("select reason from sync.quarantine where row_id = '{}'", id(number))).await;
        assert_eq!(reason, format!("tasks.due_date: {words:?} is not a timestamp between the years 1 and 9999"));
    }
}

#[tokio::test]
async fn audit_records_are_stored_once_and_a_bad_one_is_kept_apart() {
    let (centre, mut left, _right) = pair().await;
    let audit = |number: u128, action: &str| Audit {
        id: id(number),
        user_id: Some(ANN),
        action: action.to_owned(),
        resource_type: "task".to_owned(),
        resource_id: None,
        details: serde_json::from_str("{}").unwrap(),
        created_at: site::NOW.to_owned(),
    };
    left.audits = vec![audit(100, "update"), audit(101, "levitate"), audit(102, "login")];
    left.push().await;
    left.push().await;
    let stored = format!("select string_agg(action::text, ',' order by id) from audit_logs where tenant_id = '{ACME}'");
    assert_eq!(centre.value(&stored).await, "update,login");
    assert_eq!(
        centre.value("select payload ->> 'action' from sync.quarantine where code = 'bad_audit'").await,
        "levitate"
    );
}

#[tokio::test]
async fn a_hub_without_its_database_says_so_and_recovers_by_itself() {
    let cluster = Cluster::start_durable();
    let centre = Centre::on(&cluster).await;
    let mut left = centre.site(ACME, HEADQUARTERS, "left").await;
    left.pull().await;
    let waiting = {
        let mut left = left.clone();
        tokio::spawn(async move { left.try_page(20_000).await })
    };
    cluster.kill();
    left.task(id(100), "offline");
    let answer = left.post("push", left.batch()).await;
    assert_eq!((answer.status, answer.code()), (503, "unavailable".to_owned()));
    assert!(answer.retry_after);
    let ready = tests::client::plain().get(format!("{}/readyz", centre.url)).send().await.unwrap();
    assert_eq!(ready.status().as_u16(), 503);
    let healthy = tests::client::plain().get(format!("{}/healthz", centre.url)).send().await.unwrap();
    assert_eq!(healthy.status().as_u16(), 200);
    cluster.start_again();
    let status = loop {
        let answer = left.post("push", left.batch()).await;
        if answer.status != 503 {
            break answer.status;
        }
    };
    assert_eq!(status, 200);
    let _ = waiting.await.unwrap();
    let psql = cluster.connect(&centre.database).await;
    let row = psql.query_one("select count(*) from tasks where title = 'offline'", &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 1);
}

#[tokio::test]
async fn a_hub_that_is_told_to_end_answers_what_waits() {
    let (mut centre, left, _right) = pair().await;
    let mut waiting = left.clone();
    let waiting = tokio::spawn(async move { waiting.try_page(20_000).await });
    while centre.value("select count(*) from sync.edges where cursor_acknowledged is not null").await == "0" {}
    centre.stop();
    assert_eq!(waiting.await.unwrap(), Some(0), "an empty page, long before its time");
}
