//! `edge restore`: an edge out of a backup, on this box or another.

use std::path::PathBuf;

use serde_json::json;
use sync::sqlite::status::Counts;

use super::error::CliError;
use super::{Options, passphrase, print};
use crate::backup;
use crate::data_dir::DataDir;

/// Makes an edge of a backup, in a data directory that has none: on the same box after its disk was lost, or on another in
/// its place. What was unsent when the backup was made is sent. At the first contact the hub notices by itself whether the
/// edge went on after the backup, and gives it a new identity if it did. An encrypted one is recognised, and its passphrase asked for.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  edge restore /mnt/stick/hq-1-monday.backup --data /var/lib/edge && edge serve --data /var/lib/edge"
)]
pub(super) struct Arguments {
    /// The backup; it stays as it is
    file: PathBuf,
    #[command(flatten)]
    passphrase: passphrase::Source,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(options: &Options, arguments: Arguments) -> Result<(), CliError> {
    let Arguments { file, passphrase, json } = arguments;
    let data = DataDir::new(&options.load()?.data);
    let passphrase = backup::is_encrypted(&file)?.then(|| passphrase.known_one()).transpose()?;
    let backup::Restored { found, name } = backup::restore(&data, &file, passphrase.as_ref())?;
    let Counts { rows_pending, quarantined, conflicts_open, .. } = found.contents.counts;
    let (rows, made_at) = (found.contents.rows, found.made_at);
    if json {
        return print::json(&json!({
            "data": data.path(), "name": name, "made_at": made_at, "rows": rows, "waiting": rows_pending,
            "refused": quarantined, "conflicts_open": conflicts_open,
        }));
    }
    let who = name.map_or_else(|| "an edge that was not enrolled".to_owned(), |name| format!("edge {name}"));
    let place = data.path().display();
    print::text(&format!(
        "restored {who} as of {made_at} to {place}: {rows} rows, {rows_pending} of them waiting; now run `edge serve`\n"
    ))
}
