//! Looks at everything that an edge stands on, and says what to do about what is wrong.
//!
//! It reads: beside a running edge and without one, a healthy file or a broken one. Nothing here repairs or writes.
//! Being offline is no error; what loses writes, or would, is.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rusqlite::Connection;
use serde::Serialize;
use serde_json::Value;
use sync::merge::clock::FUTURE_MS_MAX;
use sync::sqlite::error::StoreError;
use sync::sqlite::health::{self, Capture};
use sync::sqlite::self_state::{self, SelfState};
use sync::sqlite::status::{self, Counts};
use sync::sqlite::{self, open_reader};

use crate::budget::Budget;
use crate::clock::Clock;
use crate::config::Config;
use crate::control::{self, Answer, Request};
use crate::credential::Credential;
use crate::data_dir::DataDir;
use crate::hub_client::{self, HubError};
use crate::page_tls::{Certificate, PageTls, Standing, Visits, WARN_DAYS};
use crate::rescue;
use crate::times;
use crate::trust::{self, CLOCK_MS_MIN, Transport, Trust};

/// Below so many free bytes the disk is an error: a large page from HQ may not fit.
pub const FREE_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// Below so many it is worth a warning.
pub const FREE_BYTES_WARN: u64 = 1024 * 1024 * 1024;
/// A clock so far from the hub's is worth a warning, in milliseconds.
pub const OFFSET_MS_WARN: u64 = 30_000;
/// Rows that wait for longer than this are worth a warning, in milliseconds.
pub const PENDING_MS_WARN: u64 = 24 * 60 * 60 * 1000;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Warn,
    /// Something is lost, or will be.
    Error,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at.
    pub about: &'static str,
    /// How it is.
    pub found: String,
    /// What to do; nothing for what is as it should be.
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    pub advice: Option<&'static str>,
}

/// Looks at everything, in reading order.
pub async fn examine(config: &Config, clock: Clock) -> Vec<Finding> {
    let data = DataDir::new(&config.data);
    let mut findings = vec![library()];
    findings.extend(files(&data));
    findings.push(disk(&data));
    let (process, running) = process(&data).await;
    findings.push(process);
    let state = match database(&data, clock.unix_ms(), &mut findings) {
        Ok(state) => state,
        Err(error) => {
            findings.push(opening(&error));
            None
        }
    };
    findings.extend(set_aside(&data));
    let credential = Credential::load(&data.credential());
    findings.push(identity(state.as_ref(), &credential));
    let (stored, ca) = credential.ok().flatten().map(|credential| (credential.hub, credential.ca)).unzip();
    let hub_ms = state.as_ref().and_then(trust::hub_ms);
    let stored = stored.or_else(|| state.and_then(|state| state.hub_url)).filter(|hub| !hub.is_empty());
    if let Some(hub) = config.hub.clone().or(stored) {
        let trust = Trust { ca: ca.flatten(), plain_http: config.plain_http, hub_ms };
        findings.push(reach(clock, &hub, &trust).await);
    }
    findings.push(pages(&PageTls::load(config).standing(), &config.names, clock.unix_ms()));
    findings.extend(budget(&data, config.daily_bytes, clock.unix_ms()));
    findings.extend(running.as_ref().and_then(link));
    findings
}

fn ok(about: &'static str, found: impl Into<String>) -> Finding {
    Finding { level: Level::Ok, about, found: found.into(), advice: None }
}

fn warn(about: &'static str, found: impl Into<String>, advice: &'static str) -> Finding {
    Finding { level: Level::Warn, about, found: found.into(), advice: Some(advice) }
}

fn error(about: &'static str, found: impl Into<String>, advice: &'static str) -> Finding {
    Finding { level: Level::Error, about, found: found.into(), advice: Some(advice) }
}

fn library() -> Finding {
    let version = format!("SQLite {}", rusqlite::version());
    match sqlite::check_library() {
        Ok(()) => ok("library", version),
        Err(_) => error("library", version, "run an edge that was built with a later one"),
    }
}

/// Who may read what. Other programs of the box may be let in to the mirror; to the secrets nobody may.
fn files(data: &DataDir) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, secret) in [
        (data.path().to_owned(), false),
        (data.own_credential(), true),
        (data.page_certificate(), true),
        (data.control(), true),
        (data.database(), false),
    ] {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let mode = metadata.permissions().mode() & 0o777;
        let found = format!("{} has mode {mode:04o}", path.display());
        if secret && mode & 0o077 != 0 {
            findings.push(error("files", found, "chmod 600 it: whoever reads it can act as this edge"));
        } else if !secret && mode & 0o007 != 0 {
            findings.push(warn("files", found, "chmod o= it: everybody on this box may look into it"));
        }
    }
    if findings.is_empty() {
        findings.push(ok("files", format!("{} is private", data.path().display())));
    }
    findings
}

fn disk(data: &DataDir) -> Finding {
    match rustix::fs::statvfs(data.path()) {
        Err(problem) => error("disk", format!("{}: {problem}", data.path().display()), "give the right --data"),
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let found = format!("{} MiB are free", free / (1024 * 1024));
            match free {
                ..FREE_BYTES_MIN => error("disk", found, "make room now: nothing can be written when it is full"),
                FREE_BYTES_MIN..FREE_BYTES_WARN => warn("disk", found, "make room before it is full"),
                _ => ok("disk", found),
            }
        }
    }
}

/// Who has the files, and how the edge that runs says it stands.
async fn process(data: &DataDir) -> (Finding, Option<Value>) {
    match control::ask(&data.control(), &Request::Status).await {
        Ok(Some(mut answers)) => match answers.next().await {
            Ok(Answer::Status(status)) => (ok("process", "an edge runs and answers"), Some(status)),
            _ => {
                let advice = "restart it: it may be of another version, or hang";
                (error("process", "an edge runs and does not answer", advice), None)
            }
        },
        Ok(None) if is_locked(&sqlite::lock_path(&data.database())) => {
            let advice = "find the process that holds edge.lock and restart it";
            (error("process", "some process holds the lock and does not listen at control.sock", advice), None)
        }
        Ok(None) => (ok("process", "no edge runs here"), None),
        Err(problem) => (error("process", problem.to_string(), "run this as the user that the edge runs as"), None),
    }
}

/// Whether a process holds the lock file. It is asked for a shared lock, which is given back at once.
fn is_locked(lock: &Path) -> bool {
    let Ok(file) = fs::File::open(lock) else { return false };
    let asked = rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared);
    asked == Err(rustix::io::Errno::WOULDBLOCK)
}

fn opening(problem: &StoreError) -> Finding {
    if rescue::means_damage(problem) {
        return damaged(&problem.to_string());
    }
    let advice = "keep a copy of the data directory before anything else; then see what the message says";
    error("mirror", problem.to_string(), advice)
}

/// What the file says; nothing of its content when it is damaged or of another schema.
fn database(data: &DataDir, now_ms: u64, findings: &mut Vec<Finding>) -> Result<Option<SelfState>, StoreError> {
    if !data.database().exists() {
        let advice = "run `edge enroll` or `edge serve`, or give the right --data";
        findings.push(warn("mirror", format!("{} has no mirror", data.path().display()), advice));
        return Ok(None);
    }
    let mut connection = open_reader(&data.database())?;
    let damage = health::damage(&connection)?;
    if let Some(first) = damage.first() {
        findings.push(damaged(first));
        return Ok(None);
    }
    findings.push(ok("mirror", "every page reads back"));
    let versions = health::schema_versions(&connection)?;
    let found = format!("schema {}, this program knows {}", versions.file, versions.program);
    if versions.file != versions.program {
        let newer = error("schema", found.as_str(), "start the version that wrote the file, or a later one");
        let older = warn("schema", found.as_str(), "start the edge with this version, which migrates it");
        findings.push(if versions.file > versions.program { newer } else { older });
        return Ok(None);
    }
    findings.push(ok("schema", found));
    findings.push(capture(&connection)?);
    let tx = connection.transaction()?;
    let (state, counts) = (self_state::load(&tx)?, status::counts(&tx)?);
    findings.push(references(&tx, state.hydrating)?);
    tx.commit()?;
    findings.push(clock_of(&state, now_ms));
    findings.extend(work(&counts, now_ms));
    Ok(Some(state))
}

fn budget(data: &DataDir, daily_bytes: Option<u64>, now_ms: u64) -> Option<Finding> {
    let daily = daily_bytes?;
    Some(match Budget::load(data, daily_bytes).used_up(now_ms) {
        None => ok("budget", format!("something is left of today's {daily} bytes")),
        Some(used_up) => warn("budget", used_up.to_string(), "wait, or raise EDGE_DAILY_BYTES and restart the edge"),
    })
}

fn damaged(problem: &str) -> Finding {
    let advice = "restart the edge: it sets the file aside, keeps what waits, and fills a new one from the hub";
    error("mirror", format!("it is damaged: {problem}"), advice)
}

fn set_aside(data: &DataDir) -> Option<Finding> {
    let last = rescue::damaged_files(data).pop()?;
    let found = format!("a damaged mirror was replaced and is kept as {}", last.display());
    Some(warn("mirror", found, "check the disk; remove the file when nothing is missed"))
}

fn capture(connection: &Connection) -> Result<Finding, StoreError> {
    Ok(match health::capture(connection)? {
        Capture::Whole => ok("capture", "every write is stamped"),
        Capture::Altered => {
            let advice = "restart the edge, which installs them; what was written without them stays at this site";
            error("capture", "triggers were dropped or changed by some program", advice)
        }
        Capture::Off => {
            let advice = "restart the edge, which switches it on; what was written meanwhile stays at this site";
            error("capture", "a program left capture switched off", advice)
        }
    })
}

fn references(tx: &Connection, hydrating: bool) -> Result<Finding, StoreError> {
    let dangling = health::dangling(tx)?;
    if dangling.is_empty() {
        return Ok(ok("references", "every row that is referred to is here"));
    }
    let list: Vec<String> =
        dangling.iter().map(|(table, parent, rows)| format!("{rows} of {table} to {parent}")).collect();
    let found = format!("rows refer to rows that are not here: {}", list.join(", "));
    Ok(if hydrating {
        ok("references", format!("{found}; a long window is under way"))
    } else {
        warn("references", found, "run `edge sync`; if it stays, ask HQ for `hub doctor` and the refused rows there")
    })
}

fn clock_of(state: &SelfState, now_ms: u64) -> Finding {
    let now = times::timestamp(now_ms);
    let heard_ms = state.last_exchange_at.as_deref().and_then(times::unix_ms).unwrap_or_default();
    if now_ms < CLOCK_MS_MIN || now_ms.saturating_add(FUTURE_MS_MAX) < heard_ms {
        let advice = "set the clock, or its battery: until then what is written here loses to what others write";
        return error("clock", format!("it says {now}, which is past"), advice);
    }
    match state.clock_offset_ms {
        None => ok("clock", format!("it says {now}; no hub has been asked yet")),
        Some(offset_ms) => {
            let side = if offset_ms < 0 { "ahead of" } else { "behind" };
            let found = format!("it was {} ms {side} the hub's when that last answered", offset_ms.unsigned_abs());
            match offset_ms.unsigned_abs() {
                ..OFFSET_MS_WARN => ok("clock", found),
                OFFSET_MS_WARN..FUTURE_MS_MAX => warn("clock", found, "set the clock, better by NTP"),
                _ => error("clock", found, "set the clock: writes that meet are ranked by it"),
            }
        }
    }
}

fn work(counts: &Counts, now_ms: u64) -> Vec<Finding> {
    let age_ms = counts.oldest_ms.map_or(0, |oldest_ms| now_ms.saturating_sub(oldest_ms));
    let waiting = format!("{} rows wait, the oldest for {} min", counts.rows_pending, age_ms / 60_000);
    let pending = match counts.rows_pending {
        0 => ok("waiting", "nothing waits"),
        _ if age_ms < PENDING_MS_WARN => ok("waiting", waiting),
        _ => warn("waiting", waiting, "bring the link to HQ back; until then this box holds the only copy"),
    };
    let refused = match counts.quarantined {
        0 => ok("refused", "nothing was refused"),
        rows => warn("refused", format!("{rows} rows were refused"), "see `edge quarantine list`, and change them"),
    };
    let conflicts = match counts.conflicts_open {
        0 => ok("conflicts", "none is open"),
        open => warn("conflicts", format!("{open} are open"), "see `edge conflicts list`, and decide them"),
    };
    vec![pending, refused, conflicts]
}

fn identity(
    state: Option<&SelfState>,
    credential: &Result<Option<Credential>, crate::credential::CredentialError>,
) -> Finding {
    const AGAIN: &str = "restore credential.json from a backup, or run `edge enroll` with a new code from HQ; what is here is kept. If systemd \
         passes it to the edge, run this with the same LoadCredential=";
    let enrolled = state.filter(|state| state.is_enrolled());
    match (credential, enrolled) {
        (Err(problem), _) => error("identity", problem.to_string(), AGAIN),
        (Ok(None), Some(state)) if state.hub_url.as_deref().is_none_or(str::is_empty) => warn(
            "identity",
            "this edge stands alone: no hub is known to it",
            "run `edge enroll` in another data directory",
        ),
        (Ok(None), Some(_)) => error("identity", "the mirror is enrolled and credential.json is missing", AGAIN),
        (Ok(None), None) => warn("identity", "this edge is not enrolled", "run `edge enroll` with a code from HQ"),
        (Ok(Some(credential)), Some(state)) if state.edge != Some(credential.identity.edge) => {
            error("identity", "credential.json is another edge's than the mirror", AGAIN)
        }
        (Ok(Some(credential)), _) => ok("identity", format!("{} at {}", credential.identity.name, credential.hub)),
    }
}

async fn reach(clock: Clock, hub: &str, trust: &Trust) -> Finding {
    const ALLOWED: &str = "give the hub a certificate (`hub ca init`), then use its https:// URL";
    match hub_client::reach(clock, hub, trust).await {
        Ok(()) if Transport::to(hub) == Some(Transport::PlainHttp) => {
            warn("hub", format!("{hub} answers, and what is exchanged can be read on the way"), ALLOWED)
        }
        Ok(()) => ok("hub", format!("{hub} answers")),
        Err(problem @ (HubError::Tls { .. } | HubError::PlainHttp(_) | HubError::Trust(_))) => error(
            "hub",
            problem.to_string(),
            "do what it says: it does not heal by itself; work goes on and waits meanwhile",
        ),
        Err(problem @ HubError::NotTheHub(_)) => {
            warn("hub", problem.to_string(), "open a page in a browser on this network, and check EDGE_HUB")
        }
        Err(problem @ HubError::Overloaded { .. }) => warn("hub", problem.to_string(), "wait, or tell HQ"),
        Err(problem) => warn("hub", problem.to_string(), "check the link; work goes on and waits meanwhile"),
    }
}

/// Whether those who visit this box are served by TLS, by which of the names that somebody gave it too, and for how long.
fn pages(standing: &Standing, given: &[String], now_ms: u64) -> Finding {
    const CA: &str = "give the hub a CA for pages (`hub ca pages`, then HUB_PAGES_CA); EDGE_PAGES=plain does without";
    let Standing { visits, certificate } = standing;
    match (visits, certificate) {
        (Visits::Loopback, _) => ok("pages", "they are served within this box alone"),
        (Visits::Plain, _) => {
            warn("pages", "PINs and rows can be read on the site's network", "take EDGE_PAGES=plain away")
        }
        (Visits::Tls, None) => error("pages", "there is no certificate, so nobody beyond this box is served", CA),
        (Visits::Tls, Some(certificate)) => {
            let (days, Certificate { names, refused, .. }) = (certificate.days_left(now_ms), certificate);
            let missed: Vec<&str> = refused.iter().filter(|name| given.contains(name)).map(String::as_str).collect();
            let found = format!("the certificate is for {} and good for {days} days", names.join(", "));
            match days {
                ..0 => error("pages", "the certificate has ended, and browsers turn away", CA),
                0..WARN_DAYS => warn(
                    "pages",
                    found,
                    "it should have been renewed by itself: see that the hub is reached, and has its CA",
                ),
                _ if !missed.is_empty() => warn(
                    "pages",
                    format!("{found}, and not for {}", missed.join(", ")),
                    "visit it by another one; names have to begin with the edge's own, in a domain of the hub's CA for pages",
                ),
                _ => ok("pages", found),
            }
        }
    }
}

/// What the edge that runs knows of its link, beside whether it is up.
fn link(status: &Value) -> Option<Finding> {
    let why = status["last_error"].as_str().unwrap_or("no reason is known");
    match status["state"].as_str()? {
        "revoked" => Some(error(
            "link",
            format!("HQ refuses this edge: {why}"),
            "ask HQ for a code and run `edge enroll --code CODE` here; what is here is kept and sent",
        )),
        "stuck" => Some(error("link", format!("HQ answers and takes nothing: {why}"), "ask HQ for `hub doctor`")),
        "upgrade_hub" => Some(error("link", "this edge is newer than its hub", "upgrade the hub; what waits is kept")),
        _ => None,
    }
}
