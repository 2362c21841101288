//! A centre and its sites, as real processes: PostgreSQL, hubs, and edges that reach them through a link each.
//!
//! Everything goes through what a user has: the two programs, `psql`, `sqlite3`, the HTTP API. A test ends with
//! [`Deployment::assert_equal_dumps`].

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use reqwest::Method;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::api::{Answer, Api};
use crate::dumps;
use crate::fault_proxy::FaultProxy;
use crate::postgres::{Cluster, empty_database, shared_cluster};
use crate::processes::{Finished, Process, Program, free_port, run, run_within};
use crate::scratch::Scratch;
use crate::wait::eventually;

const PORT_TRIES_MAX: u32 = 5;

/// Where a box stands, and who signs in there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The edge's name.
    pub edge: &'static str,
    /// Its tenant's slug.
    pub tenant: &'static str,
    /// Its site's name.
    pub site: &'static str,
    /// A person who may do everything there.
    pub person: &'static str,
}

/// Acme's headquarters.
pub const HEADQUARTERS: Place =
    Place { edge: "hq-1", tenant: "acme-corp", site: "headquarters", person: "admin@acme-corp.com" };
/// Acme's warehouse.
pub const WAREHOUSE: Place =
    Place { edge: "wh-1", tenant: "acme-corp", site: "warehouse", person: "admin@acme-corp.com" };
/// The office of another tenant.
pub const OFFICE: Place = Place { edge: "office-1", tenant: "techstart", site: "office", person: "admin@techstart.io" };

/// Everything a test needs, gone with it.
pub struct Deployment {
    // Fields are dropped in this order: nobody loses the server it talks to.
    edges: Vec<Edge>,
    hubs: Vec<Hub>,
    database_url: String,
    directory: Scratch,
    cluster: Server,
}

enum Server {
    Shared(&'static Cluster),
    Own(Box<Cluster>),
}

/// A hub process.
pub struct Hub {
    port: u16,
    environment: Vec<(String, String)>,
    directory: PathBuf,
    process: Mutex<Option<Process>>,
}

/// An edge: its folder, its link, and its process while it runs.
pub struct Edge {
    // It ends before its link does, so that its log ends with its own words.
    process: Mutex<Option<Process>>,
    surroundings: Mutex<Surroundings>,
    place: Place,
    port: u16,
    data: PathBuf,
    directory: PathBuf,
    link: FaultProxy,
    api: OnceCell<Api>,
}

/// What a process finds around it beside the settings of its place; its commands do not.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// A program that starts it, with arguments: `prlimit --nofile=64`.
    pub starter: Vec<String>,
    /// More variables of its environment.
    pub environment: Vec<(String, String)>,
}

impl Deployment {
    /// A database of the shared cluster with the sample data, one hub, and an edge enrolled and running at each place.
    pub async fn start(places: &[Place]) -> Self {
        let database = empty_database().await;
        let url = shared_cluster().url(&database);
        Self::start_at(Server::Shared(shared_cluster()), url, places).await
    }

    /// The same on a cluster of its own that may be killed.
    pub async fn start_durable(places: &[Place]) -> Self {
        Self::start_on(Cluster::start_durable(), places).await
    }

    /// The same on a cluster that the caller has started.
    pub async fn start_on(cluster: Cluster, places: &[Place]) -> Self {
        cluster.create_database("waystation").await;
        let url = cluster.url("waystation");
        Self::start_at(Server::Own(Box::new(cluster)), url, places).await
    }

    async fn start_at(cluster: Server, database_url: String, places: &[Place]) -> Self {
        let mut world = Self { edges: Vec::new(), hubs: Vec::new(), database_url, directory: Scratch::new(), cluster };
        world.hub_command(&["db", "migrate", "up"]).await.succeeded();
        world.hub_command(&["db", "seed"]).await.succeeded();
        world.add_hub().await;
        for place in places {
            world.add_edge(*place).await;
        }
        // A test that cuts a link begins with people and rows on both sides of it.
        for edge in &world.edges {
            edge.is_in_sync().await;
        }
        world
    }

    /// Starts one more hub on the same database.
    pub async fn add_hub(&mut self) -> &Hub {
        let environment = vec![("DATABASE_URL".to_owned(), self.database_url.clone())];
        let mut hub =
            Hub { port: 0, environment, directory: self.directory.path().to_owned(), process: Mutex::new(None) };
        for _ in 0..PORT_TRIES_MAX {
            hub.port = free_port();
            hub.start();
            if hub.is_ready().await {
                break;
            }
        }
        assert!(hub.runs(), "the hub does not start\n{}", hub.log());
        self.hubs.push(hub);
        self.hubs.last().expect("just pushed")
    }

    /// Starts the first hub again, which reaches the database by another way from now on.
    pub async fn reach_database_by(&mut self, url: String) {
        self.reach_database_by_with(url, Vec::new()).await;
    }

    /// The same with more variables of its environment.
    pub async fn reach_database_by_with(&mut self, url: String, more: Vec<(String, String)>) {
        let hub = &mut self.hubs[0];
        hub.kill();
        hub.environment = vec![("DATABASE_URL".to_owned(), url)];
        hub.environment.extend(more);
        hub.start();
        assert!(hub.is_ready().await, "the hub does not start again\n{}", hub.log());
    }

    /// Enrols one more edge and starts it.
    pub async fn add_edge(&mut self, place: Place) -> &Edge {
        let edge = self.enrolled_edge(place).await;
        edge.start().await;
        self.edges.push(edge);
        self.edges.last().expect("just pushed")
    }

    /// Counts an edge to the world's own.
    pub fn adopt_edge(&mut self, edge: Edge) {
        self.edges.push(edge);
    }

    /// An edge that is enrolled and does not run; it is the caller's.
    pub async fn enrolled_edge(&self, place: Place) -> Edge {
        let edge = self.new_edge(place);
        self.enrol(&edge).await;
        edge
    }

    /// Gives a new edge its identity.
    pub async fn enrol(&self, edge: &Edge) {
        let code = self.enrolment_code(edge.place).await;
        edge.command(&["enroll", "--hub", &edge.link.url(), "--code", &code]).await.succeeded();
    }

    /// An edge that knows no hub and does not run; it is the caller's.
    pub fn new_edge(&self, place: Place) -> Edge {
        self.new_edge_in(place, self.directory.path().join(place.edge))
    }

    /// The same with a folder of the caller's choice.
    pub fn new_edge_in(&self, place: Place, data: PathBuf) -> Edge {
        Edge {
            place,
            port: free_port(),
            data,
            directory: self.directory.path().to_owned(),
            link: FaultProxy::start(self.hub(0).port),
            process: Mutex::new(None),
            surroundings: Mutex::default(),
            api: OnceCell::new(),
        }
    }

    /// A code for a box at a place.
    pub async fn enrolment_code(&self, place: Place) -> String {
        let Place { edge, tenant, site, .. } = place;
        let arguments = ["edge", "enroll", "--tenant", tenant, "--site", site, "--name", edge, "--json"];
        let printed = self.hub_command(&arguments).await.succeeded();
        let printed: Value = serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{printed}: {error}"));
        printed["code"].as_str().unwrap_or_else(|| panic!("no code in {printed}")).to_owned()
    }

    /// A hub, in the order of their start.
    pub fn hub(&self, index: usize) -> &Hub {
        &self.hubs[index]
    }

    /// An edge, in the order of the places.
    pub fn edge(&self, index: usize) -> &Edge {
        &self.edges[index]
    }

    /// Every edge of the world.
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// The cluster, to kill it.
    pub fn cluster(&self) -> &Cluster {
        match &self.cluster {
            Server::Shared(cluster) => cluster,
            Server::Own(cluster) => cluster,
        }
    }

    /// The database, for the superuser.
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// The directory of everything.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Runs a `hub` command to its end.
    pub async fn hub_command(&self, arguments: &[&str]) -> Finished {
        self.hub_command_with(arguments, "").await
    }

    /// The same for a command that may take `limit_ms`.
    pub async fn hub_command_within(&self, limit_ms: u64, arguments: &[&str]) -> Finished {
        let environment = [("DATABASE_URL".to_owned(), self.database_url.clone())];
        run_within(limit_ms, &Program::Hub.path(), arguments, &environment, self.directory.path(), "").await
    }

    /// Runs a `hub` command that reads its standard input.
    pub async fn hub_command_with(&self, arguments: &[&str], input: &str) -> Finished {
        let environment = [("DATABASE_URL".to_owned(), self.database_url.clone())];
        run(&Program::Hub.path(), arguments, &environment, self.directory.path(), input).await
    }

    /// Runs statements by `psql`, as any other application would; returns what they print, unaligned.
    ///
    /// # Panics
    /// When a statement fails.
    pub async fn sql(&self, statements: &str) -> String {
        self.try_sql(statements).await.succeeded().trim_end().to_owned()
    }

    /// The same for statements that may fail.
    pub async fn try_sql(&self, statements: &str) -> Finished {
        let psql = self.cluster().program_path("psql");
        let arguments = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.database_url, "-f", "-"];
        run(&psql, &arguments, &[], self.directory.path(), statements).await
    }

    /// What `hub dump` prints of a tenant.
    pub async fn dump_hub(&self, tenant: &str) -> String {
        self.hub_command(&["dump", "--tenant", tenant]).await.succeeded()
    }

    /// Waits until every edge is in sync with nothing pending and every dump of an edge equals its tenant's at the hub;
    /// then judges the dumps by themselves.
    ///
    /// # Panics
    /// When that does not happen, with the rows that differ.
    #[track_caller]
    pub fn assert_equal_dumps(&self) -> impl Future<Output = ()> {
        let edges: Vec<&Edge> = self.edges.iter().collect();
        self.assert_equal_dumps_of(edges)
    }

    /// The same for some of the edges.
    ///
    /// # Panics
    /// When that does not happen, with the rows that differ.
    #[track_caller]
    pub fn assert_equal_dumps_of<'a>(&'a self, edges: Vec<&'a Edge>) -> impl Future<Output = ()> + 'a {
        eventually("every edge holds exactly what the hub holds of its tenant", async move || {
            for edge in &edges {
                edge.assert_settled().await?;
                let (hub, own) = (self.dump_hub(edge.place.tenant).await, edge.dump().await);
                let differences = dumps::differences(&hub, &own);
                if !differences.is_empty() {
                    return Err(format!("{}:\n  {}", edge.place.edge, differences.join("\n  ")));
                }
                let problems = dumps::problems(&own);
                assert!(problems.is_empty(), "{}'s dump:\n  {}", edge.place.edge, problems.join("\n  "));
                // What was written meanwhile must not make an old state look like the end.
                edge.assert_settled().await?;
            }
            Ok(())
        })
    }
}

impl Hub {
    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts the process; it need not be ready.
    pub fn start(&self) {
        let mut environment = self.environment.clone();
        environment.push(("HUB_LISTEN".to_owned(), format!("127.0.0.1:{}", self.port)));
        let log = self.log_path();
        let process = Process::start("hub", &Program::Hub.path(), &["serve"], &environment, &self.directory, &log);
        *self.process() = Some(process);
    }

    /// The id of the process, which runs.
    pub fn process_id(&self) -> u32 {
        self.process().as_ref().expect("the hub runs").id()
    }

    /// Waits until it answers, or has ended; returns whether it answers.
    pub async fn is_ready(&self) -> bool {
        let api = Api::new(self.port, None);
        eventually("the hub answers", async || {
            if !self.runs() {
                return Ok(false);
            }
            let answer = api.try_send(Method::GET, "/healthz", None, &[]).await;
            answer.map(|answer| answer.status == 200).map_err(|error| format!("{error:?}\n{}", self.log()))
        })
        .await
    }

    /// Kills the process without warning.
    pub fn kill(&self) {
        self.process().take().expect("a hub that is killed was running").kill();
    }

    /// Stops the process where it is.
    pub fn pause(&self) {
        self.process().as_ref().expect("a hub that is paused was running").pause();
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.process().as_ref().expect("a hub that goes on was running").go_on();
    }

    /// What it printed, over all its lives.
    pub fn log(&self) -> String {
        crate::processes::log_end(&self.log_path())
    }

    fn runs(&self) -> bool {
        self.process().as_ref().is_some_and(|process| process.ended().is_none())
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join(format!("hub-{}.log", self.port))
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.process.lock().expect("no thread panics while it holds a process")
    }
}

impl Edge {
    /// Where it stands.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Its link to the hub.
    pub fn link(&self) -> &FaultProxy {
        &self.link
    }

    /// Its folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts the process and waits until its API answers.
    pub async fn start(&self) {
        self.spawn();
        self.is_ready().await;
    }

    /// Starts the process; it need not be ready.
    pub fn spawn(&self) {
        let log = self.log_path();
        let Surroundings { starter, environment } = self.surroundings.lock().expect("nobody panics with it").clone();
        let program = Program::Edge.path();
        let environment = [self.environment(), environment].concat();
        let own = program.display().to_string();
        let line: Vec<&str> = starter.iter().map(String::as_str).chain([own.as_str(), "serve"]).collect();
        let process =
            Process::start(self.place.edge, Path::new(line[0]), &line[1..], &environment, &self.directory, &log);
        *self.process() = Some(process);
    }

    /// What the process finds around it from its next start on.
    pub fn surround(&self, surroundings: Surroundings) {
        *self.surroundings.lock().expect("nobody panics with it") = surroundings;
    }

    /// The id of the process, which runs.
    pub fn process_id(&self) -> u32 {
        self.process().as_ref().expect("the edge runs").id()
    }

    /// How the process ended, if it did.
    pub fn ended(&self) -> Option<std::process::ExitStatus> {
        self.process().as_ref().and_then(Process::ended)
    }

    /// Waits until its API answers.
    ///
    /// # Panics
    /// When the process ends instead.
    pub async fn is_ready(&self) {
        let api = Api::new(self.port, None);
        eventually("the edge answers", async || {
            let ended = self.process().as_ref().and_then(Process::ended);
            assert!(ended.is_none(), "the edge ended with {ended:?}\n{}", self.log());
            let answer = api.try_send(Method::GET, "/healthz", None, &[]).await;
            answer.map(drop).map_err(|error| format!("{error:?}\n{}", self.log()))
        })
        .await;
    }

    /// Waits until the box itself says that it is in sync. Signs nobody in.
    pub async fn is_in_sync(&self) {
        eventually("the edge is in sync", async || {
            let status = self.command(&["status", "--json"]).await.succeeded();
            let read: Value = serde_json::from_str(&status).map_err(|error| error.to_string())?;
            if read["in_sync"] == true { Ok(()) } else { Err(format!("{status}\n{}", self.log())) }
        })
        .await;
    }

    /// Kills the process without warning.
    pub fn kill(&self) {
        self.process().take().expect("an edge that is killed was running").kill();
    }

    /// Stops the process where it is.
    pub fn pause(&self) {
        self.process().as_ref().expect("an edge that is paused was running").pause();
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.process().as_ref().expect("an edge that goes on was running").go_on();
    }

    /// Ends the process in order.
    pub fn stop(&self) {
        self.process().take().expect("an edge that is stopped was running").stop();
    }

    /// What it printed, over all its lives.
    pub fn log(&self) -> String {
        crate::processes::log_end(&self.log_path())
    }

    /// The environment of its commands.
    pub fn environment(&self) -> Vec<(String, String)> {
        vec![
            ("EDGE_DATA".to_owned(), self.data.display().to_string()),
            ("EDGE_LISTEN".to_owned(), format!("127.0.0.1:{}", self.port)),
        ]
    }

    /// Runs an `edge` command on its folder to its end.
    pub async fn command(&self, arguments: &[&str]) -> Finished {
        run(&Program::Edge.path(), arguments, &self.environment(), &self.directory, "").await
    }

    /// The same for a command that may take `limit_ms`.
    pub async fn command_within(&self, limit_ms: u64, arguments: &[&str]) -> Finished {
        run_within(limit_ms, &Program::Edge.path(), arguments, &self.environment(), &self.directory, "").await
    }

    /// What `edge dump` prints.
    pub async fn dump(&self) -> String {
        self.command(&["dump"]).await.succeeded()
    }

    /// Runs statements on its file by the system's `sqlite3`, as any plain client would; returns what they print.
    ///
    /// # Panics
    /// When a statement fails.
    pub async fn sqlite(&self, statements: &str) -> String {
        self.try_sqlite(statements).await.succeeded().trim_end().to_owned()
    }

    /// The same for statements that may fail.
    pub async fn try_sqlite(&self, statements: &str) -> Finished {
        let file = self.data.join("edge.db").display().to_string();
        let arguments = ["-bail", "-batch", "-cmd", ".timeout 10000", &file];
        run(Path::new("sqlite3"), &arguments, &[], &self.directory, statements).await
    }

    /// The API for the person of the place, signed in by a token of `edge token`.
    pub async fn api(&self) -> &Api {
        self.api.get_or_init(async || self.api_of(self.place.person).await).await
    }

    /// The API for somebody else, as soon as the edge knows them.
    pub async fn api_of(&self, person: &str) -> Api {
        let token = eventually("the edge knows the person", async || {
            let finished = self.command(&["token", "--email", person]).await;
            if finished.code == Some(0) { Ok(finished.stdout) } else { Err(format!("{finished}\n{}", self.log())) }
        })
        .await;
        Api::new(self.port, Some(token.trim().to_owned()))
    }

    /// What it says of itself.
    pub async fn status(&self) -> Value {
        self.api().await.get("/sync/status").await.expect(200)
    }

    /// Waits until its status fits.
    pub async fn until_status(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        eventually(what, async || {
            let status = self.status().await;
            if fits(&status) { Ok(status) } else { Err(format!("{status}\n{}", self.log())) }
        })
        .await
    }

    /// Asks for an exchange now; the answer says nothing of how it went.
    pub async fn sync_now(&self) -> Answer {
        self.api().await.post("/sync/now", &serde_json::json!({})).await
    }

    /// Whether it says that it is in sync and that nothing waits.
    async fn assert_settled(&self) -> Result<(), String> {
        let status = self.status().await;
        let settled = status["in_sync"] == true && status["pending"] == 0 && status["state"] == "online";
        if settled { Ok(()) } else { Err(format!("{} says {status}\n{}", self.place.edge, self.log())) }
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join(format!("{}.log", self.place.edge))
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.process.lock().expect("no thread panics while it holds a process")
    }
}
