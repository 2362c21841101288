//! `edge break-glass`: emergency codes, made by the operator of the box.

use std::fmt::Write as _;

use serde_json::json;
use sync::sqlite::open_reader;
use uuid::Uuid;

use super::error::CliError;
use super::{Options, answers, print, runtime};
use crate::break_glass::{self, CODES_MAX};
use crate::control::{Answer, Request};
use crate::data_dir::DataDir;

/// Makes, lists and revokes emergency codes. Each lets whoever has it read everything here once, for at most 12 hours,
/// with the WAN down and without a PIN. Print them and lock them away.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  edge break-glass new --count 5\n  edge break-glass list")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Makes codes and prints them, once
    #[command(after_help = "Example:\n  edge break-glass new --count 5 | lp")]
    New {
        /// How many
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(CODES_MAX)))]
        count: u8,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Lists the codes that were made, the newest first, without what they are
    #[command(after_help = "Example:\n  edge break-glass list --json | jq 'select(.used_at != null)'")]
    List {
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Makes a code good for nothing, and ends the session that it began
    #[command(after_help = "Example:\n  edge break-glass revoke 0190a3c2-7d1e-7c4f-9a51-3f1f5b8e2d10")]
    Revoke {
        /// The code's id
        id: Uuid,
    },
}

/// Runs the command.
pub(super) fn run(options: &Options, arguments: Arguments) -> Result<(), CliError> {
    let config = options.load()?;
    match arguments.action {
        Action::New { count, json } => {
            let request = Request::NewEmergencyCodes { count };
            match runtime()?.block_on(answers::ask(config, request, |_| {}))? {
                Answer::EmergencyCodes(codes) if json => codes.iter().try_for_each(print::json),
                Answer::EmergencyCodes(codes) => {
                    let lines = codes.iter().map(|made| format!("{}  {}\n", made.code, made.id)).collect::<String>();
                    print::text(&lines)
                }
                _ => Ok(()),
            }
        }
        Action::List { json } => list(&DataDir::new(&config.data), json),
        Action::Revoke { id } => {
            runtime()?.block_on(answers::ask(config, Request::RevokeEmergencyCode(id), |_| {}))?;
            print::text("revoked\n")
        }
    }
}

fn list(data: &DataDir, json: bool) -> Result<(), CliError> {
    if !data.database().exists() {
        return Err(CliError::NoEdge { path: data.path().to_owned() });
    }
    let codes = break_glass::list(&open_reader(&data.database())?)?;
    let mut page = String::new();
    for code in &codes {
        if json {
            let (id, created_at, used_at, revoked_at) = (code.id, &code.created_at, &code.used_at, &code.revoked_at);
            let object = json!({"id": id, "created_at": created_at, "used_at": used_at, "revoked_at": revoked_at});
            print::json(&object)?;
            continue;
        }
        let became = match (&code.used_at, &code.revoked_at) {
            (Some(used_at), None) => format!("used {used_at}"),
            (None, Some(revoked_at)) => format!("revoked {revoked_at}"),
            (Some(used_at), Some(revoked_at)) => format!("used {used_at}, revoked {revoked_at}"),
            (None, None) => "good".to_owned(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(page, "{}  made {}  {became}", code.id, code.created_at);
    }
    if !json && codes.is_empty() {
        page.push_str("no emergency code was made\n");
    }
    print::text(&page)
}
