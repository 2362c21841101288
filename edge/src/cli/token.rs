//! `edge token`: a session for a person, made by the operator of the box.

use super::error::CliError;
use super::{Options, answers, print, runtime};
use crate::control::{Answer, Request};

/// Makes a session for a person and prints its bearer token, alone on a line. Whoever may run this on the box may act
/// as anybody of the tenant; every use is audited as that person's.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  curl -H \"Authorization: Bearer $(edge token --email operator@acme-corp.com)\" http://127.0.0.1:7410/api/v1/me"
)]
pub(super) struct Arguments {
    /// The person's e-mail address
    #[arg(long)]
    email: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(options: &Options, arguments: Arguments) -> Result<(), CliError> {
    let config = options.load()?;
    let Arguments { email, json } = arguments;
    match runtime()?.block_on(answers::ask(config, Request::Token { email }, |_| {}))? {
        Answer::Token(token) if json => print::json(&serde_json::json!({ "token": token })),
        Answer::Token(token) => print::text(&(token + "\n")),
        _ => Ok(()),
    }
}
