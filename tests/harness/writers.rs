//! Clients that write while processes are killed, and remember what they were told.
//!
//! A write reads the value that it replaces in the same transaction, so that its place in the register's history is
//! known: see [`crate::fates`].

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use tokio_postgres::NoTls;

use crate::api::Api;
use crate::deployment::{Deployment, Edge};
use crate::dumps;
use crate::fates::{Found, Told, Write};
use crate::processes::run;
use crate::wait::eventually;

/// Acme's id in the sample data.
pub const ACME: &str = "5eed0000-0000-4000-8000-000100000001";

/// An id of a test's own row, in the form of a random one.
pub fn id(number: u32) -> String {
    format!("7e570000-0000-4000-8000-{number:012}")
}

/// The tasks over whose titles all writers fight.
pub const SHARED: u32 = 4;

/// What every writer of a run writes into, outside of every process that is killed.
#[derive(Clone)]
pub struct Memory {
    history: Arc<Mutex<Vec<Write>>>,
    acknowledged: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
    gate: Arc<RwLock<()>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// With the first values of the shared registers, which the caller has written.
    pub fn new() -> Self {
        let first = |number: u32| Write {
            value: format!("first {number}"),
            register: register(number),
            replaced: None,
            told: Told::Acknowledged,
            deletes: false,
        };
        let history = (0..SHARED).map(first).collect();
        Self {
            history: Arc::new(Mutex::new(history)),
            acknowledged: Arc::new(AtomicU32::new(0)),
            stop: Arc::new(AtomicBool::new(false)),
            gate: Arc::default(),
        }
    }

    /// Ends every writer after the write that it is at.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Lets every writer finish the write that it is at, and keeps all of them waiting as long as the answer lives.
    pub async fn pause(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.gate).write_owned().await
    }

    async fn turn(&self) -> OwnedRwLockReadGuard<()> {
        Arc::clone(&self.gate).read_owned().await
    }

    /// How many writes were acknowledged so far.
    pub fn acknowledged(&self) -> u32 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Waits until so many more writes were acknowledged: an event, not a time, decides when something is killed.
    pub async fn until_more(&self, more: u32, log: impl Fn() -> String) {
        let wanted = self.acknowledged() + more;
        eventually("the writers make progress", async || {
            let now = self.acknowledged();
            if now >= wanted { Ok(()) } else { Err(format!("{now} of {wanted} writes\n{}", log())) }
        })
        .await;
    }

    /// Everything that was written.
    pub fn history(&self) -> Vec<Write> {
        self.history.lock().expect("no writer panics while it notes").clone()
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn note(&self, write: Write) {
        let acknowledged = write.told == Told::Acknowledged;
        self.history.lock().expect("no writer panics while it notes").push(write);
        if acknowledged {
            self.acknowledged.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// A register's name in the history.
fn register(number: u32) -> String {
    format!("tasks/{}/title", id(number))
}

/// What a writer does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Insert,
    Update,
    /// Of a task of its own, which nobody else writes.
    Delete,
}

/// What one writer puts where next: every fourth is a task of its own, of which some are deleted again; the others are contested.
struct Plan {
    name: &'static str,
    random: SmallRng,
    count: u32,
    base: u32,
    own: Vec<u32>,
}

impl Plan {
    /// A writer's name is unique in its run, and so are the tasks that it makes.
    fn new(name: &'static str, seed: u64) -> Self {
        let base = name.bytes().fold(0, |base: u32, byte| (base * 31 + u32::from(byte)) % 9_000) * 100_000 + 100_000;
        Self { name, random: SmallRng::seed_from_u64(seed ^ u64::from(base)), count: 0, base, own: Vec::new() }
    }

    /// The task, what is done to it, and the value.
    fn next(&mut self) -> (u32, Step, String) {
        self.count += 1;
        let value = format!("{} {}", self.name, self.count);
        if self.own.len() > 2 && self.random.random_bool(0.1) {
            return (self.own.remove(0), Step::Delete, value);
        }
        if self.random.random_bool(0.25) {
            return (self.base + self.count, Step::Insert, value);
        }
        (self.random.random_range(0..SHARED), Step::Update, value)
    }
}

/// Writes through the API of an edge, with the version that it read as a condition.
pub async fn by_api(memory: Memory, name: &'static str, api: Api, seed: u64) {
    let mut plan = Plan::new(name, seed);
    while !memory.stopped() {
        let _turn = memory.turn().await;
        let (task, step, value) = plan.next();
        if step == Step::Insert {
            // The id is the server's, so the register is named by what the answer says; without one, by the value.
            let key = [("idempotency-key", value.as_str())];
            let body = json!({"title": value}).to_string();
            let answer = api.try_send(Method::POST, "/tasks", Some(body), &key).await;
            let created = answer.ok().filter(|answer| answer.status == 201);
            let id = created.and_then(|answer| serde_json::from_str::<Value>(&answer.text).ok());
            let id = id.and_then(|row| row["id"].as_str().map(str::to_owned));
            if let Some(id) = id {
                let register = format!("tasks/{id}/title");
                memory.note(Write { value, register, replaced: None, told: Told::Acknowledged, deletes: false });
            }
            continue;
        }
        let path = format!("/tasks/{}", id(task));
        let Ok(read) = api.try_send(Method::GET, &path, None, &[]).await else { continue };
        let (Some(etag), Ok(row)) = (&read.etag, serde_json::from_str::<Value>(&read.text)) else { continue };
        let replaced = row["title"].as_str().map(str::to_owned);
        let body = json!({"title": value}).to_string();
        let told = match api.try_send(Method::PATCH, &path, Some(body), &[("if-match", etag)]).await {
            Ok(answer) if answer.status == 200 => Told::Acknowledged,
            Ok(answer) if answer.status == 412 => continue,
            Ok(_) | Err(_) => Told::Nothing,
        };
        memory.note(Write { value, register: register(task), replaced, told, deletes: false });
    }
}

/// Writes into an edge's file by the system's `sqlite3`.
pub async fn by_file(memory: Memory, name: &'static str, file: std::path::PathBuf, seed: u64) {
    let mut plan = Plan::new(name, seed);
    let directory = file.parent().expect("a file has a folder").to_owned();
    let file = file.display().to_string();
    while !memory.stopped() {
        let _turn = memory.turn().await;
        let (task, step, value) = plan.next();
        let write = match step {
            Step::Insert => {
                format!("insert into tasks (id, tenant_id, title) values ('{}', '{ACME}', '{value}');", id(task))
            }
            Step::Update => format!("update tasks set title = '{value}' where id = '{}';", id(task)),
            Step::Delete => format!("delete from tasks where id = '{}';", id(task)),
        };
        let script = format!(
            "pragma synchronous = full;\nbegin immediate;\nselect title from tasks where id = '{}';\n{write}\ncommit;",
            id(task)
        );
        let arguments = ["-bail", "-batch", "-cmd", ".timeout 10000", &file];
        let done = run(std::path::Path::new("sqlite3"), &arguments, &[], &directory, &script).await;
        let replaced = done.stdout.lines().next().map(str::to_owned);
        if step != Step::Insert && replaced.is_none() {
            // A restored box may not have the row yet, so nothing was written.
            continue;
        }
        let told = if done.code == Some(0) { Told::Acknowledged } else { Told::Nothing };
        if step == Step::Insert && told == Told::Acknowledged {
            plan.own.push(task);
        }
        memory.note(Write { value, register: register(task), replaced, told, deletes: step == Step::Delete });
    }
}

/// Writes at the centre, by a plain connection that is opened again whenever it breaks.
pub async fn by_sql(memory: Memory, url: String, seed: u64) {
    let mut plan = Plan::new("sql", seed);
    while !memory.stopped() {
        let Ok((mut client, connection)) = tokio_postgres::connect(&url, NoTls).await else {
            tokio::task::yield_now().await;
            continue;
        };
        tokio::spawn(async move { drop(connection.await) });
        while !memory.stopped() && !client.is_closed() {
            let _turn = memory.turn().await;
            let (task, step, value) = plan.next();
            if let Some(write) = write_by_sql(&mut client, task, step, value).await {
                if step == Step::Insert && write.told == Told::Acknowledged {
                    plan.own.push(task);
                }
                memory.note(write);
            }
        }
    }
}

/// None when it certainly did not happen.
async fn write_by_sql(client: &mut tokio_postgres::Client, task: u32, step: Step, value: String) -> Option<Write> {
    let row = id(task);
    let transaction = client.transaction().await.ok()?;
    let read = "select title from tasks where id = $1::text::uuid for no key update";
    let replaced = transaction.query_opt(read, &[&row]).await.ok()?.map(|row| row.get(0));
    let write = match step {
        Step::Insert => "insert into tasks (id, tenant_id, title) values ($1::text::uuid, $3::text::uuid, $2)",
        Step::Update => "update tasks set title = $2 where id = $1::text::uuid and $3::text is not null",
        Step::Delete => "delete from tasks where id = $1::text::uuid and $2::text is not null and $3::text is not null",
    };
    transaction.execute(write, &[&row, &value, &ACME]).await.ok()?;
    let told = if transaction.commit().await.is_ok() { Told::Acknowledged } else { Told::Nothing };
    Some(Write { value, register: register(task), replaced, told, deletes: step == Step::Delete })
}

/// The end of a run: what is visible at the hub, and what every edge lists.
pub async fn found(world: &Deployment, history: &[Write]) -> Found {
    let dump = world.dump_hub("acme-corp").await;
    let known: BTreeSet<&str> = history.iter().map(|write| write.value.as_str()).collect();
    let mut found = Found::default();
    let registers: BTreeSet<&str> = history.iter().map(|write| write.register.as_str()).collect();
    for register in registers {
        let id = register.split('/').nth(1).expect("a register names its row");
        if let Some(Value::String(title)) = dumps::value(&dump, "tasks", id, "title") {
            found.visible.insert(register.to_owned(), title);
        }
    }
    // Conflicts are no rows: equal dumps say nothing of them.
    let lists = eventually("all edges of the tenant list the same conflicts", async || {
        let mut lists = Vec::new();
        for edge in world.edges().iter().filter(|edge| edge.place().tenant == "acme-corp") {
            lists.push(listed(edge).await);
        }
        let all: BTreeSet<&String> = lists.iter().flatten().collect();
        let lacking = lists.iter().map(|list| all.iter().filter(|value| !list.contains(**value)).count());
        let lacking: Vec<usize> = lacking.collect();
        if lacking.iter().all(|count| *count == 0) { Ok(lists) } else { Err(format!("they lack {lacking:?}")) }
    })
    .await;
    found.listed = lists.into_iter().flatten().filter(|value| known.contains(value.as_str())).collect();
    found
}

/// The losing values of every conflict that an edge lists, page by page.
async fn listed(edge: &Edge) -> BTreeSet<String> {
    let mut values = BTreeSet::new();
    let mut path = "/sync/conflicts?limit=500".to_owned();
    loop {
        let page = edge.api().await.get(&path).await.expect(200);
        for conflict in page["items"].as_array().expect("a list has items") {
            values.extend(conflict["loser"]["value"].as_str().map(str::to_owned));
        }
        let Some(cursor) = page["next"].as_str() else { return values };
        path = format!("/sync/conflicts?limit=500&cursor={cursor}");
    }
}
