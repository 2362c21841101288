//! `hub quarantine`: what sites wrote and the centre did not take, and what is decided about it.

use serde_json::json;
use tokio_postgres::Config;
use uuid::Uuid;

use super::{Failure, connect, print_json, print_line};
use crate::hub::clock;
use crate::pg::quarantine::{self, Decision, Listed};

/// Prints every open entry, the oldest first.
pub async fn list(database: &Config, json: bool) -> Result<(), Failure> {
    let all = quarantine::list(&connect(database).await?).await?;
    if json {
        return print_json(&json!(all));
    }
    for entry in &all {
        print_line(&line(entry))?;
    }
    if all.is_empty() {
        print_line("nothing is refused")?;
    }
    Ok(())
}

/// Takes what was refused after all, with the columns of `set` (`COLUMN=VALUE`) written over.
pub async fn release(database: &Config, id: Uuid, set: &[String], json: bool) -> Result<(), Failure> {
    let pair = |text: &String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let wrong = || Failure::Input("--set takes COLUMN=VALUE, such as --set serial_number=PT-200".to_owned());
    let set: Vec<(String, String)> = set.iter().map(pair).collect::<Option<_>>().ok_or_else(wrong)?;
    let mut client = connect(database).await?;
    said(id, "released", quarantine::release(&mut client, id, &set, clock::unix_ms()).await?, json)
}

/// Gives up what was refused: the site takes what the centre has.
pub async fn discard(database: &Config, id: Uuid, json: bool) -> Result<(), Failure> {
    let mut client = connect(database).await?;
    said(id, "discarded", quarantine::discard(&mut client, id, clock::unix_ms()).await?, json)
}

fn said(id: Uuid, done: &str, decision: Decision, json: bool) -> Result<(), Failure> {
    let refused = |why: String| Err(Failure::Input(format!("entry {id} was not {done}: {why}")));
    match decision {
        Decision::Done if json => print_json(&json!({"id": id, "status": done})),
        Decision::Done => print_line(&format!("{done} {id}; its site hears of it at the next exchange")),
        Decision::Unknown => refused("there is no such entry; see `hub quarantine list`".to_owned()),
        Decision::Settled(status) => refused(format!("it was {status} before; nothing was changed")),
        Decision::Busy => refused("somebody is writing the row; try again".to_owned()),
        Decision::Refused(why) => refused(why),
    }
}

fn line(entry: &Listed) -> String {
    let from = entry.edge.as_deref().unwrap_or("centre");
    let table = entry.table.as_deref().unwrap_or("no row");
    let side = if entry.way == "up" { "refused" } else { "cannot be stored at sites" };
    format!(
        "{}  {}  {from}  {table} {}\n    {}  {side}: {} ({})",
        entry.id,
        entry.tenant.as_deref().unwrap_or("-"),
        entry.row_id,
        entry.created_at,
        entry.reason,
        entry.code
    )
}
