//! `edge completions`: what a shell needs to complete our commands.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::error::CliError;
use super::{Cli, print};

/// Prints the completions for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  edge completions bash > /etc/bash_completion.d/edge")]
pub(super) struct Arguments {
    /// The shell
    shell: Shell,
}

/// Runs the command.
pub(super) fn run(arguments: Arguments) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "edge", &mut script);
    print::text(&String::from_utf8_lossy(&script))
}
