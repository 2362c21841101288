//! `hub doctor`: what is wrong with the central database, each with what to do about it.

use serde_json::json;
use tokio_postgres::{Client, Config};

use super::database::SERVER_VERSION_MIN;
use super::{Failure, connect, print_json, print_line};
use crate::pg::connection::{self, HUB_ROLE};
use crate::pg::{StoreError, health, schema};

/// Something that was found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Finding {
    /// `schema`, `role`, `capture` or `server`.
    pub about: &'static str,
    /// Whether it is an error; otherwise it is only worth knowing.
    pub error: bool,
    /// What it is, and what to do.
    pub message: String,
}

/// Prints all findings; fails if one of them is an error.
pub async fn examine(database: &Config, json: bool) -> Result<(), Failure> {
    let client = connect(database).await?;
    let findings = findings(&client).await?;
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
    if errors == 0 {
        Ok(())
    } else {
        Err(Failure::Found(format!("{errors} errors were found in the central database")))
    }
}

/// Whether a hub can serve from this database at all. Where capture is not whole it serves, and returns what is wrong.
pub async fn may_serve(database: &Config) -> Result<Vec<Finding>, Failure> {
    let client = connect(database).await?;
    let errors = findings(&client).await?.into_iter().filter(|finding| finding.error);
    let (capture, fatal): (Vec<_>, Vec<_>) = errors.partition(|finding| finding.about == "capture");
    match fatal.into_iter().next() {
        Some(finding) => Err(Failure::Found(finding.message)),
        None => Ok(capture),
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
    let capture = health::verify(client).await?;
    let finding =
        |one: &health::Finding| Finding { about: "capture", error: one.problem.is_error(), message: one.to_string() };
    findings.extend(capture.iter().map(finding));
    Ok(findings)
}
