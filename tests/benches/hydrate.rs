//! W1: a new box reads everything.

use std::fs;

use crate::figures::Figure;
use crate::stand::{Stand, peak_mb, timed, until_hydrated};
use crate::{Scale, floor};

pub(crate) async fn measure(scale: Scale) -> Vec<Figure> {
    let stand = Stand::start(scale.tasks).await;
    let mut figure = Figure::new(format!("W1 hydrate {} tasks from rows", scale.tasks), "ms", "≤ 2.0, ≤ 1.4");
    let (mut edge_mb, mut hub_mb): (f64, f64) = (0.0, 0.0);
    for round in 0..scale.rounds {
        let path = stand.world.directory().join("floor.db");
        let mut file = floor::file(&path);
        let which = format!("tenant_id = '{}'", stand.tenant);
        let (ms, copied) = timed(floor::down(&stand.centre, &mut file, "tasks", &which)).await;
        assert!(copied >= scale.tasks, "{copied} rows");
        figure.floor.push(ms);
        drop(file);
        for name in ["floor.db", "floor.db-wal", "floor.db-shm"] {
            drop(fs::remove_file(stand.world.directory().join(name)));
        }
        let edge = stand.enrolled(&format!("w1-{round}")).await;
        let (ms, ()) = timed(async {
            edge.spawn();
            until_hydrated(&edge).await;
        })
        .await;
        figure.ours.push(ms);
        (edge_mb, hub_mb) =
            (edge_mb.max(peak_mb(edge.process_id())), hub_mb.max(peak_mb(stand.world.hub(0).process_id())));
        let have: usize = edge.sqlite("select count(*) from tasks").await.trim().parse().expect("a count");
        assert_eq!(have, copied, "the box has what the floor has");
        edge.stop();
        drop(fs::remove_dir_all(edge.data()));
    }
    figure.notes = format!("edge {edge_mb:.0} MB, hub {hub_mb:.0} MB at most");
    vec![figure]
}
