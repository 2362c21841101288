//! Pulled plugs: what the box did to its disk is recorded, and the disk is rebuilt as it may have been at any instant.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use rusqlite::Connection;
use serde_json::json;
use tests::api::Api;
use tests::campaign::{campaign, seed};
use tests::deployment::{Deployment, Edge, HEADQUARTERS};
use tests::disk_recorder::{DiskRecorder, Record, told};
use tests::power_loss::{Disk, Loss};
use tests::processes::run;
use tests::scratch::Scratch;
use tests::wait::Stopwatch;

use crate::{ACME, insert_task};

/// Of the draws, unless another is asked for.
const SEED: u64 = 20_261;
/// Numbers told from this one on are those of writes that the hub has.
const AT_THE_HUB: u64 = 1 << 32;

/// What a person did, to one row or to several at once; a row without a title is deleted.
type Step = Vec<(String, Option<String>)>;

/// Everything that people did at a box, in its order, and what the box did to its disk meanwhile.
struct Recorded {
    before: Disk,
    steps: Vec<Step>,
    records: Vec<Record>,
}

/// The titles of a person's rows after some steps.
fn state(steps: &[Step]) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    for (id, title) in steps.iter().flatten() {
        match title {
            Some(title) => rows.insert(id.clone(), title.clone()),
            None => rows.remove(id),
        };
    }
    rows
}

/// One more thing that a person does: mostly new rows and edits, some deletes, some pairs of rows at once.
async fn act(api: &Api, steps: &mut Vec<Step>, random: &mut SmallRng) {
    let title = format!("own {}", steps.len() + 1);
    let long = "x".repeat(random.random_range(0..3_000));
    let rows: Vec<String> = state(steps).into_keys().collect();
    let known = (!rows.is_empty()).then(|| rows[random.random_range(0..rows.len())].clone());
    let body = json!({"title": title, "description": long});
    let id_of = |row: &serde_json::Value| row["id"].as_str().expect("a row has an id").to_owned();
    steps.push(match (random.random_range(0..10), known) {
        (0, Some(id)) => {
            api.delete(&format!("/tasks/{id}")).await.expect(204);
            vec![(id, None)]
        }
        (1..4, Some(id)) => {
            api.patch(&format!("/tasks/{id}"), &body).await.expect(200);
            vec![(id, Some(title))]
        }
        (4, Some(id)) => {
            let edit = json!({"op": "update", "table": "tasks", "id": id, "row": body});
            let new = json!({"op": "create", "table": "tasks", "row": body});
            let answer = api.post("/batch", &json!({"operations": [edit, new]})).await.expect(200);
            let made = id_of(&answer["items"][1]);
            vec![(id, Some(title.clone())), (made, Some(title))]
        }
        _ => vec![(id_of(&api.post("/tasks", &body).await.expect(201)), Some(title))],
    });
}

/// Lets a person work at a box that exchanges now and then, loses its link, and is started again in between.
async fn record(steps_wanted: usize, random: &mut SmallRng) -> (Deployment, Recorded) {
    let world = Deployment::start(&[HEADQUARTERS]).await;
    let edge = world.edge(0);
    let api = edge.api().await.clone();
    let replica = edge.sqlite("select replica from sync_self").await;
    edge.stop();
    let recorder = DiskRecorder::new(edge.data());
    let before = Disk::of(edge.data());
    edge.surround(recorder.surroundings());
    edge.start().await;
    let mut steps = Vec::new();
    while steps.len() < steps_wanted {
        act(&api, &mut steps, random).await;
        recorder.tell(steps.len() as u64);
        match random.random_range(0..60) {
            0 => edge.link().cut(),
            1..4 => edge.link().heal(),
            4 => {
                edge.stop();
                edge.start().await;
            }
            5 => {
                edge.kill();
                edge.start().await;
            }
            6..9 => {
                world.sql(&format!("insert into tasks (tenant_id, title) values ('{ACME}', 'from the centre')")).await;
            }
            9..13 => {
                edge.link().heal();
                edge.sync_now().await;
                let highest = format!("select coalesce(max((vv ->> '{replica}')::bigint), 0) from sync.row_versions");
                let highest: u64 = world.sql(&highest).await.parse().expect("a number");
                recorder.tell(AT_THE_HUB + highest);
            }
            _ => {}
        }
    }
    edge.stop();
    edge.link().heal();
    let records = recorder.read();
    edge.surround(tests::deployment::Surroundings::default());
    (world, Recorded { before, steps, records })
}

/// What must be in an image: every step that somebody was told of, and no number that the hub has may be used again.
#[derive(Clone, Copy, Debug, Default)]
struct Promised {
    steps: usize,
    at_the_hub: u64,
}

impl Promised {
    fn note(&mut self, record: &Record) {
        match record {
            Record::Told(number) if *number >= AT_THE_HUB => self.at_the_hub = number - AT_THE_HUB,
            Record::Told(number) => self.steps = usize::try_from(*number).expect("few steps"),
            _ => {}
        }
    }
}

/// What is wrong with the database in a directory.
fn wrong_with(directory: &Path, steps: &[Step], promised: Promised) -> Option<String> {
    inspect(directory, steps, promised).unwrap_or_else(|error| Some(format!("it does not open: {error}")))
}

fn inspect(directory: &Path, steps: &[Step], promised: Promised) -> rusqlite::Result<Option<String>> {
    // As the edge looks at it, before anybody has written to it.
    if let Some(problem) = edge::rescue::damage(&directory.join("edge.db"), true) {
        return Ok(Some(format!("the edge takes it for damaged: {problem}")));
    }
    let connection = Connection::open(directory.join("edge.db"))?;
    // The image is thrown away.
    connection.pragma_update(None, "synchronous", "off")?;
    let whole: String = connection.query_row("pragma integrity_check", [], |row| row.get(0))?;
    if whole != "ok" {
        return Ok(Some(whole));
    }
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let strays = "select count(*) from tasks where id not in (select row_id from sync_rows where tbl = 8)";
    for (what, sql) in [
        ("rows refer to rows that are not there", "select count(*) from pragma_foreign_key_check"),
        ("rows have no version", strays),
    ] {
        if count(sql)? != 0 {
            return Ok(Some(what.to_owned()));
        }
    }
    let seq = count("select seq from sync_self")?.cast_unsigned();
    if seq < promised.at_the_hub {
        return Ok(Some(format!("number {} is at the hub and would be used again: {seq}", promised.at_the_hub)));
    }
    let mut statement = connection.prepare("select id, title from tasks where title like 'own %'")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let there = rows.collect::<rusqlite::Result<BTreeMap<String, String>>>()?;
    let last = (promised.steps + 1).min(steps.len());
    let fits = (promised.steps..=last).any(|count| state(&steps[..count]) == there);
    Ok((!fits).then(|| format!("the rows are not those of step {} or {last}", promised.steps)))
}

/// Rebuilds the disk at random instants and judges each; what is wrong with each bad one.
fn images(recorded: &Recorded, count: usize, random: &mut SmallRng) -> Vec<String> {
    let mut cuts: Vec<usize> = (0..count).map(|_| random.random_range(0..=recorded.records.len())).collect();
    cuts.sort_unstable();
    let scratch = Scratch::new();
    let (mut disk, mut promised) = (recorded.before.clone(), Promised::default());
    let (mut done, mut wrong) = (0, Vec::new());
    for (number, cut) in cuts.into_iter().enumerate() {
        for record in &recorded.records[done..cut] {
            disk.apply(record);
            promised.note(record);
        }
        done = cut;
        let loss = [Loss::Whole, Loss::None, Loss::Torn, Loss::Torn][number % 4];
        let image = scratch.path().join("image");
        fs::create_dir(&image).expect("the scratch directory is there");
        disk.image(loss, random, &image);
        let found = wrong_with(&image, &recorded.steps, promised);
        wrong.extend(found.map(|found| format!("after {cut} calls, {loss:?}: {found}")));
        fs::remove_dir_all(&image).expect("the image is there");
    }
    wrong
}

/// Starts a box from what its disk held at a random instant, beside the hub that knows what came later.
async fn go_on_from_an_image(world: &Deployment, edge: &Edge, recorded: &Recorded, random: &mut SmallRng) {
    let cut = random.random_range(0..=recorded.records.len());
    let (mut disk, mut promised) = (recorded.before.clone(), Promised::default());
    for record in &recorded.records[..cut] {
        disk.apply(record);
        promised.note(record);
    }
    for name in ["edge.db", "edge.db-wal", "edge.db-shm"] {
        drop(fs::remove_file(edge.data().join(name)));
    }
    disk.image(Loss::Torn, random, edge.data());
    edge.start().await;
    world.assert_equal_dumps().await;
    // Later steps may be there as well: the hub had them.
    let there = world.sql("select id || ' ' || title from tasks where title like 'own %'").await;
    for (id, _) in state(&recorded.steps[..promised.steps]) {
        let later = recorded.steps[promised.steps..].iter().flatten();
        let deleted_later = later.filter(|(row, title)| *row == id && title.is_none()).count() > 0;
        assert!(deleted_later || there.contains(&id), "after {cut} calls: {id} is lost");
    }
    assert_eq!(edge.sqlite("pragma integrity_check; pragma foreign_key_check;").await, "ok");
    edge.stop();
}

#[tokio::test]
async fn after_a_loss_of_power_at_any_instant_everything_acknowledged_is_there_and_the_file_is_whole() {
    let seed = seed(SEED);
    let mut random = SmallRng::seed_from_u64(seed);
    let (rounds, steps, count, restarts) = if campaign() { (5, 600, 10_000, 20) } else { (1, 150, 600, 2) };
    for round in 0..rounds {
        let (world, recorded) = record(steps, &mut random).await;
        let watch = Stopwatch::start();
        let wrong = images(&recorded, count, &mut random);
        let calls = recorded.records.len();
        println!("SEED={seed} round {round}: {calls} calls, {count} images in {:.0} ms", watch.ms());
        assert!(wrong.is_empty(), "{} of {count} images, the first: {}", wrong.len(), wrong[0]);
        for kind in ["Made", "Written", "Durable"] {
            let seen = recorded.records.iter().any(|record| format!("{record:?}").starts_with(kind));
            assert!(seen, "nothing was {kind}: the record is not of everything");
        }
        for _ in 0..restarts {
            go_on_from_an_image(&world, world.edge(0), &recorded, &mut random).await;
        }
    }
}

/// The same judgement of a plain client that asks for less durability than the edge does.
async fn record_of_a_client(synchronous: &str) -> Recorded {
    let scratch = Scratch::new();
    let data = scratch.path().join("data");
    fs::create_dir(&data).expect("the scratch directory is there");
    let file = data.join("edge.db");
    drop(sync::sqlite::open(&file).expect("a new file can be made"));
    let connection = Connection::open(&file).expect("the file is there");
    connection.execute("update sync_self set replica = 5, tenant_id = ?", [ACME]).expect("the file has an identity");
    let tenant = "update sync_self set applying = 1; insert into tenants (id, name, slug) values (?, 'Acme', 'acme');";
    connection.execute_batch(&tenant.replace('?', &format!("'{ACME}'"))).expect("the tenant can be written");
    connection.execute("update sync_self set applying = 0", []).expect("the file can be written");
    drop(connection);
    let recorder = DiskRecorder::new(&data);
    let before = Disk::of(&data);
    let mut script = format!("pragma synchronous = {synchronous};\npragma wal_autocheckpoint = 40;\n");
    let mut steps = Vec::new();
    for number in 1..=150_u64 {
        let (id, title) = (crate::id(u32::try_from(number).expect("few")), format!("own {number}"));
        let record = scratch.path().join(format!("told-{number}"));
        fs::write(&record, told(number)).expect("the scratch directory is there");
        script += &format!(
            "{}\n.system cat {} >> {}\n",
            insert_task(&id, &title),
            record.display(),
            recorder.log().display()
        );
        steps.push(vec![(id, Some(title))]);
    }
    let mut environment = recorder.surroundings().environment;
    environment.push(("PATH".to_owned(), std::env::var("PATH").unwrap_or_default()));
    run(Path::new("sqlite3"), &[&file], &environment, &data, &script).await.succeeded();
    Recorded { before, steps, records: recorder.read() }
}

#[tokio::test]
async fn the_judgement_finds_what_a_client_loses_that_waits_for_no_disk_and_nothing_of_one_that_does() {
    let mut random = SmallRng::seed_from_u64(seed(SEED));
    let count = if campaign() { 4_000 } else { 400 };
    let full = images(&record_of_a_client("full").await, count, &mut random);
    assert!(full.is_empty(), "{} of {count} images, the first: {}", full.len(), full[0]);
    let normal = images(&record_of_a_client("normal").await, count, &mut random);
    assert!(normal.iter().any(|wrong| wrong.contains("rows are not those of step")), "no loss was found: {normal:?}");
    assert!(!normal.iter().any(|wrong| wrong.contains("malformed")), "{normal:?}");
    let off = images(&record_of_a_client("off").await, count, &mut random);
    let broken = |wrong: &&String| wrong.contains("malformed") || wrong.contains("Page") || wrong.contains("Tree");
    assert!(off.iter().any(|wrong| broken(&wrong)), "no damage was found: {off:?}");
    println!("of {count} images each: full 0 wrong, normal {}, off {}", normal.len(), off.len());
}
