//! One site of the demo: its edge's process, who may sign in there, and whether it is in sync.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use sync::sqlite::{open_reader, people, self_state};

use super::DemoError;
use super::part::{self, Part};
use super::place::Place;
use super::ready::Person;
use crate::control::{self, Answer, Request};
use crate::data_dir::DataDir;

const POLL_MS: u64 = 50;
/// How often an edge is asked whether it is in sync before that is called a failure.
const POLLS_MAX: u32 = 2_400;
/// The most people of a site of the demo.
const PEOPLE_MAX: u32 = 100;

/// A port that was free a moment ago.
pub(super) fn free_port() -> Result<u16, DemoError> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(DemoError::Program)?;
    Ok(listener.local_addr().map_err(DemoError::Program)?.port())
}

/// Starts an edge's process.
pub(super) fn start(place: &Place, name: &str, port: u16, hub: Option<&str>) -> Result<Part, DemoError> {
    let mut command = part::command("edge", place.path())?;
    command.args(["--watched", "--", "serve", "--listen", &SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string()]);
    command.arg("--data").arg(place.edge(name));
    if let Some(hub) = hub {
        command.args(["--hub", hub]);
    }
    Part::start(name, command, &place.logs())
}

/// Waits until an edge answers, and what it says of itself satisfies `enough`.
pub(super) async fn wait_until(
    name: &str,
    data: &Path,
    part: &mut Part,
    enough: impl Fn(&Value) -> bool,
) -> Result<(), DemoError> {
    let mut last = Value::Null;
    for _ in 0..POLLS_MAX {
        part.check()?;
        if let Ok(Answer::Status(status)) = ask(name, data, &Request::Status).await {
            if enough(&status) {
                return Ok(());
            }
            last = status;
        }
        tokio::time::sleep(Duration::from_millis(POLL_MS)).await;
    }
    Err(DemoError::Part { name: name.to_owned(), reason: format!("it is not in sync; it says {last}") })
}

/// Asks an edge that runs.
pub(super) async fn ask(name: &str, data: &Path, request: &Request) -> Result<Answer, DemoError> {
    let failed = |reason: String| DemoError::Part { name: name.to_owned(), reason };
    let asked = control::ask(&DataDir::new(data).control(), request).await;
    let answers = asked.map_err(|error| failed(error.to_string()))?;
    let mut answers = answers.ok_or_else(|| failed("it does not listen yet".to_owned()))?;
    match answers.next().await.map_err(|error| failed(error.to_string()))? {
        Answer::Failed(why) => Err(failed(why)),
        answer => Ok(answer),
    }
}

/// Those with a PIN for an edge's site, in order of their addresses.
pub(super) fn signers(name: &str, data: &Path) -> Result<Vec<(String, String)>, DemoError> {
    let read = || {
        let connection = open_reader(&DataDir::new(data).database())?;
        let state = self_state::load(&connection)?;
        let mut signers = Vec::new();
        if let (Some(tenant), Some(site)) = (state.tenant, state.site) {
            for member in people::members(&connection, tenant, None, PEOPLE_MAX)? {
                if people::credential(&connection, site, member.id)?.is_some() {
                    signers.push((member.email, member.role));
                }
            }
        }
        Ok(signers)
    };
    let failed =
        |error: sync::sqlite::error::StoreError| DemoError::Part { name: name.to_owned(), reason: error.to_string() };
    read().map_err(failed)
}

/// Those with a PIN for an edge's site, with a token each.
pub(super) async fn people(name: &str, data: &Path, pin: impl Fn(&str) -> String) -> Result<Vec<Person>, DemoError> {
    let mut people = Vec::new();
    for (email, role) in signers(name, data)? {
        if let Answer::Token(token) = ask(name, data, &Request::Token { email: email.clone() }).await? {
            people.push(Person { pin: pin(&email), email, role, token });
        }
    }
    Ok(people)
}
