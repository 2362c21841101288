//! The hub's command line.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    sync::hub::cli::run(std::env::args_os()).await
}
