//! `hub verify`: asks a running edge to compare itself with the centre, and prints what it found.

use std::time::Duration;

use serde_json::json;
use tokio_postgres::Config;

use super::{Failure, connect, print_json, print_line};
use crate::hub::clock;
use crate::pg::digest;
use crate::wire::recovery::Verification;

/// How long an edge may take to notice that it is asked, and to compare, in milliseconds.
const WAIT_MS_MAX: u64 = 120_000;
/// How often its report is looked for, in milliseconds.
const LOOK_MS: u64 = 250;

/// Runs the command.
pub async fn run(database: &Config, name: &str, json: bool) -> Result<(), Failure> {
    let client = connect(database).await?;
    let unknown = || Failure::Input(format!("there is no edge {name}; see `hub edge list`"));
    let edge = digest::ask(&client, name).await?.ok_or_else(unknown)?;
    let until = clock::instant() + Duration::from_millis(WAIT_MS_MAX);
    while digest::is_asked(&client, edge).await? {
        if clock::instant() >= until {
            let last = digest::last(&client, edge).await?.map(|(_, at)| at);
            let last = last.unwrap_or_else(|| "never".to_owned());
            return Err(Failure::Found(format!("{name} did not report; is it online? it was last compared: {last}")));
        }
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
    }
    let (report, at) = digest::last(&client, edge).await?.unwrap_or_default();
    let found: Verification = serde_json::from_str(&report).unwrap_or_default();
    if json {
        print_json(&json!({"edge": name, "at": at, "found": found}))?;
    } else {
        for one in &found.differences {
            let columns = if one.columns.is_empty() { String::new() } else { format!(" ({})", one.columns.join(", ")) };
            print_line(&format!("{} {}: {}{columns}; {}", one.table, one.id, one.what, one.repair))?;
        }
        print_line(&format!("{} rows compared, {} differed", found.rows, found.differing))?;
    }
    match found.differing {
        0 => Ok(()),
        differing => Err(Failure::Found(format!("{differing} rows of {name} differed; they were repaired"))),
    }
}
