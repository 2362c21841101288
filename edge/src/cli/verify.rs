//! `edge verify`: is this mirror what the centre holds?

use std::process::ExitCode;

use super::error::CliError;
use super::{Options, answers, runtime};
use crate::control::{Answer, Request};

/// Compares this edge with the centre. Rows that differ are named and repaired, and then it exits with 1.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  edge verify --json")]
pub(super) struct Arguments {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(options: &Options, arguments: Arguments) -> Result<ExitCode, CliError> {
    let config = options.load()?;
    let answer = runtime()?.block_on(answers::ask(config, Request::Verify, |_| {}))?;
    let Answer::Verified(found) = answer else { return Ok(ExitCode::FAILURE) };
    if arguments.json {
        println!("{}", serde_json::json!(found));
    } else {
        for one in &found.differences {
            let columns = if one.columns.is_empty() { String::new() } else { format!(" ({})", one.columns.join(", ")) };
            println!("{} {}: {}{columns}; {}", one.table, one.id, one.what, one.repair);
        }
        println!("{} rows compared, {} differed, {} bytes on the wire", found.rows, found.differing, found.bytes);
    }
    Ok(if found.differing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
