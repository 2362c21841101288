//! The hub's command line.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    if let Err(error) = sync::core_dump::forbid() {
        eprintln!("hub: core files cannot be forbidden ({error}): one would hold secrets");
    }
    sync::hub::cli::run(std::env::args_os()).await
}
