//! Raises a centre with sample data and three sites that are enrolled and in sync.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::link::Link;
use super::part::{self, Part};
use super::place::Place;
use super::ready::{Edge, Process, Ready};
use super::{DemoError, Stage, postgres, site};
use crate::clock::Clock;
use crate::control::Request;

const POLL_MS: u64 = 50;
const POLLS_MAX: u32 = 600;

/// Name, tenant and site of each edge.
const EDGES: [(&str, &str, &str); 3] =
    [("hq-1", "acme-corp", "headquarters"), ("wh-1", "acme-corp", "warehouse"), ("office-1", "techstart", "office")];
/// The people of the sample data who work at those sites.
const PEOPLE: [&str; 5] = [
    "admin@acme-corp.com",
    "manager@acme-corp.com",
    "operator@acme-corp.com",
    "admin@techstart.io",
    "user@techstart.io",
];

/// Raises everything and waits until every site is in sync.
pub(super) async fn raise(stage: &mut Stage, place: &Place, programs: &Path, clock: Clock) -> Result<Ready, DemoError> {
    say("starting PostgreSQL");
    let remove = (!place.is_kept).then(|| place.path());
    let (directory, logs, password) = (place.postgresql(), place.logs(), place.password(clock)?);
    let port = site::free_port()?;
    let cluster = postgres::start(programs, &directory, &logs, port, &password, remove).await?;
    stage.keeper = Some(cluster.keeper);
    let database_url = cluster.url;
    let hub = |arguments: &'static [&'static str]| part::hub(&database_url, place.path(), arguments, None);

    say("making the central database");
    hub(&["db", "create"]).await?;
    hub(&["db", "migrate", "up"]).await?;
    hub(&["db", "seed"]).await?;
    let pins = set_pins(&database_url, place, clock).await?;

    say("starting the hub");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, site::free_port()?));
    let pid = start_hub(stage, place, &database_url, address).await?;
    let mut edges = Vec::new();
    for (name, tenant, site_name) in EDGES {
        say(&format!("starting {name}"));
        let link = Link::to(address).await.map_err(DemoError::Program)?;
        let hub_url = format!("http://{}", link.address());
        stage.links.push((name, link));
        let port = site::free_port()?;
        let data = place.edge(name);
        let is_enrolled = data.join("credential.json").exists();
        stage.parts.push(site::start(place, name, port, Some(&hub_url))?);
        let process = Process { url: format!("http://127.0.0.1:{port}"), pid: last(stage).pid() };
        site::wait_until(name, &data, last(stage), |_| true).await?;
        if !is_enrolled {
            let code = code(&database_url, place, tenant, site_name, name).await?;
            site::ask(name, &data, &Request::Enroll { hub: hub_url, code, ca: None }).await?;
        }
        edges.push(Edge { name, tenant, site: site_name, process, data, people: Vec::new() });
    }
    for (index, edge) in edges.iter_mut().enumerate() {
        // The hub is the first part.
        let part = &mut stage.parts[index + 1];
        site::wait_until(edge.name, &edge.data, part, |status| status["in_sync"] == Value::Bool(true)).await?;
        let pin = |email: &str| pins.get(email).cloned().unwrap_or_default();
        edge.people = site::people(edge.name, &edge.data, pin).await?;
    }
    let hub = Process { url: format!("http://{address}"), pid };
    Ok(Ready { dir: place.path().to_owned(), database_url: Some(database_url), hub: Some(hub), edges })
}

fn last(stage: &mut Stage) -> &mut Part {
    stage.parts.last_mut().expect("a part was just pushed")
}

async fn start_hub(
    stage: &mut Stage,
    place: &Place,
    database_url: &str,
    address: SocketAddr,
) -> Result<u32, DemoError> {
    let mut command = part::command("hub", place.path())?;
    command.args(["--watched", "--", "serve"]);
    command.env("DATABASE_URL", database_url).env("HUB_LISTEN", address.to_string());
    stage.parts.push(Part::start("hub", command, &place.logs())?);
    for _ in 0..POLLS_MAX {
        last(stage).check()?;
        if tokio::net::TcpStream::connect(address).await.is_ok() {
            return Ok(last(stage).pid());
        }
        tokio::time::sleep(Duration::from_millis(POLL_MS)).await;
    }
    Err(DemoError::Part { name: "hub".to_owned(), reason: format!("it does not listen on {address}") })
}

/// Gives everybody a PIN, the same at each of their sites.
async fn set_pins(
    database_url: &str,
    place: &Place,
    clock: Clock,
) -> Result<BTreeMap<&'static str, String>, DemoError> {
    let mut pins = BTreeMap::new();
    for email in PEOPLE {
        let pin = super::pin(clock);
        part::hub(database_url, place.path(), &["user", "set-pin", email], Some(&format!("{pin}\n"))).await?;
        pins.insert(email, pin);
    }
    Ok(pins)
}

async fn code(database_url: &str, place: &Place, tenant: &str, site: &str, name: &str) -> Result<String, DemoError> {
    let arguments = ["edge", "enroll", "--tenant", tenant, "--site", site, "--name", name, "--json"];
    let output = part::hub(database_url, place.path(), &arguments, None).await?;
    let answer: Value = serde_json::from_str(&output).unwrap_or_default();
    let code = answer["code"].as_str().map(str::to_owned);
    code.ok_or_else(|| DemoError::Part { name: "hub edge enroll".to_owned(), reason: format!("it printed {output}") })
}

fn say(what: &str) {
    eprintln!("edge: {what}");
}
