//! `hub recover`: rows that the centre lost and edges still hold.

use serde_json::json;
use tokio_postgres::Config;
use uuid::Uuid;

use super::{Failure, connect, print_json, print_line};
use crate::pg::recovery::{self, Entry};

/// What is decided about an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The row is written again.
    Accept,
    /// The centre stays as it is.
    Discard,
}

/// Prints the open entries.
pub async fn list(database: &Config, json: bool) -> Result<(), Failure> {
    let mut client = connect(database).await?;
    recovery::supersede(&mut client).await?;
    let entries = recovery::list(&client, None).await?;
    if json {
        return print_json(&json!(entries));
    }
    for entry in &entries {
        print_line(&line(entry))?;
    }
    if entries.is_empty() {
        print_line("nothing is held by edges alone")?;
    }
    Ok(())
}

/// Accepts or discards one entry, or all, parents first. One that cannot be written stays and fails the command at its
/// end.
pub async fn decide(database: &Config, decision: Decision, id: Option<Uuid>, json: bool) -> Result<(), Failure> {
    let mut client = connect(database).await?;
    recovery::supersede(&mut client).await?;
    let entries = recovery::list(&client, id).await?;
    if let (Some(id), true) = (id, entries.is_empty()) {
        return Err(Failure::Input(format!("there is no open entry {id}; see `hub recover list`")));
    }
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for entry in &entries {
        let outcome = match decision {
            Decision::Accept => recovery::accept(&mut client, entry).await,
            Decision::Discard => recovery::discard(&mut client, entry).await.map(|()| "discarded"),
        };
        match outcome {
            Ok(outcome) => done.push(json!({"id": entry.id, "outcome": outcome})),
            Err(error) => failed.push(format!("{}: {}", entry.id, crate::hub::error::causes(&error))),
        }
    }
    match json {
        true => print_json(&json!(done))?,
        false => print_line(&format!("{} of {} entries settled", done.len(), entries.len()))?,
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Failure::Found(format!("not settled, and kept: {}", failed.join("; ")))),
    }
}

fn line(entry: &Entry) -> String {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let Entry { id, tenant, edge, table, row, offered_at, payload, .. } = entry;
    let values = &payload["values"];
    format!(
        "{id}  {}  {} {row}  held by {}, offered {offered_at}  {values}",
        or_dash(tenant),
        or_dash(table),
        or_dash(edge)
    )
}
