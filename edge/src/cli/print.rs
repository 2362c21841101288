//! Output that a person or a program reads. A reader that has seen enough is no failure.

use std::io::{self, Write as _};

use serde::Serialize;

use super::error::CliError;

/// Prints one JSON value, alone on a line.
pub(super) fn json(value: &impl Serialize) -> Result<(), CliError> {
    let line = serde_json::to_string(value).map_err(|error| CliError::Output(error.into()))?;
    text(&(line + "\n"))
}

/// Prints text as it is.
pub(super) fn text(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::Output(error)),
        _ => Ok(()),
    }
}
