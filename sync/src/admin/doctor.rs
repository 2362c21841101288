//! `hub doctor`: what is wrong with the central database, each with what to do about it.

use serde_json::json;
use tokio_postgres::{Client, Config};

use super::database::SERVER_VERSION_MIN;
use super::{Failure, connect, print_json, print_line};
use crate::hub::config::TlsFiles;
use crate::hub::{certificate, clock};
use crate::pg::attention::{self, OpenTransaction, SilentEdge, Undecided};
use crate::pg::connection::{self, HUB_ROLE};
use crate::pg::{StoreError, health, rights, schema};

/// How long a transaction may be open before it is worth knowing, in seconds.
const OPEN_SECONDS_MAX: f64 = 60.0;
/// And before it is an error.
const OPEN_SECONDS_ALARM: f64 = 1_800.0;
/// A certificate that is good for fewer days is worth renewing.
const CERTIFICATE_DAYS_MIN: i64 = 30;
/// How long an edge may be silent before it is worth knowing, in days.
const SILENT_DAYS_MAX: f64 = 1.0;

/// Something that was found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Finding {
    /// `schema`, `role`, `rights`, `capture`, `server`, `certificate`, `transactions`, `edges` or `decisions`.
    pub about: &'static str,
    /// Whether it is an error; otherwise it is only worth knowing.
    pub error: bool,
    /// What it is, and what to do.
    pub message: String,
}

/// Prints all findings, also of the certificate that the settings name; fails if one of them is an error.
pub async fn examine(database: &Config, tls: Option<&TlsFiles>, json: bool) -> Result<(), Failure> {
    let client = connect(database).await?;
    let mut findings = findings(&client).await?;
    findings.extend(tls.and_then(|files| certificate(files, clock::unix_ms())));
    if findings.iter().all(|finding| finding.about != "schema") {
        findings.extend(attention(&client).await?);
    }
    let errors = findings.iter().filter(|finding| finding.error).count();
    if json {
        print_json(&json!({"ok": errors == 0, "findings": findings}))?;
    } else {
        for finding in &findings {
            let level = if finding.error { "error" } else { "note" };
            print_line(&format!("{level}: {}: {}", finding.about, finding.message))?;
        }
        if errors == 0 {
            print_line("all is well")?;
        }
    }
    if errors == 0 { Ok(()) } else { Err(Failure::Found(format!("{errors} errors were found at the centre"))) }
}

/// Whether the certificate can be served with, and for how long.
fn certificate(files: &TlsFiles, now_ms: u64) -> Option<Finding> {
    let found = |error, message| Some(Finding { about: "certificate", error, message });
    let usable = certificate::acceptor(files).and_then(|_| certificate::describe(&files.certificate));
    let end = match usable {
        Ok(described) => described.not_after,
        Err(problem) => return found(true, problem.to_string()),
    };
    let days = end.saturating_sub(i64::try_from(now_ms / 1000).unwrap_or(i64::MAX)).div_euclid(24 * 60 * 60);
    let path = files.certificate.display();
    let renew = "renew it (`hub ca issue`, or where it is from) and start the hub again";
    match days {
        CERTIFICATE_DAYS_MIN.. => None,
        0.. => found(false, format!("{path} ends in {days} days, and then no edge can connect: {renew}")),
        _ => found(true, format!("{path} has ended, and no edge can connect: {renew}")),
    }
}

/// What runs and what waits: nothing of it keeps a hub from serving.
async fn attention(client: &Client) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Vec::new();
    for open in attention::open_transactions(client, OPEN_SECONDS_MAX).await? {
        let OpenTransaction { pid, database, application, role, seconds } = open;
        let message = format!(
            "process {pid} of {role} ({application:?} in {database}) has written and not committed for {seconds:.0} s: its rows \
             reach no site until it ends; end it there, or by `select pg_terminate_backend({pid})`"
        );
        findings.push(Finding { about: "transactions", error: seconds > OPEN_SECONDS_ALARM, message });
    }
    for edge in attention::silent_edges(client, SILENT_DAYS_MAX).await? {
        let SilentEdge { name, days, pending, stale } = edge;
        let waits = if pending > 0 { format!(", with {pending} unsent rows when it was") } else { String::new() };
        let what = if stale { "it is stale and no longer waited for" } else { "dead rows are kept for it" };
        let message = format!(
            "{name} was last heard of {days:.0} days ago{waits}: {what}; bring it back, or `hub edge revoke {name}`"
        );
        findings.push(Finding { about: "edges", error: stale, message });
    }
    let Undecided { quarantined, conflicts, recovered } = attention::undecided(client).await?;
    for (count, what, command) in [
        (quarantined, "refused writes wait for a decision", "hub quarantine list"),
        (conflicts, "conflicts wait for a decision", "sync.open_conflicts"),
        (recovered, "rows are held by edges alone, because the centre lost them", "hub recover list"),
    ] {
        if count > 0 {
            let error = command == "hub recover list";
            findings.push(Finding { about: "decisions", error, message: format!("{count} {what}; see `{command}`") });
        }
    }
    Ok(findings)
}

/// Whether a hub can serve from this database at all. Where capture is not whole, or a right is missing, it serves as far as
/// that goes, and returns what is wrong.
pub async fn may_serve(database: &Config) -> Result<Vec<Finding>, Failure> {
    let client = connect(database).await?;
    let errors = findings(&client).await?.into_iter().filter(|finding| finding.error);
    let (mended, fatal): (Vec<_>, Vec<_>) = errors.partition(|finding| matches!(finding.about, "capture" | "rights"));
    match fatal.into_iter().next() {
        Some(finding) => Err(Failure::Found(finding.message)),
        None => Ok(mended),
    }
}

/// Looks at everything. Where the schema is missing, nothing else is looked at.
pub async fn findings(client: &Client) -> Result<Vec<Finding>, StoreError> {
    let error = |about, message: String| Finding { about, error: true, message };
    let mut findings = Vec::new();
    if connection::server_version(client).await? < SERVER_VERSION_MIN {
        findings.push(error("server", "PostgreSQL is older than 15; upgrade the server".to_owned()));
    }
    let status = schema::status(client).await?;
    if status.applied.is_empty() {
        findings.push(error("schema", "the database is empty or not ours; run `hub db migrate up`".to_owned()));
        return Ok(findings);
    }
    if !status.pending.is_empty() {
        let message = format!("{} migrations are pending; run `hub db migrate up`", status.pending.len());
        findings.push(error("schema", message));
    }
    let differences = schema::validate(client).await?;
    findings.extend(differences.iter().map(|difference| error("schema", difference.to_string())));
    match connection::may_become_hub(client).await? {
        Some(true) => {}
        Some(false) => {
            let message =
                format!("this role may not become {HUB_ROLE}; run `grant {HUB_ROLE} to` it, or log in as {HUB_ROLE}");
            findings.push(error("role", message));
        }
        None => findings.push(error("role", format!("the role {HUB_ROLE} is missing; run `hub db migrate up`"))),
    }
    findings.extend(rights::missing(client).await?.iter().map(|lack| error("rights", lack.to_string())));
    if status.pending.is_empty() {
        findings.extend(rights::broken_walls(client).await?.iter().map(|wall| error("rights", wall.to_string())));
        if let Some(why) = rights::is_mighty(client).await? {
            let message = format!(
                "the role that signs in here {why}: a hub that is broken into could reach every tenant; let `hub serve` sign in as \
                 a role of its own, made by `create role hub_service login in role {HUB_ROLE}`"
            );
            findings.push(Finding { about: "role", error: false, message });
        }
    }
    let capture = health::verify(client).await?;
    let finding =
        |one: &health::Finding| Finding { about: "capture", error: one.problem.is_error(), message: one.to_string() };
    findings.extend(capture.iter().map(finding));
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::ca;

    const DAY_MS: u64 = 24 * 60 * 60 * 1000;

    #[test]
    fn a_certificate_is_spoken_of_a_month_before_its_end_and_after_it() {
        let directory = std::env::temp_dir().join(format!("hub-doctor-{}", clock::id()));
        ca::init(&directory, &["hub.example.com".to_owned()], true).unwrap();
        let files = TlsFiles { certificate: directory.join("hub.crt"), key: directory.join("hub.key") };
        let end = certificate::describe(&files.certificate).unwrap().not_after;
        let end_ms = u64::try_from(end).unwrap() * 1000;
        assert!(certificate(&files, end_ms - 30 * DAY_MS).is_none());
        let soon = certificate(&files, end_ms - 24 * DAY_MS - 1).expect("a note");
        assert!(!soon.error && soon.message.contains("ends in 24 days"), "{soon:?}");
        let over = certificate(&files, end_ms + 1000).expect("an error");
        assert!(over.error && over.message.contains("has ended") && over.message.contains("hub ca issue"), "{over:?}");
        let other = TlsFiles { key: directory.join("ca.key"), ..files.clone() };
        let wrong = certificate(&other, clock::unix_ms()).expect("an error");
        assert!(wrong.error && wrong.message.contains("belong together"), "{wrong:?}");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
