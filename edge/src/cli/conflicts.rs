//! `edge conflicts`: what lost to what, and what to do about it.

use sync::sqlite::open_reader;
use uuid::Uuid;

use super::error::CliError;
use super::{Options, answers, print, runtime};
use crate::conflicts::ConflictView;
use crate::control::{Decision, Request};
use crate::data_dir::DataDir;
use crate::{api, conflicts};

/// The most conflicts that are listed at once.
const LIST_MAX: u32 = 10_000;

/// Shows the writes that lost to others, and decides about them.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  edge conflicts list\n  edge conflicts restore 0b5cf6a4-8f9c-5b0e-9d51-6f0b3f2d7c11 --email operator@acme-corp.com"
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Lists the conflicts that nobody has decided
    #[command(after_help = "Example:\n  edge conflicts list --json | jq .id")]
    List {
        /// Decided ones too
        #[arg(long)]
        all: bool,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Writes the losing value again
    #[command(
        after_help = "Example:\n  edge conflicts restore 0b5cf6a4-8f9c-5b0e-9d51-6f0b3f2d7c11 --email ada@acme-corp.com"
    )]
    Restore(Chosen),
    /// Leaves the winning value
    #[command(after_help = "Example:\n  edge conflicts dismiss 0b5cf6a4-8f9c-5b0e-9d51-6f0b3f2d7c11")]
    Dismiss(Chosen),
}

#[derive(Debug, clap::Args)]
struct Chosen {
    /// The conflict's id
    id: Uuid,
    /// The person who decides, by e-mail address; without one, the operator of the box, who is nobody of the tenant
    #[arg(long)]
    email: Option<String>,
}

/// Runs the command.
pub(super) fn run(options: &Options, arguments: Arguments) -> Result<(), CliError> {
    let config = options.load()?;
    let (request, done) = match arguments.action {
        Action::List { all, json } => return list(&DataDir::new(&config.data), all, json),
        Action::Restore(chosen) => (chosen.request(Decision::Restore), "restored"),
        Action::Dismiss(chosen) => (chosen.request(Decision::Dismiss), "dismissed"),
    };
    runtime()?.block_on(answers::ask(config, request, |_| {}))?;
    print::text(&format!("{done}\n"))
}

impl Chosen {
    fn request(self, decision: Decision) -> Request {
        Request::DecideConflict { id: self.id, decision, email: self.email }
    }
}

fn list(data: &DataDir, all: bool, json: bool) -> Result<(), CliError> {
    if !data.database().exists() {
        return Err(CliError::NoEdge { path: data.path().to_owned() });
    }
    let statuses = if all { Vec::new() } else { vec!["open".to_owned()] };
    let listed = conflicts::list(&open_reader(&data.database())?, &statuses, None, None, LIST_MAX);
    for conflict in listed.map_err(|refusal| CliError::Failed(refusal.to_string()))? {
        if json {
            print::json(&api::conflicts::json(&conflict))?;
        } else {
            print::text(&told(&conflict))?;
        }
    }
    Ok(())
}

fn told(conflict: &ConflictView) -> String {
    let ConflictView { id, table, row_id, winner, loser, .. } = conflict;
    let column = conflict.column.as_deref().unwrap_or("the whole row");
    let side = |side: &conflicts::Side| format!("at {} {}  {}", side.site, side.at, shown(side));
    let (won, lost) = (side(winner), side(loser));
    format!("{id}  {} {row_id}  {column}\n    won   {won}\n    lost  {lost}\n", table.name)
}

fn shown(side: &conflicts::Side) -> String {
    let value = side.value.as_ref().map_or_else(|| "(deleted)".to_owned(), sync::wire::convert::json_of);
    match &side.person {
        Some(person) => format!("{value}  by {person}"),
        None => value,
    }
}
