//! The hub's command line: what each command does to a real database, and what it says when it cannot.

use std::process::ExitCode;

use sync::admin::{Failure, database, doctor, edges};
use sync::hub::cli;
use tests::postgres::{Cluster, connect, empty_database, shared_cluster};
use tokio_postgres::Config;

async fn run(url: &str, arguments: &str) -> ExitCode {
    let words = format!("hub --database-url {url} {arguments}");
    cli::run(words.split_whitespace().map(Into::into)).await
}

async fn ready() -> (String, Config) {
    let url = shared_cluster().url(&empty_database().await);
    for command in ["db migrate up", "db seed --json"] {
        assert_eq!(run(&url, command).await, ExitCode::SUCCESS, "{command}");
    }
    let config = url.parse().unwrap();
    (url, config)
}

fn says(result: Result<(), Failure>, parts: &[&str]) {
    let message = result.expect_err("it has to fail").to_string();
    assert!(!message.contains('\n'), "{message}");
    for part in parts {
        assert!(message.contains(part), "{part:?} is missing in {message:?}");
    }
}

#[tokio::test]
async fn from_nothing_to_an_enrolled_edge_by_commands_alone() {
    let cluster = shared_cluster();
    let url = cluster.url("made_by_hub");
    let steps = [
        "db create",
        "db create",
        "db migrate up",
        "db migrate up --json",
        "db migrate status --json",
        "db migrate validate",
        "db seed",
        "db seed --json",
        "doctor",
        "db doctor --json",
        "edge enroll --tenant acme-corp --site HEADQUARTERS --name hq-1 --json",
        "edge list --json",
        "dump --tenant acme-corp",
        "dump --tenant acme-corp --table tasks",
    ];
    for step in steps {
        assert_eq!(run(&url, step).await, ExitCode::SUCCESS, "{step}");
    }
    let client = connect(&url).await;
    let counts = "select (select count(*) from sync.enrollments), (select count(*) from tasks),
      (select count(*) from sync.row_versions where table_id = 8)";
    let row = client.query_one(counts, &[]).await.unwrap();
    let (codes, tasks, versions): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    assert!(codes == 1 && tasks > 10 && tasks == versions, "{codes} {tasks} {versions}");
}

#[tokio::test]
async fn wrong_usage_and_help_have_their_own_exit_codes() {
    for (arguments, code) in [("--help", 0), ("edge enroll --help", 0), ("nonsense", 2), ("edge enroll", 2), ("", 2)] {
        assert_eq!(run("postgres://nobody@127.0.0.1:1/x", arguments).await, ExitCode::from(code), "{arguments}");
    }
    let words = ["hub", "--config", "/nonexistent/hub.toml", "doctor"];
    assert_eq!(cli::run(words.map(Into::into)).await, ExitCode::from(2));
}

#[tokio::test]
async fn every_way_to_have_no_database_has_its_own_message() {
    let cluster = Cluster::start();
    let admin = cluster.connect("postgres").await;
    admin
        .batch_execute("create role locked login; create role secret login password 'right'; create role bare login")
        .await
        .unwrap();
    let row = admin.query_one("show hba_file", &[]).await.unwrap();
    let rules = ["locked 127.0.0.1/32 reject", "secret 127.0.0.1/32 scram-sha-256", "all 127.0.0.1/32 trust"];
    let rules = rules.map(|rule| format!("('host all {rule}')")).join(", ");
    let copy = format!("copy (values {rules}) to '{}'", row.get::<_, String>(0));
    admin.batch_execute(&copy).await.unwrap();
    admin.batch_execute("select pg_reload_conf()").await.unwrap();
    let to = |user: &str, database: &str, port: u16| -> Config {
        format!("postgres://{user}@127.0.0.1:{port}/{database}").parse().unwrap()
    };
    let port = cluster.port();
    // The server reads its rules a moment after it was asked to.
    while !matches!(doctor::may_serve(&to("locked", "postgres", port)).await, Err(Failure::Connect(_))) {}
    says(doctor::examine(&to("postgres", "absent", port), None, false).await, &["no database absent", "hub db create"]);
    says(
        doctor::examine(&to("secret:wrong", "postgres", port), None, false).await,
        &["password", "secret", "DB_PASSWORD"],
    );
    says(doctor::examine(&to("secret", "postgres", port), None, false).await, &["password", "secret", "DB_PASSWORD"]);
    says(
        doctor::examine(&to("locked", "postgres", port), None, false).await,
        &["does not let locked in", "pg_hba.conf"],
    );
    says(
        doctor::examine(&to("postgres", "postgres", 1), None, false).await,
        &["no PostgreSQL server answers", "127.0.0.1:1"],
    );
    says(
        database::migrate(&to("bare", "postgres", port), false).await,
        &["bare lacks a right", "as the database's owner"],
    );
    says(
        database::create(&to("bare", "another", port), false).await,
        &["bare may not create database another", "createdb"],
    );
    says(doctor::may_serve(&to("bare", "postgres", port)).await.map(drop), &["empty or not ours", "hub db migrate up"]);
}

#[tokio::test]
async fn what_is_named_wrongly_is_named_back_with_what_there_is() {
    let (url, config) = ready().await;
    says(edges::enroll(&config, "acme", "hq", "hq-1", false).await, &["no tenant acme"]);
    says(
        edges::enroll(&config, "acme-corp", "moon", "hq-1", false).await,
        &["no site moon", "Headquarters, Warehouse"],
    );
    says(edges::enroll(&config, "acme-corp", "warehouse", "a b", false).await, &["no name for an edge"]);
    says(edges::show(&config, "hq-9", false).await, &["no edge hq-9", "hub edge list"]);
    says(edges::revoke(&config, "hq-9", false).await, &["no edge hq-9"]);
    says(sync::admin::dump::print(&config, "acme", None).await, &["no tenant acme"]);
    says(sync::admin::dump::print(&config, "acme-corp", Some("credentials")).await, &["no table credentials", "tasks"]);
    assert_eq!(run(&url, "edge show hq-9").await, ExitCode::FAILURE);
}

#[tokio::test]
async fn doctor_finds_what_a_restore_takes_away_and_migrate_up_mends_it() {
    let (url, config) = ready().await;
    let client = connect(&url).await;
    client.batch_execute("alter table tasks disable trigger all; alter table tasks enable trigger all").await.unwrap();
    client.batch_execute("drop trigger sync_capture_delete on devices; insert into sites (tenant_id, name) select id, 'x' from tenants limit 1").await.unwrap();
    client.batch_execute("delete from sync.row_versions where table_id = 4").await.unwrap();
    says(doctor::examine(&config, None, true).await, &["errors were found"]);
    assert_eq!(run(&url, "db migrate up").await, ExitCode::SUCCESS);
    doctor::examine(&config, None, false).await.unwrap();
    let query = "select (select count(*) from sites) - (select count(*) from sync.row_versions where table_id = 4)";
    assert_eq!(client.query_one(query, &[]).await.unwrap().get::<_, i64>(0), 0, "rows without a version are adopted");
}

#[tokio::test]
async fn a_pin_is_set_at_every_site_that_a_person_is_for() {
    let (url, _config) = ready().await;
    let mut client = connect(&url).await;
    for (email, sites) in [("operator@acme-corp.com", 2), ("ADMIN@acme-corp.com", 2), ("admin@system.local", 0)] {
        let places = sync::pg::credentials::workplaces(&client, email).await.unwrap();
        assert_eq!(places.len(), sites, "{email}");
        let verified: Vec<_> = places.into_iter().map(|place| (place, "$argon2id$x".to_owned())).collect();
        sync::pg::credentials::set(&mut client, &verified).await.unwrap();
        sync::pg::credentials::set(&mut client, &verified).await.unwrap();
    }
    let count = client.query_one("select count(*) from sync.credentials", &[]).await.unwrap();
    assert_eq!(count.get::<_, i64>(0), 4);
}
