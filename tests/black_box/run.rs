//! The world, its writers, and the order of its troubles.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use tests::campaign::campaign;
use tests::deployment::{Deployment, Edge, HEADQUARTERS, OFFICE, Place, WAREHOUSE};
use tests::dots::Dots;
use tests::fake_clock::FakeClock;
use tests::fault_proxy::{Exchange, Route};
use tests::wait::{Stopwatch, eventually};
use tests::writers::{ACME, Memory, SHARED, by_api, by_file, by_sql, id};
use tokio::task::JoinHandle;

use crate::checks::{self, Samples};
use crate::trouble::Kind;

/// A second box at the warehouse, whose clock is a test's.
const YARD: Place = Place { edge: "wh-2", ..WAREHOUSE };
/// How long troubles go on, in milliseconds, and how many there are at least.
const SHORT: (f64, usize) = (30_000.0, 20);
const LONG_MINUTES: f64 = 30.0;
const LONG_INJECTIONS: usize = 200;
/// After so many troubles everybody pauses, and what the boxes say of themselves is compared with what they hold.
const SAMPLE_EVERY: usize = 8;

/// Everything that trouble may be made in.
pub(crate) struct World {
    pub(crate) deployment: Deployment,
    pub(crate) memory: Memory,
    pub(crate) clock: FakeClock,
    writers: Vec<JoinHandle<()>>,
}

/// Makes trouble for as long as the form of the run says, heals everything, and judges.
pub(crate) async fn run(seed: u64) {
    println!("SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let watch = Stopwatch::start();
    let mut world = World::start(seed).await;
    let (limit_ms, least) = if campaign() { (minutes() * 60_000.0, LONG_INJECTIONS) } else { SHORT };
    let (mut made, mut injections) = (BTreeMap::<Kind, usize>::new(), 0);
    let (mut deck, mut samples, mut dots) = (Vec::new(), Samples::default(), Dots::default());
    let began_ms = watch.ms();
    while watch.ms() - began_ms < limit_ms || injections < least {
        if deck.is_empty() {
            deck.extend(Kind::ALL);
            deck.shuffle(&mut random);
        }
        let kind = deck.pop().expect("it was just filled");
        let edge = world.victim(kind, &mut random);
        println!("{:>8.1} s {kind:?} at {}", watch.ms() / 1000.0, edge.place().edge);
        kind.happen(&world, edge, &mut random).await;
        *made.entry(kind).or_default() += 1;
        injections += 1;
        world.note_of_the_other_tenant(injections).await;
        if injections % SAMPLE_EVERY == 0 {
            let _paused = world.memory.pause().await;
            checks::look(&world, &mut samples, &mut dots).await;
        }
    }
    world.heal().await;
    let healed_ms = watch.ms();
    world.deployment.assert_equal_dumps().await;
    let settled_ms = watch.ms() - healed_ms;
    checks::look(&world, &mut samples, &mut dots).await;
    checks::judge(&world, &samples, &dots, seed).await;
    println!("in sync {settled_ms:.0} ms after everything had healed");
    println!("{injections} injections of {} kinds in {:.0} s: {made:?}", made.len(), watch.ms() / 1000.0);
    if campaign() {
        assert!(made.len() >= 25 && injections >= LONG_INJECTIONS, "{} kinds, {injections} injections", made.len());
    }
}

/// How long the long form takes; `MINUTES` in the environment says otherwise.
fn minutes() -> f64 {
    std::env::var("MINUTES").ok().and_then(|minutes| minutes.parse().ok()).unwrap_or(LONG_MINUTES)
}

impl World {
    async fn start(seed: u64) -> Self {
        let mut deployment = Deployment::start_durable(&[HEADQUARTERS, WAREHOUSE, OFFICE]).await;
        deployment.add_hub().await;
        let clock = FakeClock::new();
        let yard = deployment.enrolled_edge(YARD).await;
        yard.surround(clock.surroundings());
        yard.start().await;
        deployment.adopt_edge(yard);
        let ports = [deployment.hub(0).port(), deployment.hub(1).port()];
        for edge in deployment.edges() {
            edge.link().set_upstreams(&ports);
        }
        let values: Vec<String> = (0..SHARED).map(|row| format!("('{}', '{ACME}', 'first {row}')", id(row))).collect();
        deployment.sql(&format!("insert into tasks (id, tenant_id, title) values {}", values.join(", "))).await;
        for edge in deployment.edges() {
            edge.api().await;
        }
        deployment.assert_equal_dumps().await;
        for edge in deployment.edges() {
            // Who loses its log is signed in still.
            edge.sqlite("pragma wal_checkpoint(truncate)").await;
        }
        let memory = Memory::new();
        let mut world = Self { deployment, memory, clock, writers: Vec::new() };
        world.write(seed).await;
        world
    }

    async fn write(&mut self, seed: u64) {
        let memory = || self.memory.clone();
        let [hq, wh, _, yard] = self.deployment.edges() else { unreachable!("four boxes were started") };
        let file = |edge: &Edge| edge.data().join("edge.db");
        self.writers = vec![
            tokio::spawn(by_api(memory(), "api", hq.api().await.clone(), seed)),
            tokio::spawn(by_api(memory(), "yard", yard.api().await.clone(), seed)),
            tokio::spawn(by_file(memory(), "program", file(wh), seed)),
            tokio::spawn(by_file(memory(), "script", file(yard), seed)),
            tokio::spawn(by_sql(memory(), self.deployment.database_url().to_owned(), seed)),
        ];
    }

    /// Whom trouble comes to. What needs a box whose clock is ours comes to that one.
    fn victim(&self, kind: Kind, random: &mut SmallRng) -> &Edge {
        let edges = self.deployment.edges();
        match kind {
            Kind::ClockAhead | Kind::ClockBehind => &edges[3],
            _ => &edges[random.random_range(0..edges.len())],
        }
    }

    /// Waits until so many more writes were acknowledged, anywhere.
    pub(crate) async fn work(&self, writes: u32) {
        self.memory.until_more(writes, || self.deployment.hub(0).log()).await;
    }

    /// The same where some writers cannot.
    pub(crate) async fn work_elsewhere(&self, writes: u32) {
        self.work(writes).await;
    }

    /// Holds the contested rows at the centre while people work on.
    pub(crate) async fn lock_rows(&self, writes: u32) {
        let mut client = tests::postgres::connect(self.deployment.database_url()).await;
        let tx = client.transaction().await.expect("the database is there");
        let lock = format!("select from tasks where tenant_id = '{ACME}' and title not like 'Task%' for update");
        tx.batch_execute(&lock).await.expect("rows can be locked");
        self.work(writes).await;
        tx.rollback().await.expect("nothing was written");
    }

    /// Waits until the hub has everything of a box.
    pub(crate) async fn until_nothing_waits(&self, edge: &Edge) {
        edge.link().heal();
        eventually("nothing waits at the box", async || {
            edge.sync_now().await;
            let status = edge.status().await;
            let settled = status["pending"] == 0 && status["state"] == "online" && status["in_sync"] == true;
            if settled { Ok(()) } else { Err(format!("{status}\n{}", edge.log())) }
        })
        .await;
    }

    /// Sends the last pushes of a box once more, byte for byte, and says how many.
    pub(crate) async fn send_old_pushes_again(&self, edge: &Edge, at_most: usize) {
        let pushes: Vec<Exchange> = edge.link().exchanges_of(Route::Push);
        for push in pushes.iter().rev().take(at_most) {
            let status = push.send_again(self.deployment.hub(0).port()).await;
            assert!([200, 400, 409, 503].contains(&status), "a push of long ago is answered with {status}");
        }
    }

    /// The other tenant's only box writes now and then.
    async fn note_of_the_other_tenant(&self, number: usize) {
        let tenant = "(select id from tenants)";
        let note = format!("insert into tasks (tenant_id, title) values ({tenant}, '{} {number}')", checks::CANARY);
        self.deployment.edge(2).sqlite(&note).await;
    }

    /// Ends all trouble and all writing.
    async fn heal(&mut self) {
        self.memory.stop();
        self.clock.set("+0");
        for writer in self.writers.drain(..) {
            writer.await.expect("a writer survives what it writes to");
        }
        for edge in self.deployment.edges() {
            edge.link().heal();
            edge.sync_now().await;
        }
    }
}
