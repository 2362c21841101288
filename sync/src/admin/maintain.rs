//! `hub db maintain`: what the hub does every hour by itself, now.

use serde_json::json;
use tokio_postgres::Config;

use super::{Failure, connect, print_json, print_line};
use crate::hub::clock;
use crate::pg::collect::{self, Collected};

/// Forgets what no edge needs any more, and prints how much that was.
pub async fn maintain(database: &Config, json: bool) -> Result<(), Failure> {
    let mut client = connect(database).await?;
    let Collected { tombstones, scope_changes, enrollments, stale } =
        collect::collect(&mut client, clock::unix_ms()).await?;
    if json {
        return print_json(&json!({
            "tombstones": tombstones, "scope_changes": scope_changes, "enrollments": enrollments, "stale": stale
        }));
    }
    for edge in stale {
        print_line(&format!(
            "{edge} was silent for too long and is stale: it compares itself with the centre when it returns"
        ))?;
    }
    print_line(&format!(
        "forgot {tombstones} dead rows, {scope_changes} changes of scope and {enrollments} enrolment codes"
    ))
}
