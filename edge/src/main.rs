//! The edge's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Err(error) = sync::core_dump::forbid() {
        eprintln!("edge: core files cannot be forbidden ({error}): one would hold secrets");
    }
    edge::cli::run()
}
