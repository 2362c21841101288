//! `edge dump`: the mirror as canonical lines. It reads beside a running edge as well as without one.

use std::io::{self, BufWriter};

use sync::sqlite::error::StoreError;
use sync::sqlite::{dump, open_reader};

use super::error::CliError;
use super::{Options, tables};
use crate::data_dir::DataDir;

/// Prints the mirror as canonical JSON lines: equal, byte for byte, at every quiet replica of a tenant.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  edge dump --table tasks | wc -l")]
pub(super) struct Arguments {
    /// Only this table
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,
}

/// Runs the command.
pub(super) fn run(options: &Options, arguments: Arguments) -> Result<(), CliError> {
    let config = options.load()?;
    let only = match &arguments.table {
        None => None,
        Some(name) => Some(tables::named(name)?),
    };
    let path = DataDir::new(&config.data).database();
    if !path.exists() {
        return Err(CliError::NoEdge { path: config.data });
    }
    let mut out = BufWriter::new(io::stdout().lock());
    match dump::write(&mut open_reader(&path)?, only, &mut out) {
        // Whoever read the output has seen enough.
        Err(StoreError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written.map(drop)?),
    }
}
