//! `edge doctor`: what is wrong with this edge, and what to do about it.

use std::fmt::Write as _;

use serde_json::json;

use super::error::CliError;
use super::{Options, print, runtime};
use crate::clock::Clock;
use crate::doctor::{self, Level};

/// Looks at everything that this edge stands on; exit 1 if anything is in error. It repairs nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  edge doctor --json | jq '.findings[] | select(.level != \"ok\")'")]
pub(super) struct Arguments {
    /// Print one JSON object: {"ok": ..., "findings": [{"level", "about", "found", "do"}]}
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(options: &Options, arguments: Arguments) -> Result<(), CliError> {
    let config = options.load()?;
    let findings = runtime()?.block_on(doctor::examine(&config, Clock::new()));
    let errors = findings.iter().filter(|finding| finding.level == Level::Error).count();
    if arguments.json {
        print::json(&json!({ "ok": errors == 0, "findings": findings }))?;
    } else {
        let mut page = String::new();
        for finding in &findings {
            let level = match finding.level {
                Level::Ok => "ok",
                Level::Warn => "warn",
                Level::Error => "error",
            };
            // Writing to a string cannot fail.
            let _ = writeln!(page, "{level:<6}{:<12}{}", finding.about, finding.found);
            if let Some(advice) = finding.advice {
                let _ = writeln!(page, "{:18}{advice}", "");
            }
        }
        print::text(&page)?;
    }
    if errors == 0 { Ok(()) } else { Err(CliError::Unwell { errors }) }
}
