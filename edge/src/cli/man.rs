//! `edge man`: manual pages out of the commands themselves.

use std::path::PathBuf;

use clap::CommandFactory as _;
use clap_mangen::Man;

use super::error::CliError;
use super::{Cli, print};

/// Prints the manual page, or writes one page for each command.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  edge man | man -l -\n  edge man --dir /usr/local/share/man/man1")]
pub(super) struct Arguments {
    /// Write a page for each command into this directory, which is made if it is missing
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn run(arguments: Arguments) -> Result<(), CliError> {
    let Some(dir) = arguments.dir else {
        let mut page = Vec::new();
        let rendered = Man::new(Cli::command()).render(&mut page);
        rendered.map_err(|source| CliError::Pages { path: PathBuf::from("-"), source })?;
        return print::text(&String::from_utf8_lossy(&page));
    };
    let written = std::fs::create_dir_all(&dir).and_then(|()| clap_mangen::generate_to(Cli::command(), &dir));
    written.map_err(|source| CliError::Pages { path: dir, source })
}
