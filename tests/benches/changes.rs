//! W2, W3, W4: a box and the centre meet again after both went on without each other.

use rusqlite::{Connection, params};
use tests::deployment::Edge;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::figures::Figure;
use crate::rows;
use crate::stand::{Stand, timed, until, until_sent, writer};
use crate::{Scale, floor};

/// The centre's table of the floor.
const BARE: &str = "bare_tasks";

pub(crate) async fn measure(scale: Scale, asked: impl Fn(&str) -> bool) -> Vec<Figure> {
    let mut stand = Stand::start(scale.tasks).await;
    let edge = stand.hydrated("changes").await;
    floor::bare_tasks(&stand.centre, BARE).await;
    let mut file = floor::file(&stand.world.directory().join("floor.db"));
    floor::down(&stand.centre, &mut file, BARE, "true").await;
    let mut figures = Vec::new();
    for (name, title, bounds) in [
        ("W2", "edits made offline are pushed", "≤ 2.5, ≤ 1.5"),
        ("W3", "rows changed at the centre while away", "≤ 3, ≤ 1.7"),
        ("W4", "both sides changed, a tenth the same rows", "≤ 2.5, ≤ 1.6"),
    ] {
        if !asked(name) {
            continue;
        }
        let many = scale.part(10_000).min(scale.tasks / 2);
        let mut figure = Figure::new(format!("{name} {many} {title}"), "ms", bounds);
        for round in 0..scale.rounds {
            // Other rows every time, so that a round begins where none has been.
            let first = (round * many * 2) % (scale.tasks - many).max(1);
            let ours = &stand.ids[first.min(scale.tasks - many)..][..many].to_vec();
            let shift = many - many / 10;
            let theirs = &stand.ids[(first + shift) % (scale.tasks - many).max(1)..][..many].to_vec();
            let mark = format!("{name} {round}");
            figure.floor.push(run_floor(&mut stand, &mut file, name, (ours, theirs), &mark).await);
            figure.ours.push(run_ours(&stand, &edge, name, (ours, theirs), &mark).await);
        }
        figures.push(figure);
    }
    figures
}

/// What is made and deleted beside the edits, as a share of them: 1,000 and 500 of 10,000.
fn extras(many: usize, mark: &str, ours: &[Uuid]) -> (Vec<Uuid>, Vec<Uuid>) {
    let seed = mark.bytes().fold(3, |seed, byte| seed * 31 + u64::from(byte));
    (rows::ids(seed, (many / 10).max(1)), ours.iter().take((many / 20).max(1)).copied().collect())
}

async fn run_floor(
    stand: &mut Stand,
    file: &mut Connection,
    name: &str,
    (ours, theirs): (&[Uuid], &[Uuid]),
    mark: &str,
) -> f64 {
    let (made, deleted) = extras(ours.len(), mark, ours);
    let mut ms = 0.0;
    if name != "W2" {
        edit_centre(&stand.centre, BARE, theirs, mark).await;
        let which = format!("title like 'c {mark}%'");
        ms += timed(floor::down(&stand.centre, file, BARE, &which)).await.0;
    }
    if name != "W3" {
        edit_box(file, stand.tenant, (ours, &made, &deleted), mark);
        let which = format!("title like 'b {mark}%'");
        ms += timed(floor::up(file, &mut stand.centre, BARE, &which, &deleted)).await.0;
    }
    ms
}

/// The hub is away while both sides are written to; what is timed begins when it is back and the box is told to sync.
async fn run_ours(stand: &Stand, edge: &Edge, name: &str, (ours, theirs): (&[Uuid], &[Uuid]), mark: &str) -> f64 {
    let (made, deleted) = extras(ours.len(), mark, ours);
    // Signed in before it is timed.
    edge.api().await;
    let hub = stand.world.hub(0);
    hub.kill();
    if name != "W2" {
        edit_centre(&stand.centre, "tasks", theirs, mark).await;
    }
    if name != "W3" {
        edit_box(&mut writer(edge), stand.tenant, (ours, &made, &deleted), mark);
    }
    hub.start();
    assert!(hub.is_ready().await, "{}", hub.log());
    let (ms, ()) = timed(async {
        edge.sync_now().await;
        until_sent(edge).await;
        if name != "W2" {
            // Of a row that both changed the box has the centre's description, whoever's title won.
            let question = format!("select count(*) = {} from tasks where description = 'c {mark}'", theirs.len());
            until(edge, "the box has what the centre changed", &question).await;
        }
    })
    .await;
    check(stand, name, (ours, theirs), &deleted, mark).await;
    ms
}

async fn edit_centre(centre: &Client, table: &str, ids: &[Uuid], mark: &str) {
    let statement =
        format!("update {table} set title = 'c {mark} ' || title, description = 'c {mark}' where id = any($1)");
    let changed = centre.execute(&statement, &[&ids]).await.expect("the centre takes edits");
    assert!(changed > 0);
}

fn edit_box(file: &mut Connection, tenant: Uuid, (edited, made, deleted): (&[Uuid], &[Uuid], &[Uuid]), mark: &str) {
    let tx = file.transaction().expect("nobody else writes");
    {
        let mut update =
            tx.prepare("update tasks set title = 'b ' || ?2 || ' ' || title where id = ?1").expect("a table");
        for id in edited {
            update.execute(params![id.to_string(), mark]).expect("the box takes edits");
        }
        let insert = "insert into tasks (id, tenant_id, title, status, priority, metadata, created_at, updated_at)
          values (?1, ?2, 'b ' || ?3, 'open', 'medium', '{}', '2026-11-30T08:00:00.000000Z', '2026-11-30T08:00:00.000000Z')";
        let mut insert = tx.prepare(insert).expect("a table");
        for id in made {
            insert.execute(params![id.to_string(), tenant.to_string(), mark]).expect("the box takes rows");
        }
        let mut delete = tx.prepare("delete from tasks where id = ?1").expect("a table");
        for id in deleted {
            delete.execute([id.to_string()]).expect("rows can go");
        }
    }
    tx.commit().expect("the disk takes it");
}

/// Nothing is lost: what the box wrote is at the centre, and of the rows that both wrote one title is a conflict.
async fn check(stand: &Stand, name: &str, (ours, theirs): (&[Uuid], &[Uuid]), deleted: &[Uuid], mark: &str) {
    if name == "W3" {
        return;
    }
    let gone = "select count(*) from tasks where id = any($1)";
    let left: i64 = stand.centre.query_one(gone, &[&deleted]).await.expect("a count").get(0);
    let both: Vec<Uuid> = ours.iter().filter(|id| theirs.contains(id)).copied().collect();
    // An edit beats a delete, so that a row that both sides touched may live.
    let revived = both.iter().filter(|id| deleted.contains(id)).count();
    assert!(usize::try_from(left).expect("few") <= revived, "{left} deleted rows live");
    let there = format!("select count(*) from tasks where title like 'b {mark}%' or title like '%b {mark}%'");
    let there: i64 = stand.centre.query_one(&there, &[]).await.expect("a count").get(0);
    let listed = "select count(distinct row_id) from sync.conflicts where row_id = any($1)";
    let listed: i64 = stand.centre.query_one(listed, &[&both]).await.expect("a count").get(0);
    let edited = ours.len() - deleted.len();
    assert!(usize::try_from(there + listed).expect("few") >= edited, "{there} there, {listed} listed of {edited}");
}
