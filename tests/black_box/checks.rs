//! What must hold, judged from recorded history and dumps.

use tests::dots::Dots;
use tests::dumps;
use tests::fates::{Told, judge as fates};
use tests::wait::eventually;
use tests::writers::{ACME, found};

use crate::run::World;

/// What every task of the other tenant's box begins with.
pub(crate) const CANARY: &str = "canary-of-techstart";

/// How often what a box said of itself was compared with what it holds.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    looks: usize,
    in_sync: usize,
    problems: Vec<String>,
}

/// Looks at everything while nobody writes. Who goes on saying that it is in sync and that nothing waits must hold what the hub
/// holds, as soon as what was written last can have come to it.
pub(crate) async fn look(world: &World, samples: &mut Samples, dots: &mut Dots) {
    let deployment = &world.deployment;
    for edge in deployment.edges() {
        samples.looks += 1;
        let (name, tenant) = (edge.place().edge, edge.place().tenant);
        let says_so = |status: &serde_json::Value| status["in_sync"] == true && status["pending"] == 0;
        samples.in_sync += eventually(&format!("{name} holds what it says that it holds"), async || {
            let (hub, said) = (deployment.dump_hub(tenant).await, edge.status().await);
            let own = edge.dump().await;
            let differences = dumps::differences(&hub, &own);
            if !says_so(&said) || !says_so(&edge.status().await) {
                return Ok(0);
            }
            if differences.is_empty() { Ok(1) } else { Err(format!("{said}\n  {}", differences.join("\n  "))) }
        })
        .await;
        let sound = edge.sqlite("pragma integrity_check; pragma foreign_key_check;").await;
        if sound != "ok" {
            samples.problems.push(format!("{}: {sound}", edge.place().edge));
        }
        dots.look_at(edge).await;
    }
    dots.look_at_centre(deployment).await;
}

/// Judges the end.
pub(crate) async fn judge(world: &World, samples: &Samples, dots: &Dots, seed: u64) {
    let deployment = &world.deployment;
    let history = world.memory.history();
    let found = found(deployment, &history).await;
    let mut problems = fates(&history, &found);
    problems.extend(samples.problems.iter().cloned());
    problems.extend(dots.problems_but_for_stamps());
    problems.extend(leaks(world).await);
    problems.extend(repeated(world).await);
    let acknowledged = history.iter().filter(|write| write.told == Told::Acknowledged).count();
    let deletes = history.iter().filter(|write| write.deletes).count();
    println!(
        "{} writes, {acknowledged} acknowledged, {deletes} of them deletes: {} registers visible, {} values listed",
        history.len(),
        found.visible.len(),
        found.listed.len()
    );
    println!(
        "{} looks, {} at boxes that said they were in sync; {} numbers of writes seen",
        samples.looks,
        samples.in_sync,
        dots.count()
    );
    assert!(problems.is_empty(), "SEED={seed}\n{}", problems.join("\n"));
}

/// Bytes of one tenant on the wire of another.
async fn leaks(world: &World) -> Vec<String> {
    let other = world.deployment.edge(2).sqlite("select id from tenants").await;
    let mut problems = Vec::new();
    for edge in world.deployment.edges() {
        let foreign = if edge.place().tenant == "acme-corp" { [CANARY, other.as_str()] } else { [ACME, "program 1"] };
        for canary in foreign {
            let seen = edge.link().answers_with(canary);
            if !seen.is_empty() {
                problems.push(format!("{} was sent {canary} in {seen:?}", edge.place().edge));
            }
        }
    }
    problems
}

/// What was pushed long ago changes nothing when it comes again, and no effect has two records.
async fn repeated(world: &World) -> Vec<String> {
    let deployment = &world.deployment;
    let state = "select md5(string_agg(v::text, ';' order by tenant_id, table_id, row_id)) from sync.row_versions as v";
    let audits = "select count(*) from audit_logs";
    let before = (deployment.sql(state).await, deployment.sql(audits).await);
    for edge in deployment.edges() {
        world.send_old_pushes_again(edge, 40).await;
    }
    let after = (deployment.sql(state).await, deployment.sql(audits).await);
    let mut problems = Vec::new();
    if before != after {
        problems.push(format!("old pushes changed something: {before:?} became {after:?}"));
    }
    let twice = "select string_agg(resource_id::text, ', ') from (
      select resource_id from audit_logs where action = 'create' and resource_type = 'task'
      group by resource_id having count(*) > 1) as twice";
    let twice = deployment.sql(twice).await;
    if !twice.is_empty() {
        problems.push(format!("made once and recorded twice: {twice}"));
    }
    problems
}
