//! What the hub tidies up while it serves, once an hour: see [`collect`].

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};

use super::clock;
use super::error::{Error, causes};
use crate::pg::collect::{self, Collected};
use crate::pg::reach::{Connections, Reach};

/// How long after its start for the first time, in milliseconds: the edges come first.
const START_MS: u64 = 60_000;
/// How often, in milliseconds.
const PAUSE_MS: u64 = 60 * 60 * 1000;

/// Tidies up until it is dropped.
pub(super) async fn run(rows: Connections) {
    sleep(Duration::from_millis(START_MS)).await;
    let mut ticks = interval(Duration::from_millis(PAUSE_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match tidy(&rows).await {
            Ok(Collected { tombstones, stale, .. }) => {
                for edge in stale {
                    tracing::warn!(edge, "the edge was silent for too long: it is no longer waited for");
                }
                tracing::debug!(tombstones, "dead rows were forgotten");
            }
            Err(error) => tracing::warn!(cause = causes(&error), "tidying up failed and is tried again in an hour"),
        }
    }
}

async fn tidy(rows: &Connections) -> Result<Collected, Error> {
    let mut client = rows.get(Reach::Everybody).await?;
    Ok(collect::collect(&mut client, clock::unix_ms()).await?)
}
