//! What an edge tidies up while it runs: what live listeners no longer need, and answers that are a day
//! old. Once at the start, then once an hour.

use std::time::Duration;

use rusqlite::TransactionBehavior;
use sync::sqlite::error::StoreError;
use sync::sqlite::{answers, changes};
use tokio::time::MissedTickBehavior;

use crate::App;
use crate::api::events::CHANGES_KEPT;
use crate::api::repeat::KEPT_MS;
use crate::times;

/// How often, in milliseconds.
pub const PAUSE_MS: u64 = 60 * 60 * 1000;

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
    let now = times::timestamp(app.clock.steady_ms());
    let work = move |connection: &mut rusqlite::Connection| {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        changes::cut(&tx, CHANGES_KEPT)?;
        answers::forget(&tx, &times::shifted(&now, -KEPT_MS))?;
        tx.commit()?;
        Ok(())
    };
    app.db.write(work).await
}
