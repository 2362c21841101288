//! Whatever takes capture away is found, and installing again brings it back.

use sync::pg::capture::{self, Event};
use sync::pg::health::{self, Finding, Problem};
use sync::pg::schema;
use tests::postgres::{connect, fresh_database, shared_cluster};

use super::centre::Centre;

#[tokio::test]
async fn installing_twice_changes_nothing_and_verify_is_content() {
    let mut centre = Centre::new().await;
    assert_eq!(health::verify(&centre.client).await.unwrap(), []);
    assert_eq!(capture::installed_fingerprint(&centre.client).await.unwrap(), Some(capture::fingerprint()));
    let before = centre.versions().await;
    centre.install().await;
    assert_eq!(health::verify(&centre.client).await.unwrap(), []);
    assert_eq!(centre.stamps_since(&before).await, [""; 0]);
}

#[tokio::test]
async fn what_takes_capture_away_is_a_finding_and_installing_again_cures_it() {
    let finding = |table, problem| Finding { table, problem };
    let every =
        |problem: fn(Event) -> Problem| Event::ALL.map(|event| finding("public.tasks", problem(event))).to_vec();
    let cases: Vec<(&str, Vec<Finding>)> = vec![
        ("alter table tasks disable trigger all", every(|event| Problem::TriggerNotAlways(event, 'D'))),
        (
            "alter table tasks disable trigger all; alter table tasks enable trigger all",
            every(|event| Problem::TriggerNotAlways(event, 'O')),
        ),
        (
            "drop trigger sync_capture_delete on tasks",
            vec![finding("public.tasks", Problem::TriggerMissing(Event::Delete))],
        ),
        (
            "create or replace function sync.capture_tasks_delete() returns trigger language plpgsql as
             'begin return null; end'",
            vec![finding("public.tasks", Problem::TriggerDiffers(Event::Delete))],
        ),
        (
            "create or replace trigger sync_capture_update after update of title on tasks
             for each row execute function sync.capture_tasks_update();
             alter table tasks enable always trigger sync_capture_update",
            vec![finding("public.tasks", Problem::TriggerDiffers(Event::Update))],
        ),
        (
            "alter function sync.capture_tasks_update() set search_path = public",
            vec![finding("public.tasks", Problem::TriggerDiffers(Event::Update))],
        ),
    ];
    let mut centre = Centre::new().await;
    for (damage, findings) in &cases {
        assert_eq!(findings_after(&centre, damage).await, *findings, "{damage}");
    }
    for (damage, _) in &cases {
        centre.write(damage).await.unwrap();
    }
    centre.install().await;
    assert_eq!(health::verify(&centre.client).await.unwrap(), []);
}

#[tokio::test]
async fn a_table_that_is_not_as_in_the_catalog_is_a_finding() {
    let finding = |problem| Finding { table: "public.tasks", problem };
    let cases = [
        ("alter table tasks add column colour text", vec![finding(Problem::ColumnUnknown("colour".to_owned()))]),
        ("alter table tasks drop column description", vec![finding(Problem::ColumnMissing("description"))]),
        (
            "alter table tasks alter column title drop not null, alter column description type varchar(9)",
            vec![
                finding(Problem::ColumnDiffers("title", "text not null".to_owned(), "text".to_owned())),
                finding(Problem::ColumnDiffers("description", "text".to_owned(), "character varying(9)".to_owned())),
            ],
        ),
        ("drop table tasks cascade", vec![finding(Problem::TableMissing)]),
        ("create table more_tasks () inherits (tasks)", vec![finding(Problem::TableInParts)]),
    ];
    let centre = Centre::new().await;
    for (damage, findings) in cases {
        assert_eq!(findings_after(&centre, damage).await, findings, "{damage}");
    }
}

#[tokio::test]
async fn an_ordinary_owner_installs_capture_and_others_write() {
    let cluster = shared_cluster();
    let admin = cluster.connect("postgres").await;
    admin.batch_execute("create role capture_owner login; create role capture_writer login").await.unwrap();
    // Made by the first database of the cluster that was migrated, or by an administrator.
    drop(fresh_database().await);
    admin.batch_execute("create database owned_capture owner capture_owner").await.unwrap();
    let mut owner = connect(&cluster.url_as("capture_owner", "owned_capture")).await;
    schema::migrate(&mut owner).await.unwrap();
    let tx = owner.transaction().await.unwrap();
    capture::install(&tx).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(health::verify(&owner).await.unwrap(), []);
    owner.batch_execute("grant insert, truncate on tenants to capture_writer").await.unwrap();
    let writer = connect(&cluster.url_as("capture_writer", "owned_capture")).await;
    writer.batch_execute("insert into tenants (name, slug) values ('x', 'x'), ('y', 'y')").await.unwrap();
    let row = owner.query_one("select count(*) from sync.row_versions", &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 2);
}

/// What is found after some damage, which is then undone.
async fn findings_after(centre: &Centre, damage: &str) -> Vec<Finding> {
    centre.write("begin").await.unwrap();
    centre.write(damage).await.unwrap();
    let findings = health::verify(&centre.client).await.unwrap();
    centre.write("rollback").await.unwrap();
    findings
}
