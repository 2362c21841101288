//! What an edge tidies up while it runs: what live listeners no longer need, answers that are a day old, and rows that have
//! long been dead. Once at the start, then once an hour.

use std::time::Duration;

use rusqlite::TransactionBehavior;
use sync::merge::clock::Hlc;
use sync::merge::limits::RETENTION_DAYS;
use sync::sqlite::error::StoreError;
use sync::sqlite::{answers, changes, collect};
use tokio::time::MissedTickBehavior;

use crate::App;
use crate::api::events::CHANGES_KEPT;
use crate::api::repeat::KEPT_MS;
use crate::times;

/// How often, in milliseconds.
pub const PAUSE_MS: u64 = 60 * 60 * 1000;
const DAY_MS: u64 = 24 * PAUSE_MS;

/// Tidies up until it is dropped.
pub async fn run(app: App) {
    let mut ticks = tokio::time::interval(Duration::from_millis(PAUSE_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = tidy(&app).await {
            tracing::warn!(%error, "tidying up failed and is tried again in an hour");
        }
    }
}

/// Tidies up once.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub async fn tidy(app: &App) -> Result<(), StoreError> {
    let now_ms = app.clock.steady_ms();
    let now = times::timestamp(now_ms);
    let dead_before = Hlc::at(now_ms.saturating_sub(u64::from(RETENTION_DAYS) * DAY_MS));
    let work = move |connection: &mut rusqlite::Connection| {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        changes::cut(&tx, CHANGES_KEPT)?;
        collect::forget(&tx, dead_before)?;
        answers::forget(&tx, &times::shifted(&now, -KEPT_MS))?;
        tx.commit()?;
        Ok(())
    };
    app.db.write(work).await
}
