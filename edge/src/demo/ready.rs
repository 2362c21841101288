//! What a demo says of itself when everything is up: a table for people, one line of JSON for programs.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use super::place::Place;

/// A demo that is up.
#[derive(Debug, Serialize)]
pub(super) struct Ready {
    /// Its directory.
    pub(super) dir: PathBuf,
    /// The central database; none when an edge stands alone.
    pub(super) database_url: Option<String>,
    /// The hub; none when an edge stands alone.
    pub(super) hub: Option<Process>,
    /// The edges.
    pub(super) edges: Vec<Edge>,
}

/// A process that serves a URL.
#[derive(Debug, Serialize)]
pub(super) struct Process {
    /// Where it listens.
    pub(super) url: String,
    /// Its process id.
    pub(super) pid: u32,
}

/// An edge.
#[derive(Debug, Serialize)]
pub(super) struct Edge {
    /// Its name at the hub.
    pub(super) name: &'static str,
    /// Its tenant's slug.
    pub(super) tenant: &'static str,
    /// Its site's name, in lower case.
    pub(super) site: &'static str,
    /// Where its API and pages are.
    #[serde(flatten)]
    pub(super) process: Process,
    /// Its data directory.
    pub(super) data: PathBuf,
    /// Who may sign in there.
    pub(super) people: Vec<Person>,
}

/// Somebody who may sign in.
#[derive(Debug, Serialize)]
pub(super) struct Person {
    /// Their address.
    pub(super) email: String,
    /// Their role in the tenant.
    pub(super) role: String,
    /// Their PIN.
    pub(super) pin: String,
    /// A bearer token.
    pub(super) token: String,
}

impl Ready {
    /// One line of JSON.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).expect("text, numbers and paths below a directory that was given as text")
    }

    /// A table, and what to try.
    pub(super) fn table(&self, place: &Place) -> String {
        let mut table = String::new();
        let mut line = |text: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(table, "{text}");
        };
        line(String::new());
        if let (Some(hub), Some(database_url)) = (&self.hub, &self.database_url) {
            line(format!("  {:<10}{:<28}{}", "centre", "hub", hub.url));
            line(format!("  {:<10}{:<28}psql {database_url}", "", "database"));
            line(String::new());
        }
        for edge in &self.edges {
            let Edge { name, tenant, site, process, people, .. } = edge;
            line(format!("  {name:<10}{:<28}{}", format!("{tenant}, {site}"), process.url));
            for Person { email, role, pin, .. } in people {
                line(format!("  {:<10}{:<28}{role:<9}PIN {pin}", "", email));
            }
            line(String::new());
        }
        let program = std::env::args().next().unwrap_or_else(|| "edge".to_owned());
        if self.hub.is_some() {
            line("  Cut a site off, write on both sides, mend it, and look at what became of both:".to_owned());
            line(format!("    {program} demo cut hq-1"));
            line(format!("    {program} status --data {}", place.edge("hq-1").display()));
            line(format!("    {program} demo heal hq-1"));
            line(String::new());
        }
        let end = if place.is_kept { "stops everything and keeps" } else { "stops everything and removes" };
        line(format!("  Ctrl-C {end} {}.", place.path().display()));
        table
    }
}
