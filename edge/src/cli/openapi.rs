//! `edge openapi`: the description of the API.

use super::error::CliError;
use super::print;

/// Prints the OpenAPI 3.1 document of this edge's API, the same that a running edge serves at /api/openapi.json.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  edge openapi > openapi.json")]
pub(super) struct Arguments {}

/// Runs the command.
pub(super) fn run(_: Arguments) -> Result<(), CliError> {
    print::text(&(crate::api::openapi::text() + "\n"))
}
