//! W8: what capture costs the centre's other applications.

use std::process::Command;

use tests::scratch::Scratch;

use crate::figures::Figure;
use crate::stand::{Stand, timed};
use crate::{Scale, floor, rows};

/// Clients of pgbench, and for how many seconds it runs.
const CLIENTS: &str = "8";
const SECONDS: &str = if cfg!(debug_assertions) { "1" } else { "5" };

pub(crate) async fn measure(scale: Scale) -> Vec<Figure> {
    let stand = Stand::start(scale.part(10_000)).await;
    floor::bare_tasks(&stand.centre, "bare_tasks").await;
    let (many, edits) = (scale.part(200_000), scale.part(10_000));
    let mut inserts = Figure::new(format!("W8 COPY of {many} tasks at the centre"), "ms", "≤ 2.2, ≤ 1.5");
    let mut updates = Figure::new(format!("W8 UPDATE of {edits} tasks in one statement"), "ms", "≤ 1.8, ≤ 1.4");
    let mut singles = Figure::new(format!("W8 single updates, pgbench, {CLIENTS} clients"), "tps", "≥ 0.6, ≥ 0.8");
    for round in 0..scale.rounds {
        let ids = rows::ids(50 + round as u64, many);
        for (table, inserts, updates, singles) in [
            ("bare_tasks", &mut inserts.floor, &mut updates.floor, &mut singles.floor),
            ("tasks", &mut inserts.ours, &mut updates.ours, &mut singles.ours),
        ] {
            inserts.push(timed(rows::copy_tasks(&stand.centre, table, stand.tenant, &ids)).await.0);
            let update = format!("update {table} set title = 'round {round}' where id = any($1)");
            let (ms, changed) =
                timed(stand.centre.execute(&update, &[&&stand.ids[..edits.min(stand.ids.len())]])).await;
            assert!(changed.expect("an edit") > 0);
            updates.push(ms);
            singles.push(pgbench(&stand, table));
            stand.centre.execute(&format!("delete from {table} where id = any($1)"), &[&ids]).await.expect("rows go");
            stand.centre.batch_execute("vacuum analyze").await.expect("the superuser may");
        }
    }
    vec![inserts, updates, singles]
}

/// Transactions a second.
fn pgbench(stand: &Stand, table: &str) -> f64 {
    let scratch = Scratch::new();
    let script = scratch.path().join("update.sql");
    let pick = format!(
        "\\set place random(0, {})\nupdate {table} set title = 'by pgbench' where id = (select id from bench_ids where place = :place);\n",
        stand.ids.len() - 1
    );
    std::fs::write(&script, pick).expect("a file");
    let url = stand.world.database_url();
    let ids: Vec<String> = stand.ids.iter().enumerate().map(|(place, id)| format!("({place}, '{id}')")).collect();
    let prepare = format!(
        "set client_min_messages = warning; create table if not exists bench_ids (place integer primary key, id uuid);
         insert into bench_ids values {} on conflict do nothing;",
        ids.join(", ")
    );
    let file = scratch.path().join("ids.sql");
    std::fs::write(&file, prepare).expect("a file");
    let cluster = stand.world.cluster();
    let prepared = Command::new(cluster.program_path("psql")).args(["-q", "-f"]).arg(&file).arg(url).status();
    assert!(prepared.expect("psql runs").success());
    let run = Command::new(cluster.program_path("pgbench"))
        .args(["-n", "-c", CLIENTS, "-j", "2", "-T", SECONDS, "-M", "prepared", "-f"])
        .arg(&script)
        .arg(url)
        .output()
        .expect("pgbench runs");
    let text = String::from_utf8_lossy(&run.stdout);
    let tps = text.lines().find_map(|line| line.strip_prefix("tps = ")).unwrap_or_else(|| panic!("{run:?}"));
    tps.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}
