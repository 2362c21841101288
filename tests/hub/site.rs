//! A hub on a database of its own, and an edge in memory that speaks to it over HTTP with the real merge. It checks
//! every answer's form; what is in it is for the tests.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use sync::catalog::{self, Table};
use sync::hub::{self, Config, edge_auth};
use sync::merge::clock::{Dot, Hlc};
use sync::merge::conflict::Conflict;
use sync::merge::ids::{ReplicaId, RowId};
use sync::merge::plan::{Clamp, PullPlan, plan_pull, restamp, unacknowledged};
use sync::merge::rename::{reissue, unanswered};
use sync::merge::value::Values;
use sync::merge::vector::Vector;
use sync::merge::version::Row;
use sync::pg::{edges, quarantine, schema};
use sync::wire::base64url;
use sync::wire::message::*;
use sync::wire::recovery::{Accepted, AcceptedRow, Reidentified, Reidentify};
use sync::wire::stream::{self, Writer};
use sync::wire::version::{DotsText, VectorText};
use sync::wire::{conflict, convert, one_time_code};
use tests::postgres::{Cluster, connect, fresh_database, shared_cluster};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_postgres::Client;
use uuid::Uuid;

pub(crate) const ACME: Uuid = id(1);
pub(crate) const OTHER: Uuid = id(2);
pub(crate) const HEADQUARTERS: Uuid = id(11);
pub(crate) const WAREHOUSE: Uuid = id(12);
pub(crate) const ELSEWHERE: Uuid = id(13);
pub(crate) const ANN: Uuid = id(21);
pub(crate) const BOB: Uuid = id(22);
pub(crate) const EVE: Uuid = id(23);

pub(crate) const fn id(number: u128) -> Uuid {
    Uuid::from_u128(0x4000_8000_0000_0000_0000 + number)
}

const ROWS: &str = "
  insert into tenants (id, name, slug) values ($acme, 'Acme', 'acme'), ($other, 'Other', 'other');
  insert into users (id, email) values ($ann, 'ann@acme'), ($bob, 'bob@acme'), ($eve, 'eve@other');
  insert into user_tenant_associations (user_id, tenant_id, role)
    values ($ann, $acme, 'owner'), ($bob, $acme, 'member'), ($eve, $other, 'owner');
  insert into sites (id, tenant_id, name) values
    ($hq, $acme, 'Headquarters'), ($wh, $acme, 'Warehouse'), ($else, $other, 'Elsewhere');
  insert into user_site_assignments (user_id, site_id, tenant_id) values ($bob, $wh, $acme)";

/// A database with capture and two tenants, served by a hub.
pub(crate) struct Centre {
    pub(crate) database: String,
    pub(crate) database_url: String,
    pub(crate) sql: Client,
    pub(crate) url: String,
    stops: Vec<oneshot::Sender<()>>,
}

impl Centre {
    pub(crate) async fn start() -> Self {
        let database = fresh_database().await;
        Self::prepare(shared_cluster(), database).await
    }

    /// The same on a cluster of its own, which a test may kill.
    pub(crate) async fn on(cluster: &Cluster) -> Self {
        cluster.create_database("hub").await;
        schema::migrate(&mut cluster.connect("hub").await).await.unwrap();
        Self::prepare(cluster, "hub".to_owned()).await
    }

    async fn prepare(cluster: &Cluster, database: String) -> Self {
        let database_url = cluster.url(&database);
        let mut sql = connect(&database_url).await;
        sync::admin::database::install(&mut sql).await.unwrap();
        let names = [
            ("$acme", ACME),
            ("$other", OTHER),
            ("$hq", HEADQUARTERS),
            ("$wh", WAREHOUSE),
            ("$else", ELSEWHERE),
            ("$ann", ANN),
            ("$bob", BOB),
            ("$eve", EVE),
        ];
        let rows = names.iter().fold(ROWS.to_owned(), |text, (name, id)| text.replace(name, &format!("'{id}'")));
        sql.batch_execute(&rows).await.unwrap();
        let mut centre = Self { database, database_url, sql, url: String::new(), stops: Vec::new() };
        centre.url = centre.hub().await;
        centre
    }

    /// One more hub process's worth of hub on the same database; its URL.
    pub(crate) async fn hub(&mut self) -> String {
        let database = self.database_url.parse().unwrap();
        let config =
            Config { listen: String::new(), database, connections: 8, tls: None, pages_ca: None, plain_http: false };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        self.stops.push(stop);
        tokio::spawn(async move {
            hub::serve(&config, listener, (None, None), async { drop(stopped.await) }).await.unwrap();
        });
        url
    }

    /// Ends every hub in good order.
    pub(crate) fn stop(&mut self) {
        self.stops.clear();
    }

    /// Another plain client.
    pub(crate) async fn client(&self) -> Client {
        connect(&self.database_url).await
    }

    pub(crate) async fn code(&self, tenant: Uuid, site: Uuid, name: &str, valid_ms: u64) -> String {
        let code = one_time_code::code(*hub::clock::id().as_bytes().first_chunk().unwrap());
        let place = edges::Place { tenant, site, site_name: String::new() };
        edges::issue(&self.sql, &edge_auth::hash(&code), &place, name, valid_ms).await.unwrap();
        code
    }

    pub(crate) async fn site(&self, tenant: Uuid, site: Uuid, name: &str) -> Site {
        let code = self.code(tenant, site, name, 60_000).await;
        Site::enroll(&self.url, &code).await
    }

    pub(crate) async fn execute(&self, statement: &str) {
        self.sql.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }

    /// One value as text, `-` for null or no row.
    pub(crate) async fn value(&self, query: &str) -> String {
        let rows = self.sql.query(&format!("select ({query})::text"), &[]).await;
        let rows = rows.unwrap_or_else(|error| panic!("{query}: {error:?}"));
        rows.first().and_then(|row| row.get::<_, Option<String>>(0)).unwrap_or_else(|| "-".to_owned())
    }

    /// Discards the newest entry of a row.
    pub(crate) async fn discard(&mut self, row: Uuid) -> quarantine::Decision {
        let entry = self.entry(row).await;
        quarantine::discard(&mut self.sql, entry, hub::clock::unix_ms()).await.unwrap()
    }

    /// Releases the newest entry of a row with some columns written over.
    pub(crate) async fn release(&mut self, row: Uuid, set: &[(&str, &str)]) -> quarantine::Decision {
        let entry = self.entry(row).await;
        let set: Vec<_> = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        quarantine::release(&mut self.sql, entry, &set, hub::clock::unix_ms()).await.unwrap()
    }

    async fn entry(&self, row: Uuid) -> Uuid {
        let newest = format!("select id from sync.quarantine where row_id = '{row}' order by created_at desc limit 1");
        self.value(&newest).await.parse().unwrap()
    }

    pub(crate) async fn dump(&self, tenant: Uuid) -> Vec<String> {
        let mut lines = Vec::new();
        let mut client = self.client().await;
        let unreadable = sync::pg::dump::dump(&mut client, tenant, None, |line| lines.push(line.to_owned())).await;
        assert_eq!(unreadable.unwrap(), Vec::<String>::new());
        lines
    }
}

/// What an edge says that has no work yet and will not prove who it is.
pub(crate) fn enrolling(code: &str) -> Enroll {
    let key = base64url::encode([0; 32]);
    Enroll { code: code.to_owned(), app_version: "test".to_owned(), key, former: None }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) retry_after: bool,
}

impl Answer {
    pub(crate) fn code(&self) -> String {
        let problem: Json = serde_json::from_slice(&self.body).unwrap_or_default();
        problem["code"].as_str().unwrap_or_default().to_owned()
    }
}

pub(crate) async fn post(url: &str, route: &str, credential: Option<&str>, body: Vec<u8>) -> Answer {
    let request = tests::client::plain()
        .post(format!("{url}/sync/v1/{route}"))
        .header(PROTOCOL_HEADER, PROTOCOL.to_string())
        .header(NONCE_HEADER, "n")
        .header("content-type", NDJSON)
        .body(body);
    let request = match credential {
        Some(credential) => request.bearer_auth(credential),
        None => request,
    };
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()[NONCE_HEADER], "n");
    Answer {
        status: response.status().as_u16(),
        retry_after: response.headers().contains_key("retry-after"),
        body: response.bytes().await.unwrap().to_vec(),
    }
}

#[derive(Clone)]
pub(crate) struct Local {
    pub(crate) row: Row,
    /// What the hub is known to have; none when nothing waits.
    pub(crate) base: Option<Vector>,
}

/// An edge in memory. Cloning it is what a restored backup does.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) url: String,
    pub(crate) me: Enrolled,
    pub(crate) fence: Fence,
    pub(crate) seq: u64,
    pub(crate) unix_ms: u64,
    pub(crate) cursor: Option<String>,
    pub(crate) rows: BTreeMap<(u8, Uuid), Local>,
    pub(crate) conflicts: BTreeMap<Uuid, Conflict>,
    pub(crate) audits: Vec<Audit>,
    /// What rows that wait were called under former ids.
    pub(crate) formerly: BTreeMap<Uuid, Vec<FormerName>>,
    /// The ids that it had.
    pub(crate) former: Vec<u32>,
}

impl Site {
    pub(crate) async fn enroll(url: &str, code: &str) -> Self {
        let answer = post(url, "enroll", None, stream::write_one(&enrolling(code)).unwrap()).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        let me: Enrolled = stream::read_one(&answer.body).unwrap();
        Self {
            url: url.to_owned(),
            fence: me.fence.clone(),
            me,
            seq: 0,
            unix_ms: hub::clock::unix_ms(),
            cursor: None,
            rows: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            audits: Vec::new(),
            formerly: BTreeMap::new(),
            former: Vec::new(),
        }
    }

    pub(crate) fn replica(&self) -> ReplicaId {
        ReplicaId(self.me.replica)
    }

    fn dot(&mut self, hlc: Hlc) -> Dot {
        self.seq += 1;
        self.unix_ms += 1;
        Dot { replica: self.replica(), seq: self.seq, hlc: hlc.tick(self.unix_ms), by: None }
    }

    /// A local write of some columns; of all of them for a new row.
    pub(crate) fn write(&mut self, table: &str, id: Uuid, columns: Json) {
        let table = catalog::by_name(table).unwrap();
        let values = convert::values(table, &serde_json::from_value(columns).unwrap()).unwrap();
        let known = self.rows.get(&(table.id.0, id)).cloned();
        let mut local = known.unwrap_or_else(|| Local { row: Row::default(), base: Some(Vector::default()) });
        let dot = self.dot(local.row.version.hlc());
        local.base = local.base.or_else(|| Some(local.row.version.vv.clone()));
        let whole = local.row.version.vv.is_empty();
        let registers: Vec<String> = if whole { Vec::new() } else { values.keys().cloned().collect() };
        local.row.version.write(dot, &registers);
        local.row.values.extend(values);
        self.rows.insert((table.id.0, id), local);
    }

    pub(crate) fn delete(&mut self, table: &str, id: Uuid) {
        let table = catalog::by_name(table).unwrap().id.0;
        let mut local = self.rows[&(table, id)].clone();
        let dot = self.dot(local.row.version.hlc());
        local.base = local.base.or_else(|| Some(local.row.version.vv.clone()));
        local.row.version.delete(dot);
        self.rows.insert((table, id), local);
    }

    /// Takes a new id, and moves everything that waits to it.
    pub(crate) async fn reidentify(&mut self) -> Reidentified {
        let asked = stream::write_one(&Reidentify { replica: self.me.replica, former: self.former.clone() }).unwrap();
        let given: Reidentified = stream::read_one(&self.post("reidentify", asked).await.body).unwrap();
        let former = self.replica();
        (self.me.replica, self.fence, self.seq) = (given.replica, given.fence.clone(), 0);
        let new = self.replica();
        self.former = given.former.clone();
        for ((_, id), local) in &mut self.rows {
            let Some(base) = &local.base else { continue };
            let waiting = unanswered(&local.row.version, base, &[former]);
            let renamed = reissue(&mut local.row.version, base, &[former], new, || {
                self.seq += 1;
                self.seq
            });
            let names = waiting.iter().map(|dot| FormerName {
                replica: dot.replica.0,
                seq: dot.seq,
                hlc: dot.hlc.0,
                now_seq: renamed[&(dot.replica, dot.seq)],
            });
            self.formerly.entry(*id).or_default().extend(names);
        }
        given
    }

    /// Which of some writes of a task the hub has, each with the name under which it has it.
    pub(crate) async fn accepted(&self, rows: &[AcceptedRow]) -> Vec<AcceptedRow> {
        let asked = stream::write_one(&Accepted { rows: rows.to_vec() }).unwrap();
        let answer: Accepted = stream::read_one(&self.post("accepted", asked).await.body).unwrap();
        answer.rows
    }

    pub(crate) fn task(&mut self, id: Uuid, title: &str) {
        let columns = task(self.me.tenant, title);
        self.write("tasks", id, columns);
    }

    pub(crate) fn device(&mut self, id: Uuid, site: Uuid, serial: Option<&str>) {
        let columns = json!({"tenant_id": self.me.tenant, "site_id": site, "name": "device", "type": "sensor",
            "serial_number": serial, "status": "online", "created_at": NOW, "updated_at": NOW});
        self.write("devices", id, columns);
    }

    /// Everything that waits, as a batch.
    pub(crate) fn batch(&self) -> Vec<u8> {
        let own = [self.replica()];
        let mut rows: Vec<PushRow> = Vec::new();
        for ((table, id), local) in &self.rows {
            let table = catalog::by_id(sync::merge::ids::TableId(*table)).unwrap();
            let Some(base) = &local.base else { continue };
            let pushed = unacknowledged(&local.row, base, &own).cloned().collect::<Vec<_>>();
            let values: Values =
                pushed.into_iter().map(|name| (name.clone(), local.row.values[&name].clone())).collect();
            rows.push(PushRow {
                table: table.name.to_owned(),
                id: *id,
                vv: VectorText(local.row.version.vv.clone()),
                gone: VectorText(local.row.version.gone.clone()),
                base: VectorText(base.clone()),
                dots: DotsText(local.row.version.dots.clone()),
                values: convert::fields(table, &values),
                instead: None,
                formerly: self.formerly.get(id).cloned().unwrap_or_default(),
            });
        }
        self.batch_of(hub::clock::id(), rows)
    }

    pub(crate) fn batch_of(&self, id: Uuid, rows: Vec<PushRow>) -> Vec<u8> {
        let head = Batch { id, replica: self.me.replica, high_seq: self.seq, fence: self.fence.clone() };
        let conflicts = self.conflicts.values().filter_map(conflict::text).map(PushLine::Conflict);
        let audits = self.audits.iter().cloned().map(PushLine::Audit);
        let middle: Vec<PushLine> = rows.into_iter().map(PushLine::Row).chain(conflicts).chain(audits).collect();
        let mut writer = Writer::default();
        writer.line(&PushLine::Batch(head)).unwrap();
        middle.iter().for_each(|line| writer.line(line).unwrap());
        writer.line(&PushLine::End(middle.len() as u64)).unwrap();
        writer.finish().unwrap()
    }

    pub(crate) async fn post(&self, route: &str, body: Vec<u8>) -> Answer {
        post(&self.url, route, Some(&self.me.credential), body).await
    }

    /// Pushes what waits; the outcome of each row, as `accepted` or `quarantined serial_number_taken`.
    pub(crate) async fn push(&mut self) -> BTreeMap<Uuid, String> {
        let body = self.batch();
        let answer = self.post("push", body).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        self.take(&answer.body)
    }

    pub(crate) fn take(&mut self, body: &[u8]) -> BTreeMap<Uuid, String> {
        let mut lines = stream::read::<PushedLine>(body).unwrap();
        let Some(PushedLine::End(count)) = lines.pop() else { panic!("an answer ends with its end") };
        assert_eq!(count as usize, lines.len() - 1);
        let mut outcomes = BTreeMap::new();
        for line in lines {
            match line {
                PushedLine::Batch(head) => self.fence = head.fence,
                PushedLine::Row(row) => {
                    let outcome = serde_json::to_value(row.outcome).unwrap().as_str().unwrap().to_owned();
                    let code = row.code.map(|code| format!(" {code}")).unwrap_or_default();
                    outcomes.insert(row.id, outcome + &code);
                    let table = catalog::by_name(&row.table).map_or(0, |table| table.id.0);
                    let Some(local) = self.rows.get_mut(&(table, row.id)) else { continue };
                    let clamps: Vec<Clamp> = row
                        .clamps
                        .iter()
                        .map(|(replica, seq, hlc)| Clamp { replica: ReplicaId(*replica), seq: *seq, hlc: Hlc(*hlc) })
                        .collect();
                    let known = local.base.clone().unwrap_or_default();
                    restamp(&mut local.row.version, &known, &clamps);
                    if matches!(row.outcome, Outcome::Accepted | Outcome::Merged) {
                        local.base = None;
                    }
                }
                PushedLine::End(_) => panic!("an end in the middle"),
            }
        }
        outcomes
    }

    pub(crate) async fn page(&mut self, wait_ms: u64) -> (Vec<PullLine>, bool) {
        let pull = Pull { replica: self.me.replica, cursor: self.cursor.clone(), wait_ms, report: Report::default() };
        let answer = self.post("pull", stream::write_one(&pull).unwrap()).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        let mut lines = stream::read::<PullLine>(&answer.body).unwrap();
        assert!(matches!(lines.remove(0), PullLine::Page(_)));
        let Some(PullLine::End(end)) = lines.pop() else { panic!("a page ends with its end") };
        assert_eq!(end.lines as usize, lines.len());
        self.cursor = Some(end.cursor);
        (lines, end.complete)
    }

    /// How many lines a page has; `None` when there was no page.
    pub(crate) async fn try_page(&mut self, wait_ms: u64) -> Option<usize> {
        let report = Report::default();
        let pull = Pull { replica: self.me.replica, cursor: self.cursor.clone(), wait_ms, report };
        let answer = self.post("pull", stream::write_one(&pull).unwrap()).await;
        (answer.status == 200).then(|| stream::read::<PullLine>(&answer.body).unwrap().len() - 2)
    }

    /// Pulls until the window is complete and a tail is empty; what came, as `tasks <id>`, `evict users <id>`, `conflict`.
    pub(crate) async fn pull(&mut self) -> Vec<String> {
        let mut came = Vec::new();
        loop {
            let (lines, complete) = self.page(0).await;
            if lines.is_empty() && complete {
                return came;
            }
            came.extend(lines.into_iter().map(|line| self.apply(line)));
        }
    }

    pub(crate) fn apply(&mut self, line: PullLine) -> String {
        match line {
            PullLine::Row(row) => {
                let table: &'static Table = catalog::by_name(&row.table).unwrap();
                let incoming = Row {
                    version: sync::merge::version::Version { vv: row.vv.0, gone: row.gone.0, dots: row.dots.0 },
                    values: convert::values(table, &row.values).unwrap(),
                };
                let alive = if incoming.version.is_alive() { "" } else { "dead " };
                let key = (table.id.0, row.id);
                let local = self.rows.get(&key).map(|local| local.row.clone());
                match plan_pull(table.id, RowId(row.id), local.as_ref(), &incoming, &table.quiet()) {
                    PullPlan::Keep => {}
                    PullPlan::Replace => {
                        self.rows.insert(key, Local { row: incoming, base: None });
                    }
                    PullPlan::Merge { row, conflicts } => {
                        let base = Some(incoming.version.vv);
                        self.rows.insert(key, Local { row, base });
                        self.conflicts.extend(conflicts.into_iter().map(|conflict| (conflict.id(), conflict)));
                    }
                }
                format!("{alive}{} {}", row.table, row.id)
            }
            PullLine::Evict(evict) => {
                let table = catalog::by_name(&evict.table).unwrap();
                self.rows.remove(&(table.id.0, evict.id));
                format!("evict {} {}", evict.table, evict.id)
            }
            PullLine::Conflict(text) => {
                let conflict = conflict::parse(&text).unwrap();
                self.conflicts.insert(conflict.id(), conflict);
                "conflict".to_owned()
            }
            PullLine::Page(_) | PullLine::End(_) => panic!("a head or end in the middle"),
        }
    }

    pub(crate) async fn hello(&self) -> Welcome {
        let hello = Hello {
            replica: self.me.replica,
            seq: self.seq,
            fence: self.fence.clone(),
            in_flight: None,
            cursor: self.cursor.clone(),
            schema: 1,
            app_version: "test".to_owned(),
            unix_ms: self.unix_ms,
            report: Report { pending: 3, ..Report::default() },
            incarnation: None,
            reconcile: false,
            forked: false,
        };
        let answer = self.post("hello", stream::write_one(&hello).unwrap()).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        stream::read_one(&answer.body).unwrap()
    }

    pub(crate) fn dump(&self) -> Vec<String> {
        let alive = self.rows.iter().filter(|(_, local)| local.row.version.is_alive());
        let lines = alive.filter_map(|((table, id), local)| {
            let table = catalog::by_id(sync::merge::ids::TableId(*table)).filter(|table| table.dumped)?;
            Some(convert::dump_line(table, RowId(*id), &local.row.values))
        });
        lines.collect()
    }

    pub(crate) fn field(&self, table: &str, id: Uuid, register: &str) -> String {
        let table = catalog::by_name(table).unwrap();
        self.rows[&(table.id.0, id)].row.values.get(register).map_or_else(|| "-".to_owned(), convert::json_of)
    }
}

pub(crate) const NOW: &str = "2026-01-01T00:00:00.000000Z";

pub(crate) fn task(tenant: Uuid, title: &str) -> Json {
    json!({"tenant_id": tenant, "user_id": null, "site_id": null, "device_id": null, "title": title,
        "description": null, "status": "open", "completed_at": null, "priority": "low", "due_date": null,
        "created_at": NOW, "updated_at": NOW})
}

/// Ends every exchange: after it, centre and sites hold the same rows.
pub(crate) async fn settle(centre: &Centre, sites: &mut [&mut Site]) {
    for _ in 0..2 {
        for site in sites.iter_mut() {
            site.push().await;
            site.pull().await;
        }
    }
    for site in sites.iter_mut() {
        site.pull().await;
        assert_eq!(centre.dump(site.me.tenant).await, site.dump(), "{} holds what the centre holds", site.me.name);
    }
}
