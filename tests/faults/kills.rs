//! Processes killed without warning while everybody writes.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tests::campaign::{campaign, seed};
use tests::deployment::{Deployment, HEADQUARTERS, WAREHOUSE};
use tests::fates::judge;
use tests::wait::Stopwatch;

use crate::{ACME, id};
use tests::writers::{Memory, SHARED, by_api, by_file, by_sql, found};

/// Who is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Edge,
    Hub,
    Postgres,
}

impl Victim {
    /// How often it is killed.
    fn kills(self) -> u32 {
        match self {
            _ if !campaign() => 20,
            Self::Edge => 500,
            Self::Hub => 100,
            Self::Postgres => 30,
        }
    }
}

async fn kill_and_start_again(world: &Deployment, victim: Victim) {
    match victim {
        Victim::Edge => {
            world.edge(0).kill();
            world.edge(0).start().await;
        }
        Victim::Hub => {
            world.hub(0).kill();
            world.hub(0).start();
            assert!(world.hub(0).is_ready().await, "the hub does not start again\n{}", world.hub(0).log());
        }
        Victim::Postgres => {
            world.cluster().kill();
            world.cluster().start_again();
        }
    }
}

async fn check(victim: Victim) {
    let seed = seed(20_260);
    println!("SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let world = Deployment::start_durable(&[HEADQUARTERS, WAREHOUSE]).await;
    let values: Vec<String> = (0..SHARED).map(|row| format!("('{}', '{ACME}', 'first {row}')", id(row))).collect();
    world.sql(&format!("insert into tasks (id, tenant_id, title) values {}", values.join(", "))).await;
    world.assert_equal_dumps().await;
    let memory = Memory::new();
    let edge = world.edge(0);
    let writers = [
        tokio::spawn(by_api(memory.clone(), "api", edge.api().await.clone(), seed)),
        tokio::spawn(by_file(memory.clone(), "file", world.edge(1).data().join("edge.db"), seed)),
        tokio::spawn(by_sql(memory.clone(), world.database_url().to_owned(), seed)),
    ];
    let watch = Stopwatch::start();
    for _ in 0..victim.kills() {
        memory.until_more(random.random_range(2..12), || edge.log()).await;
        kill_and_start_again(&world, victim).await;
    }
    memory.until_more(5, || edge.log()).await;
    memory.stop();
    for writer in writers {
        writer.await.expect("a writer survives what it writes to");
    }
    let writing_ms = watch.ms();
    let watch = Stopwatch::start();
    for edge in world.edges() {
        edge.sync_now().await;
    }
    world.assert_equal_dumps().await;
    let history = memory.history();
    let found = found(&world, &history).await;
    println!(
        "{victim:?} killed {} times in {writing_ms:.0} ms: {} writes, {} acknowledged, {} listed; in sync after {:.0} ms",
        victim.kills(),
        history.len(),
        memory.acknowledged(),
        found.listed.len(),
        watch.ms()
    );
    let problems = judge(&history, &found);
    assert!(problems.is_empty(), "SEED={seed}\n{}\n{}", problems.join("\n"), edge.log());
    integrity(&world).await;
}

/// Both kinds of database are sound by their own judgement.
async fn integrity(world: &Deployment) {
    for edge in world.edges() {
        let checked = edge.sqlite("pragma integrity_check; pragma foreign_key_check;").await;
        assert_eq!(checked, "ok", "{}", edge.place().edge);
    }
    let twice = "select count(*) from (select id from audit_logs group by id having count(*) > 1) as twice";
    assert_eq!(world.sql(twice).await, "0");
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_an_edge_is_killed() {
    check(Victim::Edge).await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_hub_is_killed() {
    check(Victim::Hub).await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_postgresql_is_killed() {
    check(Victim::Postgres).await;
}
