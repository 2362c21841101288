//! `edge quarantine`: rows that were refused, each with its reason.

use std::fmt::Write as _;

use sync::catalog;
use sync::sqlite::open_reader;
use uuid::Uuid;

use super::error::CliError;
use super::{Options, answers, print, runtime};
use crate::control::Request;
use crate::data_dir::DataDir;
use crate::{api, quarantine};

/// Shows the rows that were refused, here or at HQ, and takes them off the list.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  edge quarantine list\n  edge quarantine discard 0b5cf6a4-8f9c-5b0e-9d51-6f0b3f2d7c11"
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Lists the refused rows, the newest first
    #[command(after_help = "Example:\n  edge quarantine list --json | jq .reason")]
    List {
        /// Print one JSON object a line, as GET /api/v1/sync/quarantine lists them
        #[arg(long)]
        json: bool,
    },
    /// Gives up what was written here to a refused row: what headquarters has takes its place
    #[command(after_help = "Example:\n  edge quarantine discard 0b5cf6a4-8f9c-5b0e-9d51-6f0b3f2d7c11")]
    Discard {
        /// The entry's id
        id: Uuid,
    },
}

/// Runs the command.
pub(super) fn run(options: &Options, arguments: Arguments) -> Result<(), CliError> {
    let config = options.load()?;
    match arguments.action {
        Action::List { json } => list(&DataDir::new(&config.data), json),
        Action::Discard { id } => {
            runtime()?.block_on(answers::ask(config, Request::DiscardRefused(id), |_| {}))?;
            print::text("given up: what headquarters has takes its place at the next exchange\n")
        }
    }
}

fn list(data: &DataDir, json: bool) -> Result<(), CliError> {
    if !data.database().exists() {
        return Err(CliError::NoEdge { path: data.path().to_owned() });
    }
    let entries = quarantine::list(&open_reader(&data.database())?)?;
    let mut page = String::new();
    let none = entries.is_empty();
    for entry in entries {
        if json {
            print::json(&api::sync::json(entry))?;
            continue;
        }
        let table = catalog::by_id(entry.table).map_or("unknown", |table| table.name);
        let given_up =
            if entry.discarded { "; given up, and listed until headquarters has carried that out" } else { "" };
        let (id, row, at, reason, code) = (entry.id, entry.row, entry.created_at, entry.reason, entry.code);
        // Writing to a string cannot fail.
        let _ = writeln!(page, "{id}  {table} {row}\n    {at}  {reason} ({code}){given_up}");
    }
    if !json && none {
        page.push_str("nothing was refused\n");
    }
    print::text(&page)
}
