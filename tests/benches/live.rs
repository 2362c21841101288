//! W5: one row, live, each way.

use std::cell::RefCell;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::json;
use tests::postgres::Cluster;
use tests::wait::Stopwatch;
use tokio_postgres::{AsyncMessage, NoTls};
use uuid::Uuid;

use crate::figures::{Figure, percentile};
use crate::stand::{Stand, reader};
use crate::{Scale, floor};

/// What one change may take before it counts as lost.
const CHANGE_MS_MAX: u64 = 30_000;

pub(crate) async fn measure(scale: Scale) -> Vec<Figure> {
    let stand = Stand::start(scale.part(1_000)).await;
    let edge = stand.hydrated("live").await;
    let changes = scale.part(500);
    let (mut down, mut up) = (Vec::new(), Vec::new());
    let file = reader(&edge).expect("the box has a file");
    let read = file.prepare("select title from tasks where id = ?1").expect("a table");
    let read = RefCell::new(read);
    for change in 0..changes {
        let (id, title) = (stand.ids[change % stand.ids.len()], format!("live {change}"));
        let watch = Stopwatch::start();
        stand.centre.execute("update tasks set title = $2 where id = $1", &[&id, &title]).await.expect("an edit");
        down.push(
            until_read(watch, async || read.borrow_mut().query_row([id.to_string()], |row| row.get(0)).ok(), &title)
                .await,
        );
    }
    let api = edge.api().await;
    for change in 0..changes {
        let (id, title) = (stand.ids[change % stand.ids.len()], format!("up {change}"));
        let answer = api.patch(&format!("/tasks/{id}"), &json!({"title": title})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let watch = Stopwatch::start();
        let ask = async || {
            let row = stand.centre.query_one("select title from tasks where id = $1", &[&id]).await.ok()?;
            row.get::<_, Option<String>>(0)
        };
        up.push(until_read(watch, ask, &title).await);
    }
    let (floor_down, floor_up) = (floor_down(&stand, changes).await, floor_up(&stand, changes).await);
    let mut figures = Vec::new();
    for (way, ours, floor) in [("centre to box", down, floor_down), ("box to centre", up, floor_up)] {
        for (name, share, bounds) in [("p50", 0.5, "≤ 10, ≤ 3"), ("p99", 0.99, "≤ 15, ≤ 5")] {
            let mut figure = Figure::new(format!("W5 {way}, {name} of {changes}"), "ms", bounds);
            (figure.ours, figure.floor) = (vec![percentile(&ours, share)], vec![percentile(&floor, share)]);
            figures.push(figure);
        }
    }
    figures
}

/// Asks without a pause until the title is there; the milliseconds since `watch`.
async fn until_read(watch: Stopwatch, ask: impl AsyncFn() -> Option<String>, title: &str) -> f64 {
    let asking = async {
        while ask().await.as_deref() != Some(title) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_millis(CHANGE_MS_MAX), asking).await.expect("the change arrives");
    watch.ms()
}

/// NOTIFY wakes a listener, which copies the row and commits it to its file.
async fn floor_down(stand: &Stand, changes: usize) -> Vec<f64> {
    floor::bare_tasks(&stand.centre, "bare_live").await;
    let cluster: &Cluster = stand.world.cluster();
    let listener = tokio_postgres::connect(&cluster.url("waystation"), NoTls).await;
    let (listener, mut connection) = listener.expect("the centre takes one more");
    let (told, mut woken) = tokio::sync::mpsc::unbounded_channel::<Uuid>();
    tokio::spawn(async move {
        let messages = futures_util::stream::poll_fn(move |context| connection.poll_message(context));
        let mut messages = std::pin::pin!(messages);
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(note) = message {
                told.send(note.payload().parse().expect("an id")).expect("somebody waits for it");
            }
        }
    });
    listener.batch_execute("listen changed").await.expect("it listens");
    let mut file = floor::file(&stand.world.directory().join("floor-live.db"));
    let mut all = Vec::new();
    for change in 0..changes {
        let id = stand.ids[change % stand.ids.len()];
        let watch = Stopwatch::start();
        let edit = format!(
            "begin; update bare_live set title = 'live {change}' where id = '{id}'; notify changed, '{id}'; commit"
        );
        let (edited, ()) = tokio::join!(stand.centre.batch_execute(&edit), async {
            let id = woken.recv().await.expect("it is told");
            floor::one_down(&listener, &mut file, "bare_live", id).await;
        });
        edited.expect("an edit");
        all.push(watch.ms());
    }
    all
}

/// A commit to a file, then the row by COPY to the centre.
async fn floor_up(stand: &Stand, changes: usize) -> Vec<f64> {
    let mut client = stand.world.cluster().connect("waystation").await;
    let mut file = floor::file(&stand.world.directory().join("floor-up.db"));
    floor::down(&stand.centre, &mut file, "bare_live", "true").await;
    let mut all = Vec::new();
    for change in 0..changes {
        let id = stand.ids[change % stand.ids.len()];
        file.execute("update tasks set title = ?2 where id = ?1", [id.to_string(), format!("up {change}")])
            .expect("an edit");
        let watch = Stopwatch::start();
        floor::up(&file, &mut client, "bare_live", &format!("id = '{id}'"), &[]).await;
        all.push(watch.ms());
    }
    all
}
