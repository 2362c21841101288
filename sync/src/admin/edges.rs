//! `hub edge`: codes for new edges, and the edges there are.

use serde_json::json;
use tokio_postgres::Config;

use super::{Failure, connect, print_json, print_line};
use crate::hub::{clock, edge_auth};
use crate::merge::limits::ENROLLMENT_MS;
use crate::pg::edges::{self, Listed, Place};
use crate::wire::one_time_code;

/// The longest name of an edge, in characters.
const NAME_CHARACTERS_MAX: usize = 63;

/// Issues a one-time code and prints it.
pub async fn enroll(database: &Config, slug: &str, site: &str, name: &str, json: bool) -> Result<(), Failure> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    if name.is_empty() || name.len() > NAME_CHARACTERS_MAX || !name.chars().all(allowed) {
        let message =
            format!("{name:?} is no name for an edge; use up to {NAME_CHARACTERS_MAX} letters, digits, - _ and .");
        return Err(Failure::Input(message));
    }
    let client = connect(database).await?;
    let place = place(&client, slug, site).await?;
    if edges::name_taken(&client, name).await? {
        return Err(Failure::Input(format!("an edge is named {name} already; choose another name")));
    }
    let code = one_time_code::code(clock::random()?);
    let expires_at = edges::issue(&client, &edge_auth::hash(&code), &place, name, ENROLLMENT_MS).await?;
    if json {
        return print_json(&json!({"code": code, "expires_at": expires_at, "name": name, "tenant": slug,
            "site": place.site_name}));
    }
    print_line(&code)?;
    eprintln!("good once, until {expires_at}: edge enroll --hub URL --code {code}");
    Ok(())
}

async fn place(client: &tokio_postgres::Client, slug: &str, site: &str) -> Result<Place, Failure> {
    let Some(tenant) = edges::tenant(client, slug).await? else {
        return Err(Failure::Input(format!("there is no tenant {slug}; see `select slug from tenants`")));
    };
    let mut places = edges::places(client, slug, site).await?;
    match (places.pop(), places.is_empty()) {
        (Some(place), true) => Ok(place),
        (Some(_), false) => {
            Err(Failure::Input(format!("tenant {slug} has several sites named {site}; give the site's id instead")))
        }
        (None, _) => {
            let names = edges::site_names(client, tenant).await?.join(", ");
            Err(Failure::Input(format!("tenant {slug} has no site {site}; it has: {names}")))
        }
    }
}

/// Prints all edges.
pub async fn list(database: &Config, json: bool) -> Result<(), Failure> {
    let client = connect(database).await?;
    let all = edges::list(&client, None).await?;
    if json {
        return print_json(&json!(all));
    }
    for edge in &all {
        print_line(&line(edge))?;
    }
    if all.is_empty() {
        eprintln!("no edge is enrolled; see `hub edge enroll --help`");
    }
    Ok(())
}

/// Prints one edge.
pub async fn show(database: &Config, name: &str, json: bool) -> Result<(), Failure> {
    let client = connect(database).await?;
    let edge = edges::list(&client, Some(name)).await?.pop().ok_or_else(|| unknown(name))?;
    if json { print_json(&json!(edge)) } else { print_line(&line(&edge)) }
}

/// Revokes an edge's credential. What the edge has not sent stays at the edge.
pub async fn revoke(database: &Config, name: &str, json: bool) -> Result<(), Failure> {
    let client = connect(database).await?;
    let revoked = edges::revoke(&client, name).await?;
    let edge = edges::list(&client, Some(name)).await?.pop().ok_or_else(|| unknown(name))?;
    if json {
        return print_json(&json!({"name": name, "status": edge.status, "changed": revoked, "pending": edge.pending,
            "last_seen_at": edge.last_seen_at}));
    }
    print_line(&match revoked {
        true => format!("revoked {name}; {}", left_behind(&edge)),
        false => format!("{name} was revoked before; nothing was changed"),
    })
}

/// What a revoked edge keeps, as far as it was heard of: what was written there since is known there only.
fn left_behind(edge: &Listed) -> String {
    let Some(last_seen_at) = &edge.last_seen_at else { return "it never said what it holds".to_owned() };
    let pending = edge.pending;
    format!(
        "it last reported {pending} unsent rows, last seen {last_seen_at}; it keeps them and what was written since"
    )
}

fn unknown(name: &str) -> Failure {
    Failure::Input(format!("there is no edge {name}; see `hub edge list`"))
}

fn line(edge: &Listed) -> String {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    format!(
        "{}  {}  {}  {}  last seen {}  pending {}",
        edge.name,
        or_dash(&edge.tenant),
        or_dash(&edge.site),
        edge.status,
        or_dash(&edge.last_seen_at),
        edge.pending
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_revoked_edge_keeps_is_said_to_be_its_last_report() {
        let mut edge = Listed {
            name: "hq-1".to_owned(),
            id: uuid::Uuid::nil(),
            replica: 2,
            tenant: None,
            site: None,
            status: "revoked".to_owned(),
            last_seen_at: None,
            pending: 0,
            lag_seconds: None,
            app_version: None,
            enrolled_at: "2026-01-01T00:00:00Z".to_owned(),
            revoked_at: None,
        };
        assert_eq!(left_behind(&edge), "it never said what it holds");
        edge.pending = 3;
        edge.last_seen_at = Some("2026-01-02T03:04:05Z".to_owned());
        let said = left_behind(&edge);
        assert!(said.contains("last reported 3 unsent rows, last seen 2026-01-02T03:04:05Z"), "{said}");
        assert!(said.contains("written since"), "{said}");
    }
}
