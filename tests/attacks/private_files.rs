//! Who shares the box, or reads a process's environment, finds no secret that they may read.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tests::deployment::{Deployment, Edge, HEADQUARTERS, Surroundings, WAREHOUSE};
use tests::postgres::Cluster;
use tests::processes::{Finished, Program, run};
use tests::programs::Running;
use tests::scratch::Scratch;
use tests::wait::eventually;

const PASSWORD: &str = "of the database";

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_mirror_is_made_and_kept_out_of_the_reach_of_other_users() {
    let scratch = Scratch::new();
    let data = scratch.path().join("data");
    // A directory that its operator has made for everybody.
    fs::create_dir(&data).unwrap();
    set_mode(&data, 0o755);
    let files = ["edge.db", "edge.db-wal", "edge.db-shm"].map(|name| data.join(name));
    let (mut edge, _) = Running::serve(&data, &scratch);
    for file in &files {
        assert_eq!(mode(file) & 0o007, 0, "{}", file.display());
    }
    edge.end(Signal::KILL);
    for file in &files {
        set_mode(file, 0o666);
    }
    let (_edge, _) = Running::serve(&data, &scratch);
    for file in &files {
        assert_eq!(mode(file), 0o660, "{}: its group keeps its rights", file.display());
    }
}

#[tokio::test]
async fn a_credential_that_others_could_read_is_made_private_and_told() {
    let world = Deployment::start(&[HEADQUARTERS]).await;
    let edge = world.edge(0);
    let credential = edge.data().join("credential.json");
    edge.stop();
    set_mode(&credential, 0o644);
    let doctor = edge.command(&["doctor"]).await;
    assert_eq!(doctor.code, Some(1), "{doctor}");
    assert!(doctor.stdout.contains("has mode 0644") && doctor.stdout.contains("chmod 600"), "{doctor}");
    assert_eq!(mode(&credential), 0o644, "the doctor repairs nothing");
    edge.start().await;
    assert_eq!(mode(&credential), 0o600);
    assert!(edge.log().contains("could be read by others"), "{}", edge.log());
    edge.is_in_sync().await;
}

/// Hands the edge its credential as systemd would, and takes it out of the data directory.
fn pass(edge: &Edge, directory: &Path) -> PathBuf {
    fs::create_dir(directory).unwrap();
    let passed = directory.join("waystation-edge-credential");
    fs::rename(edge.data().join("credential.json"), &passed).unwrap();
    set_mode(&passed, 0o400);
    let environment = vec![("CREDENTIALS_DIRECTORY".to_owned(), directory.display().to_string())];
    edge.surround(Surroundings { environment, ..Surroundings::default() });
    passed
}

#[tokio::test]
async fn a_credential_that_systemd_passes_is_used_and_stands_nowhere_in_the_data_directory() {
    let world = Deployment::start(&[HEADQUARTERS]).await;
    let edge = world.edge(0);
    edge.stop();
    let passed = pass(edge, &world.directory().join("passed"));
    edge.start().await;
    world.sql("update tasks set title = 'to a box that is passed its credential'").await;
    world.assert_equal_dumps().await;
    assert!(!edge.data().join("credential.json").exists());

    let code = world.enrolment_code(WAREHOUSE).await;
    let refused = edge.command(&["enroll", "--code", &code, "--hub", &edge.link().url()]).await.failed(1);
    for words in ["systemd passes", passed.to_str().unwrap(), "LoadCredential="] {
        assert!(refused.contains(words), "{refused}");
    }
    assert!(!edge.data().join("credential.json").exists());
    // Without what systemd passes, nobody is this edge.
    edge.stop();
    fs::remove_file(&passed).unwrap();
    edge.start().await;
    edge.until_status("it says that it has no credential", |status| status["state"] != "online").await;
}

/// A cluster that asks the role `owner` for its password.
async fn cluster_with_password() -> Cluster {
    let cluster = Cluster::start();
    let admin = cluster.connect("postgres").await;
    admin.batch_execute(&format!("create role owner superuser login password '{PASSWORD}'")).await.unwrap();
    let row = admin.query_one("show hba_file", &[]).await.unwrap();
    let rules = ["owner 127.0.0.1/32 scram-sha-256", "all 127.0.0.1/32 trust"];
    let rules = rules.map(|rule| format!("('host all {rule}')")).join(", ");
    admin.batch_execute(&format!("copy (values {rules}) to '{}'", row.get::<_, String>(0))).await.unwrap();
    admin.batch_execute("select pg_reload_conf()").await.unwrap();
    cluster
}

async fn hub(scratch: &Scratch, environment: &[(&str, &str)], arguments: &[&str]) -> Finished {
    let environment: Vec<(String, String)> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    run(&Program::Hub.path(), arguments, &environment, scratch.path(), "").await
}

#[tokio::test]
async fn the_databases_password_need_not_stand_in_the_environment_or_on_a_command_line() {
    let cluster = cluster_with_password().await;
    let scratch = Scratch::new();
    let url = cluster.url_as("owner", "postgres");
    let by_url = [("DATABASE_URL", url.as_str())];
    eventually("the server reads its rules", async || {
        let refused = hub(&scratch, &by_url, &["db", "migrate", "status"]).await;
        if refused.stderr.contains("DB_PASSWORD_FILE") { Ok(()) } else { Err(refused.to_string()) }
    })
    .await;
    let passed = scratch.path().join("passed");
    fs::create_dir(&passed).unwrap();
    fs::write(passed.join("waystation-hub-db-password"), PASSWORD).unwrap();
    let file = scratch.path().join("password");
    fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let port = cluster.port().to_string();
    let parts = [("DB_USER", "owner"), ("DB_PORT", port.as_str()), ("DB_NAME", "postgres")];
    for from in [("DB_PASSWORD_FILE", &file), ("CREDENTIALS_DIRECTORY", &passed)] {
        let from = (from.0, from.1.to_str().unwrap());
        for connection in [&by_url[..], &parts] {
            let environment = [connection, &[from]].concat();
            let reached = hub(&scratch, &environment, &["db", "migrate", "status"]).await;
            assert!(!reached.stderr.contains("password"), "{from:?}: {reached}");
            assert_eq!(reached.code, Some(0), "{from:?}: {reached}");
        }
    }
    fs::write(scratch.path().join("hub.toml"), format!("database_url = '{url}'\ndb_password_file = 'password'"))
        .unwrap();
    hub(&scratch, &[], &["db", "migrate", "status"]).await.succeeded();
    fs::write(&file, "").unwrap();
    assert!(hub(&scratch, &[], &["db", "migrate", "status"]).await.failed(2).contains("a file with a password"));
    fs::remove_file(&file).unwrap();
    assert!(hub(&scratch, &[], &["db", "migrate", "status"]).await.failed(2).contains("cannot read password"));
}
