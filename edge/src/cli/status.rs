//! `edge status`: how this edge stands.

use serde_json::Value;

use super::error::CliError;
use super::{Options, answers, print, runtime};
use crate::control::{Answer, Request};

/// Says how this edge stands: its link to the hub, what waits, what was refused, what nobody decided.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  edge status --json | jq .pending")]
pub(super) struct Arguments {
    /// Print one JSON object, as GET /api/v1/sync/status answers
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(options: &Options, arguments: Arguments) -> Result<(), CliError> {
    let config = options.load()?;
    let answer = runtime()?.block_on(answers::ask(config, Request::Status, |_| {}))?;
    let Answer::Status(status) = answer else { return Ok(()) };
    if arguments.json {
        return print::json(&status);
    }
    let page: String = lines(&status).iter().map(|(label, words)| format!("{label:<16}{words}\n")).collect();
    print::text(&page)
}

/// What a person reads, the most urgent first.
fn lines(status: &Value) -> Vec<(&'static str, String)> {
    let text = |name: &str| status[name].as_str().map(str::to_owned);
    let count = |name: &str, none: &str, one: &str, several: &str| match status[name].as_u64().unwrap_or_default() {
        0 => none.to_owned(),
        1 => format!("1 {one}"),
        count => format!("{count} {several}"),
    };
    let clock = match status["hub_time_offset_ms"].as_i64() {
        None => "not compared with the hub's yet".to_owned(),
        Some(0) => "like the hub's".to_owned(),
        Some(ahead) if ahead < 0 => format!("{} ms ahead of the hub's", ahead.unsigned_abs()),
        Some(behind) => format!("{behind} ms behind the hub's"),
    };
    let in_sync = if status["in_sync"].as_bool() == Some(true) { "yes" } else { "no" };
    let mut lines = vec![
        ("State", text("state").unwrap_or_default().replace('_', " ")),
        ("In sync", in_sync.to_owned()),
        ("Waiting", count("pending", "nothing", "row to be sent", "rows to be sent")),
        ("Last exchange", text("last_exchange_at").unwrap_or_else(|| "never".to_owned())),
        ("Conflicts", count("conflicts_open", "none", "open: edge conflicts list", "open: edge conflicts list")),
        ("Refused", count("quarantined", "nothing", "row", "rows")),
    ];
    let disk = text("storage").and_then(|storage| match storage.as_str() {
        "full" => Some("full: writes are refused, what waits is sent; make room"),
        "read_only" => Some("read-only: writes are refused; mend the disk, or mount it for writing"),
        "failing" => Some("it fails: writes are refused; look at the system's log"),
        _ => None,
    });
    lines.extend(disk.map(|words| ("Disk", words.to_owned())));
    let transport = text("transport").and_then(|transport| match transport.as_str() {
        "tls" => Some("encrypted (TLS)"),
        "loopback" => Some("within this box"),
        "plain_http" => {
            Some("not encrypted, as EDGE_PLAIN_HTTP allows: give the hub a certificate and its https:// URL")
        }
        _ => None,
    });
    lines.extend(transport.map(|words| ("Transport", words.to_owned())));
    let pages = text("pages").and_then(|pages| match pages.as_str() {
        "tls" => Some(format!("encrypted (TLS), until {}", text("pages_certificate_ends_at").unwrap_or_default())),
        "loopback" => Some("within this box".to_owned()),
        "plain_http" => Some("not encrypted, as EDGE_PAGES=plain allows".to_owned()),
        "no_certificate" => Some("served to nobody else yet: the hub has signed no certificate for them".to_owned()),
        _ => None,
    });
    lines.extend(pages.map(|words| ("Pages", words)));
    lines.extend(text("last_error").map(|error| ("Last error", error)));
    lines.push(("Clock", clock));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_the_most_urgent_first() {
        let read = |status: Value| lines(&status).into_iter().map(|(label, words)| format!("{label}: {words}"));
        let troubled = serde_json::json!({"conflicts_open": 2, "hub_time_offset_ms": -40, "in_sync": false,
            "last_error": "no route to host", "last_exchange_at": "2026-01-01T00:00:00.000000Z", "pending": 1,
            "quarantined": 1, "state": "upgrade_hub", "storage": "full", "transport": "plain_http"});
        let expected = [
            "State: upgrade hub",
            "In sync: no",
            "Waiting: 1 row to be sent",
            "Last exchange: 2026-01-01T00:00:00.000000Z",
            "Conflicts: 2 open: edge conflicts list",
            "Refused: 1 row",
            "Disk: full: writes are refused, what waits is sent; make room",
            "Transport: not encrypted, as EDGE_PLAIN_HTTP allows: give the hub a certificate and its https:// URL",
            "Last error: no route to host",
            "Clock: 40 ms ahead of the hub's",
        ];
        assert_eq!(read(troubled).collect::<Vec<_>>(), expected);
        let new = serde_json::json!({"conflicts_open": 0, "hub_time_offset_ms": null, "in_sync": false,
            "last_error": null, "last_exchange_at": null, "pending": 0, "quarantined": 0, "state": "unenrolled"});
        let expected = [
            "State: unenrolled",
            "In sync: no",
            "Waiting: nothing",
            "Last exchange: never",
            "Conflicts: none",
            "Refused: nothing",
            "Clock: not compared with the hub's yet",
        ];
        assert_eq!(read(new).collect::<Vec<_>>(), expected);
    }
}
