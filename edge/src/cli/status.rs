//! `edge status`: how this edge stands.

use serde_json::Value;

use super::error::CliError;
use super::{Options, answers, runtime};
use crate::control::{Answer, Request};

/// Says how this edge stands: its link to the hub, what waits, what was refused, what nobody decided.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  edge status --json | jq .pending")]
pub(super) struct Arguments {
    /// Print one JSON object, as GET /api/v1/sync/status answers
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(options: &Options, arguments: Arguments) -> Result<(), CliError> {
    let config = options.load()?;
    let answer = runtime()?.block_on(answers::ask(config, Request::Status, |_| {}))?;
    let Answer::Status(status) = answer else { return Ok(()) };
    if arguments.json {
        println!("{status}");
        return Ok(());
    }
    for (name, value) in status.as_object().into_iter().flatten() {
        let value = match value {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            Value::Bool(yes) => (if *yes { "yes" } else { "no" }).to_owned(),
            other => other.to_string(),
        };
        println!("{:<22}{value}", name.replace('_', " "));
    }
    Ok(())
}
