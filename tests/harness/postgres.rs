//! Throw-away PostgreSQL clusters: private, on loopback, gone when the test process is gone.
//!
//! A cluster is watched by a small shell process that holds nothing but the read end of a pipe. When the pipe closes,
//! because the [`Cluster`] was dropped or because the test process ended in any way at all (a static is never dropped,
//! a killed process drops nothing), the watcher stops the server and removes its directory.
//!
//! Every failure panics with what was tried and the server's own log: a test has no better use for it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, getuid, kill_process};
use sync::pg::schema;
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};

pub use past::{BaseBackup, Standby};

mod past;

/// The superuser of every cluster; there is no password.
pub const SUPERUSER: &str = "postgres";

const TEMPLATE_DATABASE: &str = "migrated";
const PORT_TRIES_MAX: u32 = 5;
const POLL_MS: u64 = 20;
const POLLS_MAX: u32 = 3_000;

/// Directories that have held the binaries on common systems, besides `PATH` and Debian's versioned ones.
const USUAL_DIRECTORIES: [&str; 3] =
    ["/opt/homebrew/opt/postgresql/bin", "/usr/local/opt/postgresql/bin", "/usr/pgsql/bin"];

/// What the watcher runs: it waits for the end of its input, then stops the server and removes the directory.
const WATCHER: &str =
    r#"cat >/dev/null; "$1/pg_ctl" -D "$2/data" -m immediate -t 10 stop >/dev/null 2>&1; rm -rf "$2""#;

/// A running PostgreSQL cluster of its own, listening on 127.0.0.1 and on a socket in its own directory.
pub struct Cluster {
    binaries: PathBuf,
    directory: PathBuf,
    port: u16,
    server: Mutex<Option<Child>>,
    watcher: Child,
    watched: Option<ChildStdin>,
}

impl Cluster {
    /// Starts a cluster that trades durability for speed: it survives no crash of the machine, which no test causes.
    pub fn start() -> Self {
        Self::start_with(&std::env::temp_dir(), "fsync = off\nfull_page_writes = off\n")
    }

    /// Starts a cluster that keeps what it acknowledged through [`Cluster::kill`] and a crash of the machine.
    pub fn start_durable() -> Self {
        Self::start_durable_in(&std::env::temp_dir())
    }

    /// The same in a directory of the caller's choice, which every user may write.
    pub fn start_durable_in(parent: &Path) -> Self {
        Self::start_with(parent, "fsync = on\n")
    }

    fn start_with(parent: &Path, settings: &str) -> Self {
        let binaries = find_binaries();
        let directory = new_directory(parent);
        let (watcher, watched) = watch(&binaries, &directory);
        let mut cluster =
            Self { binaries, directory, port: 0, server: Mutex::new(None), watcher, watched: Some(watched) };
        cluster.initialize(settings);
        for _ in 0..PORT_TRIES_MAX {
            cluster.choose_port();
            if cluster.try_start() {
                return cluster;
            }
        }
        panic!("postgresql did not start on any of {PORT_TRIES_MAX} free ports; its log says:\n{}", cluster.log());
    }

    /// The URL of a database of this cluster, for the superuser.
    pub fn url(&self, database: &str) -> String {
        self.url_as(SUPERUSER, database)
    }

    /// The URL of a database of this cluster, for any role that may log in; nobody has a password.
    pub fn url_as(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{database}", self.port)
    }

    /// The TCP port on 127.0.0.1. It stays the same through [`Cluster::start_again`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Creates an empty database.
    pub async fn create_database(&self, name: &str) {
        let client = self.connect("postgres").await;
        let statement = format!("create database \"{name}\"");
        client.batch_execute(&statement).await.unwrap_or_else(|error| panic!("create database {name}: {error:?}"));
    }

    /// A connection as superuser; the task that drives it lives on the caller's runtime.
    pub async fn connect(&self, database: &str) -> Client {
        connect(&self.url(database)).await
    }

    /// Kills the server without warning (SIGKILL) and returns when none of its processes is left.
    pub fn kill(&self) {
        let postmaster = self.postmaster().expect("a cluster that is killed was running");
        let mut family = children_of(postmaster);
        family.push(postmaster);
        let pid = Pid::from_raw(postmaster).expect("a process id is positive");
        kill_process(pid, Signal::KILL).unwrap_or_else(|error| panic!("kill postmaster {postmaster}: {error}"));
        for _ in 0..POLLS_MAX {
            if !any_alive(&family) {
                self.reap();
                return;
            }
            thread::park_timeout(Duration::from_millis(POLL_MS));
        }
        panic!("processes of the killed cluster are still there: {family:?}");
    }

    /// Starts the server again after [`Cluster::kill`], on the same port and data, and waits for its recovery.
    pub fn start_again(&self) {
        assert!(self.try_start(), "postgresql did not start again; its log says:\n{}", self.log());
    }

    /// Starts the server again if it has given up by itself.
    pub fn revive(&self) {
        if !self.accepts_connections() {
            self.reap();
            self.start_again();
        }
    }

    fn initialize(&self, settings: &str) {
        let data = self.directory.join("data");
        let arguments = [
            OsStr::new("--pgdata"),
            data.as_os_str(),
            OsStr::new("--username"),
            OsStr::new(SUPERUSER),
            OsStr::new("--auth=trust"),
            OsStr::new("--encoding=UTF8"),
            OsStr::new("--locale=C.UTF-8"),
            OsStr::new("--no-sync"),
            OsStr::new("--no-instructions"),
        ];
        let output = run(self.program("initdb").args(arguments));
        assert!(output.status.success(), "initdb in {}: {}", data.display(), text(&output.stderr));
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\nmax_connections = 200\n\
             log_line_prefix = '%m [%p] %d '\nmax_wal_size = '256MB'\n{settings}",
            self.directory.display()
        );
        self.append_settings(&settings);
    }

    fn choose_port(&mut self) {
        self.port = free_port();
        self.append_settings(&format!("port = {}\n", self.port));
    }

    /// `tee` writes the file because the test, which may be root's, need not own the directory; the last line wins.
    fn append_settings(&self, settings: &str) {
        self.append(&self.directory.join("data"), settings);
    }

    fn append(&self, data: &Path, settings: &str) {
        let mut tee = as_server_user("tee")
            .arg("-a")
            .arg(data.join("postgresql.conf"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("tee exists on every system with a shell");
        let mut input = tee.stdin.take().expect("the input was asked for");
        input.write_all(settings.as_bytes()).expect("tee reads what it is given");
        drop(input);
        assert!(tee.wait().expect("tee is our child").success(), "could not write postgresql.conf");
    }

    /// Starts the server as our own child. `pg_ctl start` would leave it to process 1, which in a container may never reap
    /// it; a dead postmaster that is still in the process table keeps the next one from starting.
    fn try_start(&self) -> bool {
        let log = fs::File::options().append(true).create(true).open(self.directory.join("log")).expect("open the log");
        let mut server = self
            .program("postgres")
            .arg("-D")
            .arg(self.directory.join("data"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file handle can be cloned"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("start postgres: {error}"));
        for _ in 0..POLLS_MAX {
            if self.accepts_connections() {
                *self.server.lock().expect("no thread panics while it holds the server") = Some(server);
                return true;
            }
            if server.try_wait().expect("the server is our child").is_some() {
                return false;
            }
            thread::park_timeout(Duration::from_millis(POLL_MS));
        }
        panic!("postgresql accepts no connection; its log says:\n{}", self.log());
    }

    /// Speaks to the server rather than to its port alone: a server that is still recovering takes a connection to refuse it.
    fn accepts_connections(&self) -> bool {
        self.accepts_connections_at(self.port)
    }

    fn url_at(&self, port: u16) -> String {
        format!("postgres://{SUPERUSER}@127.0.0.1:{port}/postgres")
    }

    fn accepts_connections_at(&self, port: u16) -> bool {
        let url = self.url_at(port);
        thread::scope(|scope| {
            // A thread of its own, because the caller may be inside a runtime, which cannot block on another one.
            let attempt = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.expect("a runtime needs only a few file handles");
                runtime.block_on(async { tokio_postgres::connect(&url, NoTls).await.is_ok() })
            });
            attempt.join().expect("the attempt returns its failure")
        })
    }

    fn reap(&self) {
        let server = self.server.lock().expect("no thread panics while it holds the server").take();
        if let Some(mut server) = server {
            server.wait().expect("the server is our child");
        }
    }

    fn postmaster(&self) -> Option<i32> {
        let file = fs::read_to_string(self.directory.join("data/postmaster.pid")).ok()?;
        file.lines().next()?.trim().parse().ok()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_else(|error| format!("(no log: {error})"))
    }

    /// A program of PostgreSQL: beside the server's, which may be links that lack some, else where it is installed.
    pub fn program_path(&self, name: &str) -> PathBuf {
        let beside = std::iter::once(self.binaries.clone());
        let found =
            beside.chain(versioned_directories()).map(|directory| directory.join(name)).find(|path| path.exists());
        found.unwrap_or_else(|| PathBuf::from(name))
    }

    fn program(&self, name: &str) -> Command {
        as_server_user(self.program_path(name))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.watched.take());
        // Dropping may happen while a failed test unwinds; a second panic would hide the first one's message.
        if let Err(error) = self.watcher.wait() {
            eprintln!("the watcher of {} was lost: {error}", self.directory.display());
        }
        self.reap();
    }
}

/// The one cluster that the tests of a process share. It ends with the process.
pub fn shared_cluster() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(Cluster::start)
}

/// A connection to a database by its URL; the task that drives it lives on the caller's runtime.
pub async fn connect(url: &str) -> Client {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.unwrap_or_else(|error| panic!("connect to {url}: {error:?}"));
    // A test that kills its server expects the connection to end with an error.
    tokio::spawn(async move { drop(connection.await) });
    client
}

/// An empty database of the shared cluster: its name, for [`Cluster::connect`] and [`Cluster::url`].
pub async fn empty_database() -> String {
    let name = next_database_name();
    shared_cluster().create_database(&name).await;
    name
}

/// A database of the shared cluster with the central schema, empty of rows: its name, for [`Cluster::connect`] and
/// [`Cluster::url`]. It is a copy of one that was migrated once, because a copy takes a tenth of the time.
pub async fn fresh_database() -> String {
    static TEMPLATE: OnceCell<()> = OnceCell::const_new();
    TEMPLATE.get_or_init(make_template).await;
    let name = next_database_name();
    let statement = format!("create database \"{name}\" template \"{TEMPLATE_DATABASE}\"");
    let client = shared_cluster().connect("postgres").await;
    client.batch_execute(&statement).await.unwrap_or_else(|error| panic!("copy the migrated database: {error:?}"));
    name
}

/// Everything that a database has before its first row. It ends disconnected: nobody may be in a template that is copied.
async fn make_template() {
    shared_cluster().create_database(TEMPLATE_DATABASE).await;
    let (mut client, connection) = tokio_postgres::connect(&shared_cluster().url(TEMPLATE_DATABASE), NoTls)
        .await
        .unwrap_or_else(|error| panic!("connect to the template: {error:?}"));
    let connection = tokio::spawn(connection);
    schema::migrate(&mut client).await.unwrap_or_else(|error| panic!("migrate the template: {error:?}"));
    drop(client);
    connection.await.expect("the connection's task ends by itself").expect("the connection closes in order");
    disconnected().await;
}

/// The server notices a closed connection a moment after the client has closed it.
async fn disconnected() {
    let client = shared_cluster().connect("postgres").await;
    let statement = "select count(*) from pg_stat_activity where datname = $1";
    for _ in 0..POLLS_MAX {
        let row = client.query_one(statement, &[&TEMPLATE_DATABASE]).await.expect("the statement is valid");
        if row.get::<_, i64>(0) == 0 {
            return;
        }
    }
    panic!("the template database is still in use");
}

fn next_database_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn find_binaries() -> PathBuf {
    if let Some(named) = std::env::var_os("PG_BIN") {
        let named = PathBuf::from(named);
        assert!(holds_server(&named), "PG_BIN is {}, which has no initdb and pg_ctl", named.display());
        return named;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(versioned_directories())
        .chain(USUAL_DIRECTORIES.iter().map(PathBuf::from))
        .find(|directory| holds_server(directory))
        .expect("PostgreSQL's initdb and pg_ctl must be installed, or PG_BIN must name their directory")
}

fn holds_server(directory: &Path) -> bool {
    ["initdb", "pg_ctl", "postgres"].iter().all(|program| directory.join(program).is_file())
}

/// Debian keeps one directory a major version; the newest comes first.
fn versioned_directories() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir("/usr/lib/postgresql") else { return Vec::new() };
    let mut versions: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, directory)| directory).collect()
}

/// Makes the cluster's directory as the user who will own it: PostgreSQL refuses to run in another's, and as root.
fn new_directory(parent: &Path) -> PathBuf {
    let pattern = parent.join(format!("waystation-pg-{}", "X".repeat(6)));
    let output = run(as_server_user("mktemp").arg("-d").arg(&pattern));
    assert!(output.status.success(), "mktemp -d {}: {}", pattern.display(), text(&output.stderr));
    PathBuf::from(text(&output.stdout).trim_end())
}

fn watch(binaries: &Path, directory: &Path) -> (Child, ChildStdin) {
    let mut watcher = as_server_user("sh")
        .args(["-c", WATCHER, "watcher"])
        .arg(binaries)
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C ends the test's process group; the watcher must outlive it to clean up.
        .process_group(0)
        .spawn()
        .expect("sh exists");
    let watched = watcher.stdin.take().expect("the input was asked for");
    (watcher, watched)
}

/// A command run by the user who may own a server: `postgres` when we are root, ourselves otherwise.
fn as_server_user(program: impl Into<OsString>) -> Command {
    let program = program.into();
    let mut command = if getuid().is_root() {
        let mut command = Command::new("runuser");
        command.args([OsStr::new("-u"), OsStr::new(SUPERUSER), OsStr::new("--"), &program]);
        command
    } else {
        Command::new(program)
    };
    // The other user may not enter the current directory, and PostgreSQL's programs complain about that.
    command.current_dir("/");
    command
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("run {command:?}: {error}"))
}

/// A port that was free a moment ago; the caller tries another one when somebody was faster.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    listener.local_addr().expect("a bound listener has an address").port()
}

fn children_of(parent: i32) -> Vec<i32> {
    processes().into_iter().filter(|process| process.parent == parent).map(|process| process.pid).collect()
}

/// A zombie counts as gone: it holds no file and no memory, and in a container nobody may ever reap it.
fn any_alive(pids: &[i32]) -> bool {
    processes().iter().any(|process| pids.contains(&process.pid) && !process.zombie)
}

struct Process {
    pid: i32,
    parent: i32,
    zombie: bool,
}

fn processes() -> Vec<Process> {
    let output = run(Command::new("ps").args(["-A", "-o", "pid=", "-o", "ppid=", "-o", "stat="]));
    assert!(output.status.success(), "ps: {}", text(&output.stderr));
    text(&output.stdout)
        .lines()
        .map(|line| {
            let mut words = line.split_whitespace();
            let mut number =
                || words.next().and_then(|word| word.parse().ok()).expect("ps prints what it was asked for");
            let (pid, parent) = (number(), number());
            let zombie = words.next().is_some_and(|state| state.starts_with('Z'));
            Process { pid, parent, zombie }
        })
        .collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
