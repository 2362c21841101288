//! W6: single writes at a box: by a plain client of its file, and by people through its API.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::{Connection, params};
use serde_json::json;
use tests::wait::Stopwatch;
use uuid::Uuid;

use crate::figures::Figure;
use crate::stand::{Stand, writer};
use crate::{Scale, floor, rows};

pub(crate) async fn measure(scale: Scale) -> Vec<Figure> {
    let stand = Stand::start(scale.part(10_000)).await;
    let edge = stand.hydrated("writes").await;
    let (many, tenant) = (scale.part(2_000), stand.tenant);
    let mut bare = floor::file(&stand.world.directory().join("floor.db"));
    floor::down(&stand.centre, &mut bare, "tasks", &format!("tenant_id = '{tenant}'")).await;
    let mut figures = Vec::new();
    let mut disk = Vec::new();
    for (mode, insert_bounds, update_bounds) in [("full", "≥ 0.9", "≥ 0.9"), ("normal", "≥ 0.5, ≥ 0.8", "≥ 0.4, ≥ 0.5")]
    {
        let mut inserts = Figure::new(format!("W6 plain inserts, synchronous {mode}"), "commits/s", insert_bounds);
        let mut updates = Figure::new(format!("W6 plain updates, synchronous {mode}"), "commits/s", update_bounds);
        for round in 0..scale.rounds {
            let ours = writer(&edge);
            for (file, figure_inserts, figure_updates) in
                [(&bare, &mut inserts.floor, &mut updates.floor), (&ours, &mut inserts.ours, &mut updates.ours)]
            {
                file.pragma_update(None, "synchronous", mode).expect("a connection takes it");
                let seed = (round as u64 + 1) * if mode == "full" { 1_000 } else { 100_000 };
                figure_inserts.push(insert_each(file, tenant, &rows::ids(seed, many)));
                figure_updates.push(update_each(file, &stand.ids[..many.min(stand.ids.len())], round));
            }
        }
        if mode == "full" {
            disk.clone_from(&updates.floor);
        }
        figures.extend([inserts, updates]);
    }
    let api = Arc::new(edge.api_of("admin@acme-corp.com").await);
    for writers in [1, 8, 64] {
        let bounds = if writers == 64 { "≥ 5" } else { "" };
        let name = format!("W6 API, {writers} writers, beside single commits of the disk");
        let mut figure = Figure::new(name, "commits/s", bounds);
        for round in 0..scale.rounds {
            let next = Arc::new(AtomicUsize::new(0));
            let watch = Stopwatch::start();
            let tasks: Vec<_> = (0..writers)
                .map(|_| {
                    let (api, next, ids) = (Arc::clone(&api), Arc::clone(&next), stand.ids.clone());
                    tokio::spawn(async move {
                        loop {
                            let place = next.fetch_add(1, Ordering::Relaxed);
                            if place >= many {
                                return;
                            }
                            let body = json!({"title": format!("by api {writers} {round} {place}")});
                            let answer = api.patch(&format!("/tasks/{}", ids[place % ids.len()]), &body).await;
                            assert_eq!(answer.status, 200, "{answer:?}");
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.expect("every edit is taken");
            }
            figure.ours.push(many as f64 * 1_000.0 / watch.ms());
        }
        figure.floor.clone_from(&disk);
        figures.push(figure);
    }
    figures
}

fn insert_each(file: &Connection, tenant: Uuid, ids: &[Uuid]) -> f64 {
    let insert = "insert into tasks (id, tenant_id, title, status, priority, metadata, created_at, updated_at)
      values (?1, ?2, 'by a plain client', 'open', 'medium', '{}', '2026-11-30T08:00:00.000000Z', '2026-11-30T08:00:00.000000Z')";
    let mut insert = file.prepare(insert).expect("a table");
    let watch = Stopwatch::start();
    for id in ids {
        insert.execute(params![id.to_string(), tenant.to_string()]).expect("a row fits");
    }
    ids.len() as f64 * 1_000.0 / watch.ms()
}

fn update_each(file: &Connection, ids: &[Uuid], round: usize) -> f64 {
    let mut update = file.prepare("update tasks set title = ?2 where id = ?1").expect("a table");
    let watch = Stopwatch::start();
    for (place, id) in ids.iter().enumerate() {
        let changed = update.execute(params![id.to_string(), format!("plain {round} {place}")]);
        assert_eq!(changed.expect("an edit"), 1);
    }
    ids.len() as f64 * 1_000.0 / watch.ms()
}
