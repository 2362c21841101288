//! One edge without a centre, for a machine without PostgreSQL: the sample data of one tenant, stored as a page of a
//! centre that nobody will hear from again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, TransactionBehavior};
use serde_json::{Map, Value, json};
use sync::admin::seed;
use sync::catalog::{self, Kind, Policy, Table, key_register};
use sync::merge::clock::{Dot, Hlc};
use sync::merge::ids::ReplicaId;
use sync::merge::version::Version;
use sync::pg::credentials::verifier;
use sync::sqlite::{apply, self_state};
use sync::wire::convert::Fields;
use sync::wire::frames::PulledPage;
use sync::wire::message::{Enrolled, Fence, Page, PullEnd, PullRow};
use sync::wire::version::{DotsText, VectorText};
use uuid::Uuid;

use super::place::Place;
use super::ready::{Edge, Process, Ready};
use super::{DemoError, Stage, part, pin, site};
use crate::clock::Clock;
use crate::config::Config;
use crate::running;

const NAME: &str = "hq-1";
const TENANT: &str = "acme-corp";
const SITE: &str = "headquarters";
const CENTRE: ReplicaId = ReplicaId(1);
const REPLICA: u32 = 2;
const CREDENTIALS: &str = "credentials";

/// Raises one edge with sample data.
pub(super) async fn raise(stage: &mut Stage, place: &Place, clock: Clock) -> Result<Ready, DemoError> {
    if !place.is_kept {
        let mut keep = part::command("keep", place.path())?;
        keep.stdout(std::process::Stdio::piped()).arg("--remove").arg(place.path());
        let mut keeper = part::Part::start("keeper", keep, &place.logs())?;
        keeper.ready().await?;
        stage.keeper = Some(keeper);
    }
    let data = place.edge(NAME);
    let pins = fill(place, clock).await?;
    let port = site::free_port()?;
    stage.parts.push(site::start(place, NAME, port, None)?);
    let mut people = Vec::new();
    if let Some(part) = stage.parts.last_mut() {
        site::wait_until(NAME, &data, part, |_| true).await?;
        let pin = |email: &str| pins.get(email).cloned().unwrap_or_default();
        people = site::people(NAME, &data, pin).await?;
    }
    let pid = stage.parts.last().map(part::Part::pid).unwrap_or_default();
    let process = Process { url: format!("http://{}:{port}", Ipv4Addr::LOCALHOST), pid };
    let edge = Edge { name: NAME, tenant: TENANT, site: SITE, process, data, people };
    Ok(Ready { dir: place.path().to_owned(), database_url: None, hub: None, edges: vec![edge] })
}

/// Makes the edge's database and returns everybody's PIN by address. A database that is there keeps its rows and gets
/// new PINs.
async fn fill(place: &Place, clock: Clock) -> Result<BTreeMap<String, String>, DemoError> {
    let failed = |reason: String| DemoError::Part { name: NAME.to_owned(), reason };
    let config = Config {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        data: place.edge(NAME),
        hub: None,
        daily_bytes: None,
        plain_http: false,
        pages: crate::config::Pages::Auto,
        names: Vec::new(),
    };
    let now_ms = clock.unix_ms();
    let now = i64::try_from(now_ms).ok().and_then(DateTime::from_timestamp_millis).unwrap_or_default();
    let sample = Sample::of(TENANT, SITE, now, clock).map_err(failed)?;
    let edge = running::open(config).map_err(|error| failed(error.to_string()))?;
    let (identity, rows) = (sample.identity(), sample.rows);
    let work = move |connection: &mut Connection| {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let is_filled = self_state::load(&tx)?.is_enrolled();
        if !is_filled {
            self_state::enrolled(&tx, &identity, "")?;
        }
        tx.commit()?;
        // What people did to the samples stays; only the PINs are new.
        let rows = rows.into_iter().filter(|row| !is_filled || row.table == CREDENTIALS).collect();
        apply::page(connection, &page(rows, now_ms), now_ms)
    };
    let applied = edge.app.db.write(work).await;
    edge.close().await;
    match applied.map_err(|error| failed(error.to_string()))?.refused {
        0 => Ok(sample.pins),
        refused => Err(failed(format!("{refused} sample rows could not be stored"))),
    }
}

/// One tenant's part of the sample data.
struct Sample {
    tenant: Uuid,
    site: Uuid,
    rows: Vec<PullRow>,
    pins: BTreeMap<String, String>,
}

impl Sample {
    fn of(slug: &str, site_name: &str, now: DateTime<Utc>, clock: Clock) -> Result<Self, String> {
        let tables = seed::rows(now).map(|(name, rows)| (name, objects(rows)));
        let rows_of = |name: &str| tables.iter().find(|(table, _)| *table == name).map(|(_, rows)| rows.as_slice());
        let all = |name: &str| rows_of(name).unwrap_or_default();
        let named = |rows: &[Map<String, Value>], column: &str, text: &str| {
            let row =
                rows.iter().find(|row| row[column].as_str().is_some_and(|value| value.eq_ignore_ascii_case(text)));
            row.map(|row| row["id"].clone()).ok_or_else(|| format!("the sample data has no {text}"))
        };
        let (tenant, site) = (named(all("tenants"), "slug", slug)?, named(all("sites"), "name", site_name)?);
        let sites: BTreeSet<&str> =
            all("sites").iter().filter(|row| row["tenant_id"] == tenant).filter_map(|row| row["id"].as_str()).collect();
        let memberships = || all("user_tenant_associations").iter().filter(|row| row["tenant_id"] == tenant);
        let belongs = |table: &str, row: &Map<String, Value>| match table {
            "tenants" => row["id"] == tenant,
            "users" => memberships().any(|membership| membership["user_id"] == row["id"]),
            "devices" => row["site_id"].as_str().is_some_and(|id| sites.contains(id)),
            _ => row["tenant_id"] == tenant,
        };
        let (mut rows, mut pins) = (Vec::new(), BTreeMap::new());
        for (name, all) in &tables {
            let table = catalog::by_name(name).ok_or_else(|| format!("the catalog has no {name}"))?;
            for row in all.iter().filter(|row| belongs(name, row)) {
                rows.push(pull_row(table, complete(table, row.clone(), &tenant, now), clock)?);
            }
        }
        let credentials = catalog::by_name(CREDENTIALS).ok_or("the catalog has no credentials")?;
        for user in all("users").iter().filter(|row| belongs("users", row)) {
            let pin = pin(clock);
            let verifier = verifier(&pin, &clock.random()).map_err(|error| error.to_string())?;
            // The person's own id, so that a second start replaces the PIN.
            let row = json!({"id": user["id"], "user_id": user["id"], "site_id": site, "verifier": verifier});
            for row in objects(json!([row])) {
                rows.push(pull_row(credentials, complete(credentials, row, &tenant, now), clock)?);
            }
            pins.insert(user["email"].as_str().unwrap_or_default().to_owned(), pin);
        }
        let uuid = |id: &Value| id.as_str().and_then(|id| Uuid::try_parse(id).ok()).unwrap_or_default();
        Ok(Self { tenant: uuid(&tenant), site: uuid(&site), rows, pins })
    }

    fn identity(&self) -> Enrolled {
        let (edge, name, credential) = (Uuid::nil(), NAME.to_owned(), String::new());
        let (tenant, site, fence) = (self.tenant, self.site, Fence::default());
        Enrolled { edge, name, replica: REPLICA, credential, tenant, site, fence, former: Vec::new() }
    }
}

fn objects(rows: Value) -> Vec<Map<String, Value>> {
    let Value::Array(rows) = rows else { return Vec::new() };
    let object = |row| if let Value::Object(row) = row { Some(row) } else { None };
    rows.into_iter().filter_map(object).collect()
}

/// The row with the columns that the central schema would have filled.
fn complete(table: &Table, mut row: Map<String, Value>, tenant: &Value, now: DateTime<Utc>) -> Map<String, Value> {
    for column in table.columns {
        let filled = match (column.name, column.kind) {
            ("tenant_id", _) => tenant.clone(),
            (_, Kind::Json) => json!({}),
            ("created_at" | "updated_at", _) => json!(now.to_rfc3339()),
            _ => Value::Null,
        };
        row.entry(column.name).or_insert(filled);
    }
    row
}

/// A row as a page carries it, written once by the centre.
fn pull_row(table: &'static Table, row: Map<String, Value>, clock: Clock) -> Result<PullRow, String> {
    let id = row["id"].as_str().and_then(|id| Uuid::try_parse(id).ok()).ok_or("a sample row has no id")?;
    let mut values = Fields::new();
    let mut insert = |field: String, value: &Value| {
        let raw = serde_json::value::to_raw_value(value).map_err(|error| error.to_string())?;
        values.insert(field, raw);
        Ok::<_, String>(())
    };
    for column in table.columns.iter().filter(|column| column.policy != Policy::Key) {
        match &row[column.name] {
            Value::Object(members) => {
                for (key, value) in members {
                    insert(key_register(column.name, key), value)?;
                }
            }
            value => insert(column.name.to_owned(), value)?,
        }
    }
    let unix_ms = clock.unix_ms();
    let mut version = Version::default();
    version.write(Dot { replica: CENTRE, seq: unix_ms, hlc: Hlc::at(unix_ms), by: None }, &[]);
    let (vv, dots) = (VectorText(version.vv), DotsText(version.dots));
    Ok(PullRow { table: table.name.to_owned(), id, vv, gone: VectorText::default(), dots, values })
}

fn page(rows: Vec<PullRow>, unix_ms: u64) -> PulledPage {
    let lines = rows.len().try_into().unwrap_or_default();
    PulledPage {
        head: Page { unix_ms, rows_total: None, replicas: 2, renew: false },
        rows,
        evicted: Vec::new(),
        conflicts: Vec::new(),
        end: PullEnd { lines, cursor: String::new(), complete: true },
    }
}
