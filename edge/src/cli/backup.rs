//! `edge backup`: all of an edge in one file, while it works.

use std::path::PathBuf;

use serde_json::json;
use sync::sqlite::status::Counts;

use super::error::CliError;
use super::{Options, passphrase, print};
use crate::clock::Clock;
use crate::data_dir::DataDir;
use crate::{backup, times};

/// Copies all of this edge into one new file: the mirror as of one moment, what waits, and the credential. Works beside
/// a running edge. The file is as secret as the edge itself: with it, somebody is this edge. With `--encrypt` it needs a
/// passphrase, which nobody can give back; it is a file of age, which `age -d` opens too.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  edge backup /mnt/stick/hq-1-monday.backup --encrypt")]
pub(super) struct Arguments {
    /// The file to make; one that is there is never overwritten
    file: PathBuf,
    /// Encrypt it with a passphrase of 12 or more characters; also if only --passphrase-file is given
    #[arg(long)]
    encrypt: bool,
    #[command(flatten)]
    passphrase: passphrase::Source,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command. It reads the files itself, so that a long copy holds up nothing of a running edge.
pub(super) fn run(options: &Options, arguments: Arguments) -> Result<(), CliError> {
    let Arguments { file, encrypt, passphrase, json } = arguments;
    let config = options.load()?;
    let data = DataDir::new(&config.data);
    if !data.database().exists() {
        return Err(CliError::NoEdge { path: config.data });
    }
    let passphrase = (encrypt || passphrase.is_given()).then(|| passphrase.new_one()).transpose()?;
    let made_at = times::timestamp(Clock::new().unix_ms());
    let backup::Made { contents, has_credential, bytes } = backup::make(&data, &file, &made_at, passphrase.as_ref())?;
    let Counts { rows_pending, quarantined, conflicts_open, .. } = contents.counts;
    let rows = contents.rows;
    if json {
        return print::json(&json!({
            "file": file, "bytes": bytes, "made_at": made_at, "rows": rows, "waiting": rows_pending,
            "refused": quarantined, "conflicts_open": conflicts_open, "credential": has_credential,
            "encrypted": passphrase.is_some(),
        }));
    }
    let secret = match (&passphrase, has_credential) {
        (Some(_), _) => "; it is encrypted: without the passphrase nobody opens it",
        (None, true) => "; it holds the edge's credential: keep it as you keep a key",
        (None, false) => "; it holds no credential",
    };
    let (name, file) = ("backed up to", file.display());
    print::text(&format!("{name} {file}: {rows} rows, {rows_pending} of them waiting, {bytes} bytes{secret}\n"))
}
