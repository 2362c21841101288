//! Whether the hub runs, and whether it can work.

use axum::extract::State;

use super::Hub;
use super::error::Error;
use crate::pg::connection;
use crate::pg::reach::Reach;

/// The process runs.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// The database answers too.
pub(super) async fn readyz(State(hub): State<Hub>) -> Result<&'static str, Error> {
    let client = hub.rows.get(Reach::Nobody).await?;
    connection::ping(&**client).await?;
    Ok("ok\n")
}
