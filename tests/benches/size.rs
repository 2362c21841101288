//! W9: what a row, the binary, and a box at rest weigh.

use std::process::Command;

use crate::Scale;
use crate::figures::Figure;
use crate::stand::{Stand, resident_mb};

pub(crate) async fn measure(scale: Scale) -> Vec<Figure> {
    let stand = Stand::start(scale.tasks).await;
    let edge = stand.hydrated("size").await;
    let rows = scale.tasks as f64;
    let centre = "select pg_total_relation_size('sync.row_versions')::float8 / count(*) from sync.row_versions";
    let centre: f64 = stand.centre.query_one(centre, &[]).await.expect("a size").get(0);
    let box_bytes = "select sum(pgsize) from dbstat where name in ('sync_rows', 'sync_rows_pending')";
    let box_bytes = edge.sqlite(box_bytes).await;
    let box_bytes: f64 = box_bytes.trim().parse().unwrap_or_else(|error| panic!("{box_bytes}: {error}"));
    let resident = resident_mb(edge.process_id());
    let mut figures = vec![
        Figure::single("W9 sync metadata of a row at the centre, with indexes", "B", "≤ 320, ≤ 220", centre),
        Figure::single("W9 sync metadata of a row at a box, with indexes", "B", "≤ 140, ≤ 100", box_bytes / rows),
        Figure::single(format!("W9 memory of a box with {} tasks", scale.tasks), "MB", "≤ 60, ≤ 40", resident),
    ];
    if let Some(bytes) = shipped_bytes() {
        figures.push(Figure::single("W9 the edge's binary as it ships", "MB", "≤ 20, ≤ 15", bytes / 1e6));
    }
    figures
}

/// The size of the edge's binary without the demo; `None` for a bench that is not optimised either.
fn shipped_bytes() -> Option<f64> {
    if cfg!(debug_assertions) {
        return None;
    }
    let workspace = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let target = workspace.join("target/shipped");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .current_dir(workspace)
        .args(["build", "--locked", "--quiet", "--release", "-p", "edge", "--no-default-features", "--target-dir"])
        .arg(&target)
        .status();
    built.ok().filter(std::process::ExitStatus::success)?;
    Some(std::fs::metadata(target.join("release/edge")).ok()?.len() as f64)
}
