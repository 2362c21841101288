//! The centre goes back in time by PostgreSQL's own means, while edges hold what it lost. Nobody tells them.

use std::collections::BTreeSet;

use serde_json::json;
use tests::deployment::{Deployment, Edge, HEADQUARTERS, OFFICE, Place, WAREHOUSE};
use tests::postgres::{BaseBackup, Standby};
use tests::wait::eventually;

use crate::restores::{delete, insert, is_integral, replica, restore_centre, retitle, save_centre, titles};

/// A box that is enrolled after the backup was taken.
const LATE: Place = Place { edge: "wh-2", ..WAREHOUSE };

/// By which means the centre loses what was written last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    BaseBackup,
    Dump,
    Standby,
}

/// The past that the centre goes back to.
enum Past<'a> {
    BaseBackup(BaseBackup),
    Dump(String),
    Standby(Standby<'a>),
}

impl<'a> Past<'a> {
    async fn keep(world: &'a Deployment, loss: Loss) -> Self {
        match loss {
            Loss::BaseBackup => Self::BaseBackup(world.cluster().base_backup()),
            Loss::Dump => Self::Dump(save_centre(world).await),
            Loss::Standby => {
                let standby = world.cluster().standby();
                standby.cut_off().await;
                Self::Standby(standby)
            }
        }
    }

    async fn come_back(self, world: &Deployment) {
        match self {
            Self::BaseBackup(backup) => world.cluster().go_back_to(&backup),
            Self::Dump(saved) => restore_centre(world, &saved).await,
            Self::Standby(standby) => standby.take_over().await,
        }
    }
}

async fn lines(world: &Deployment, select: &str) -> BTreeSet<String> {
    world.sql(select).await.lines().map(str::to_owned).collect()
}

/// The edge says that the centre does not know it, works on, and is enrolled again with its work.
async fn adopt(world: &Deployment, edge: &Edge) {
    let status = edge.until_status("it says that HQ refuses it", |status| status["state"] == "revoked").await;
    let why = status["last_error"].as_str().unwrap_or_default();
    assert!(why.contains("does not know this edge") && why.contains("edge enroll --code"), "{status}");
    let said = edge.command(&["status"]).await.stdout;
    assert!(said.contains("edge enroll --code"), "{said}");
    let doctor = edge.command(&["doctor"]).await;
    assert!(doctor.code == Some(1) && doctor.stdout.contains("edge enroll"), "{doctor}");
    edge.api().await.post("/tasks", &json!({"title": "while unknown"})).await.expect(201);
    let wrong = world.enrolment_code(Place { edge: "spare", ..OFFICE }).await;
    let hub = edge.link().url();
    let refused = edge.command(&["enroll", "--hub", &hub, "--code", &wrong]).await.failed(1);
    assert!(refused.contains("another tenant"), "{refused}");
    let code = world.enrolment_code(edge.place()).await;
    println!("{}", edge.command(&["enroll", "--hub", &hub, "--code", &code]).await.succeeded());
    let again = edge.command(&["enroll", "--hub", &hub, "--code", &code]).await.failed(1);
    assert!(again.contains("enrolled already"), "{again}");
}

/// `first` says whether the unknown edge is the first that comes back, so that it has to prove the loss.
async fn check(loss: Loss, first: bool) {
    let world = Deployment::start_durable(&[HEADQUARTERS, WAREHOUSE, OFFICE]).await;
    let (hq, wh) = (world.edge(0), world.edge(1));
    for edge in world.edges() {
        edge.api().await;
    }
    hq.sqlite(&(1..=8).map(|number| insert(number, "old")).collect::<String>()).await;
    world.assert_equal_dumps().await;
    let past = Past::keep(&world, loss).await;
    let late = world.enrolled_edge(LATE).await;
    late.start().await;
    let everybody = || vec![hq, wh, world.edge(2), &late];
    late.api().await;
    world.assert_equal_dumps_of(everybody()).await;
    // All of this is acknowledged to the sites, and then lost at the centre.
    hq.api().await.post("/tasks", &json!({"title": "by a person at hq"})).await.expect(201);
    hq.sqlite(&(insert(10, "made at hq") + &retitle(1, "edited at hq") + &delete(2))).await;
    wh.sqlite(&(insert(11, "made at wh") + &retitle(3, "edited at wh"))).await;
    late.api().await.post("/tasks", &json!({"title": "by a person at the late box"})).await.expect(201);
    late.sqlite(&(insert(30, "made late") + &retitle(5, "edited late") + &delete(6))).await;
    world.sql(&(insert(12, "made at the centre") + &retitle(4, "edited at the centre"))).await;
    world.assert_equal_dumps_of(everybody()).await;
    for edge in [hq, wh] {
        edge.link().cut();
        edge.sqlite(&retitle(7, edge.place().edge)).await;
    }
    for edge in [hq, wh] {
        edge.link().heal();
    }
    world.assert_equal_dumps_of(everybody()).await;
    let audits = lines(&world, "select id from audit_logs where action <> 'sync'").await;
    let conflicts = lines(&world, "select id from sync.conflicts").await;
    assert_eq!(conflicts.len(), 1);
    for edge in everybody() {
        edge.link().cut();
    }
    hq.sqlite(&insert(13, "waits at hq")).await;
    late.sqlite(&(insert(31, "waits late") + &retitle(8, "waits late"))).await;
    let before = replica(&late).await;
    past.come_back(&world).await;
    // The centre goes on, with the numbers that it has used already, before anybody comes back.
    world.sql(&(insert(14, "made since") + &retitle(4, "another edit"))).await;
    if first {
        late.link().heal();
        late.sync_now().await;
        adopt(&world, &late).await;
        // It is done with its comparison before anybody else can show the loss.
        world.assert_equal_dumps_of(vec![&late]).await;
    }
    for edge in everybody() {
        edge.link().heal();
        // Nobody waits for the end of a rest that grew while the link was down.
        edge.sync_now().await;
    }
    if !first {
        world.assert_equal_dumps().await;
        adopt(&world, &late).await;
    }
    world.assert_equal_dumps_of(everybody()).await;
    assert_ne!(replica(&late).await, before, "a new identity");
    let expected = ["edited at hq", "-", "edited at wh", "another edit", "edited late", "-"];
    assert_eq!(titles(&world, 1..=6).await, expected);
    assert_eq!(titles(&world, 8..=8).await, ["waits late"]);
    assert_eq!(titles(&world, 10..=14).await, ["made at hq", "made at wh", "-", "waits at hq", "made since"]);
    assert_eq!(titles(&world, 30..=31).await, ["made late", "waits late"]);
    let people = "select count(*) from tasks where title like 'by a person %' or title = 'while unknown'";
    assert_eq!(world.sql(people).await, "3");
    eventually("every audit record and conflict is back", async || {
        let lost =
            |had: &BTreeSet<String>, now: BTreeSet<String>| -> Vec<String> { had.difference(&now).cloned().collect() };
        let audits = lost(&audits, lines(&world, "select id from audit_logs").await);
        let conflicts = lost(&conflicts, lines(&world, "select id from sync.conflicts").await);
        if audits.is_empty() && conflicts.is_empty() { Ok(()) } else { Err(format!("{audits:?} {conflicts:?}")) }
    })
    .await;
    // Only what the centre itself had written waits for a decision.
    let listed = world.hub_command(&["recover", "list", "--json"]).await.succeeded();
    let listed: Vec<serde_json::Value> = serde_json::from_str(&listed).expect("a list is JSON");
    let rows: BTreeSet<&str> = listed.iter().filter_map(|entry| entry["row"].as_str()).collect();
    assert_eq!(rows, BTreeSet::from([crate::id(4).as_str(), crate::id(12).as_str()]), "{listed:#?}");
    assert_eq!(world.sql("select count(*) from sync.incarnations").await, "1", "one loss, noticed once");
    assert_eq!(world.sql("select count(*) from sync.quarantine where status = 'open'").await, "0");
    // Everybody goes on.
    for edge in [hq, wh, &late] {
        edge.sqlite(&retitle(1, &format!("later at {}", edge.place().edge))).await;
        world.assert_equal_dumps_of(everybody()).await;
        assert_eq!(titles(&world, 1..=1).await, [format!("later at {}", edge.place().edge)]);
    }
    is_integral(&world).await;
}

#[tokio::test]
async fn a_centre_restored_from_a_base_backup_gets_everything_back_and_adopts_a_box_that_it_never_knew() {
    check(Loss::BaseBackup, false).await;
}

#[tokio::test]
async fn a_box_that_a_restored_centre_never_knew_proves_the_loss_when_it_comes_back_first() {
    check(Loss::BaseBackup, true).await;
}

#[tokio::test]
async fn a_centre_restored_from_a_dump_gets_everything_back_and_adopts_a_box_that_it_never_knew() {
    check(Loss::Dump, true).await;
}

#[tokio::test]
async fn a_promoted_standby_that_lagged_gets_everything_back_and_adopts_a_box_that_it_never_knew() {
    check(Loss::Standby, false).await;
}
