//! `edge explain`: everything that this edge knows of one row, in reading order.

use std::fmt::Write as _;

use rusqlite::Connection;
use sync::sqlite::{open_reader, self_state, sites};
use uuid::Uuid;

use super::error::CliError;
use super::{Options, print, tables};
use crate::clock::Clock;
use crate::data_dir::DataDir;
use crate::history::{self, EVENTS_MAX, Event, History, Person, Receipt, ReceiptState, RegisterHistory, Write};
use crate::refusal::Refusal;
use crate::times::SiteClock;

/// Tells everything of one row: what it holds, who wrote what, where it waits and why.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  edge explain tasks 0b5cf6a4-8f9c-5b0e-9d51-6f0b3f2d7c11")]
pub(super) struct Arguments {
    /// The table, such as tasks
    table: String,
    /// The row's id
    id: Uuid,
    /// Print one JSON object, as GET /api/v1/rows/TABLE/ID/history answers
    #[arg(long)]
    json: bool,
}

/// Runs the command. It reads beside a running edge as well as without one.
pub(super) fn run(options: &Options, arguments: Arguments) -> Result<(), CliError> {
    let Arguments { table, id, json } = arguments;
    let config = options.load()?;
    let table = tables::named(&table)?;
    let path = DataDir::new(&config.data).database();
    if !path.exists() {
        return Err(CliError::NoEdge { path: config.data });
    }
    let mut connection = open_reader(&path)?;
    let tx = connection.transaction().map_err(Refusal::from)?;
    let tenant = self_state::load(&tx)?.tenant.ok_or(Refusal::NotEnrolled)?;
    let history = history::history(&tx, table, tenant, id).map_err(|refusal| match refusal {
        Refusal::NotFound(_) => CliError::NoRow { table: table.name, id },
        refusal => refusal.into(),
    })?;
    let reader = Reader { clock: clock_of_site(&tx)?, now_ms: Clock::new().unix_ms() };
    tx.commit().map_err(Refusal::from)?;
    if json { print::json(&history) } else { print::text(&reader.page(&history)) }
}

fn clock_of_site(tx: &Connection) -> Result<SiteClock, CliError> {
    let site = match self_state::load(tx)?.site {
        Some(site) => sites::name_and_timezone(tx, site)?,
        None => None,
    };
    Ok(SiteClock::new(site.as_ref().map_or("UTC", |(_, timezone)| timezone)))
}

/// Reads times as people at the site do.
struct Reader {
    clock: SiteClock,
    now_ms: u64,
}

impl Reader {
    fn page(&self, history: &History) -> String {
        let mut page = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_page(history, &mut page);
        page
    }

    fn write_page(&self, history: &History, page: &mut String) -> std::fmt::Result {
        let History { table, row_id, alive, version, vv, gone, acknowledged, .. } = history;
        writeln!(page, "{table} {row_id}{}", if *alive { "" } else { "  (deleted; these are its last values)" })?;
        writeln!(page, "state         {}", self.receipt(&history.receipt))?;
        if let Some(refused) = &history.not_applied {
            let at = self.time(&refused.at);
            writeln!(
                page,
                "not applied   HQ sent a version that this edge cannot hold, {at}: {} ({})",
                refused.reason, refused.code
            )?;
        }
        if let Some(reason) = &history.unreadable {
            writeln!(page, "unreadable    {reason}")?;
        }
        if let Some(deleted) = &history.deleted {
            writeln!(page, "deleted       {}", self.written(deleted))?;
        }
        writeln!(page, "version       {version}  (seen {}; HQ has {})", words(vv), words(acknowledged))?;
        if !gone.is_empty() {
            writeln!(page, "deleter saw   {}", words(gone))?;
        }
        self.write_registers(history, page)?;
        self.write_conflicts(history, page)?;
        if !history.events.is_empty() {
            let more = if history.events.len() >= EVENTS_MAX as usize { " (the newest)" } else { "" };
            writeln!(page, "\nat this site{more}")?;
        }
        history.events.iter().try_for_each(|event| self.write_event(event, page))
    }

    fn write_registers(&self, history: &History, page: &mut String) -> std::fmt::Result {
        writeln!(page, "\nvalues")?;
        if history.registers.is_empty() {
            writeln!(page, "  (who wrote them is not known)")?;
            for (column, value) in history.values.iter().flatten() {
                writeln!(page, "  {column:<20} {value}")?;
            }
        }
        for (write, registers) in by_write(&history.registers) {
            let state = match registers[0].receipt {
                ReceiptState::AtHq => "",
                ReceiptState::Waiting => ", waiting",
                ReceiptState::Refused => ", refused",
            };
            writeln!(page, "  {}{state}", self.written(write))?;
            for register in registers {
                writeln!(page, "    {:<20} {}", register.register, register.value)?;
                for (column, value) in &register.with {
                    writeln!(page, "    {column:<20} {value}")?;
                }
            }
        }
        Ok(())
    }

    fn write_conflicts(&self, history: &History, page: &mut String) -> std::fmt::Result {
        if !history.conflicts.is_empty() {
            writeln!(page, "\nconflicts")?;
        }
        for conflict in &history.conflicts {
            let column = conflict.column.as_deref().unwrap_or("the whole row");
            writeln!(page, "  {}  {}  {column}", conflict.id, conflict.status)?;
            for (name, side) in [("won", &conflict.winner), ("lost", &conflict.loser)] {
                let value = side.value.as_ref().map_or("(deleted)", |value| value.get());
                let person = side.person.as_ref().map(|person| format!(" by {person}")).unwrap_or_default();
                writeln!(page, "    {name:<6}{value}  at {}{person}, {}", side.site, self.time(&side.at))?;
            }
        }
        Ok(())
    }

    fn write_event(&self, event: &Event, page: &mut String) -> std::fmt::Result {
        let who = event.person.as_ref().map_or_else(|| "the operator of the box".to_owned(), called);
        writeln!(page, "  {}  {} by {who}  {}", self.time(&event.at), event.action, event.changes)
    }

    fn receipt(&self, receipt: &Receipt) -> String {
        let since = receipt.since.as_ref().map(|since| format!(" since {}", self.time(since))).unwrap_or_default();
        let why = receipt.reason.as_ref().zip(receipt.code.as_ref()).map(|(reason, code)| format!("{reason} ({code})"));
        match (receipt.state, why) {
            (ReceiptState::AtHq, _) => format!("at HQ{since}"),
            (ReceiptState::Waiting, None) => format!("waiting{since}: HQ does not have it as it is here"),
            (ReceiptState::Waiting, Some(why)) => {
                format!("waiting{since}, to be tried again; it was refused because {why}")
            }
            (ReceiptState::Refused, why) => {
                format!("refused{since} because {}; change the row, or what is in its way", why.unwrap_or_default())
            }
        }
    }

    fn written(&self, write: &Write) -> String {
        let person = write.person.as_ref().map(|person| format!(" by {}", called(person))).unwrap_or_default();
        let edge = write.edge.as_deref().unwrap_or("not known by name");
        let Write { site, replica, seq, at, .. } = write;
        format!("written at {site}{person}, {}  [{edge}, replica {replica}, write {seq}]", self.time(at))
    }

    /// As a person at the site reads it, and exactly.
    fn time(&self, stored: &str) -> String {
        format!("{} ({stored})", self.clock.read(stored, self.now_ms))
    }
}

/// What each write wrote, the latest write first.
fn by_write(registers: &[RegisterHistory]) -> Vec<(&Write, Vec<&RegisterHistory>)> {
    let mut writes: Vec<(&Write, Vec<&RegisterHistory>)> = Vec::new();
    for register in registers {
        let write = &register.write;
        match writes.iter_mut().find(|(known, _)| (known.replica, known.seq) == (write.replica, write.seq)) {
            Some((_, written)) => written.push(register),
            None => writes.push((write, vec![register])),
        }
    }
    // Stored times are equal texts when they are equal, and later ones sort later.
    writes.sort_by(|(one, _), (other, _)| other.at.cmp(&one.at));
    writes
}

fn called(person: &Person) -> String {
    match (&person.name, &person.email) {
        (Some(name), Some(email)) if name != email => format!("{name} <{email}>"),
        (Some(name), _) => name.clone(),
        _ => format!("somebody who has left ({})", person.id),
    }
}

fn words(vector: &std::collections::BTreeMap<u32, u64>) -> String {
    let words: Vec<String> = vector.iter().map(|(replica, seq)| format!("{replica}:{seq}")).collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(" ") }
}
