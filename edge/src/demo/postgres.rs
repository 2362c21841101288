//! Finds PostgreSQL's own programs and makes a private cluster with them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command as Blocking;

use super::DemoError;
use super::part::{self, Part};

/// Directories that hold the programs on common systems, besides `PATH` and Debian's versioned ones.
const USUAL_DIRECTORIES: [&str; 6] = [
    "/opt/homebrew/opt/postgresql/bin",
    "/usr/local/opt/postgresql/bin",
    "/opt/homebrew/bin",
    "/usr/local/bin",
    "/usr/local/pgsql/bin",
    "/usr/pgsql/bin",
];
/// Folders with one directory for each major version.
const VERSIONED: [&str; 3] = ["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"];
/// Who may own a server when root starts the demo: PostgreSQL refuses to run as root.
const SERVER_USERS: [&str; 2] = ["postgres", "nobody"];
const ROLE: &str = "waystation";
const DATABASE: &str = "waystation";

/// A cluster that runs.
#[derive(Debug)]
pub(super) struct Cluster {
    /// Where to reach its database.
    pub(super) url: String,
    /// The process that keeps it, and the demo's directory.
    pub(super) keeper: Part,
}

/// The directory of PostgreSQL's programs; `None` when it is not installed.
///
/// # Errors
/// [`DemoError::PgBin`] when `PG_BIN` names a directory without them.
pub(super) fn find() -> Result<Option<PathBuf>, DemoError> {
    if let Some(named) = std::env::var_os("PG_BIN") {
        let named = PathBuf::from(named);
        return if holds_server(&named) { Ok(Some(named)) } else { Err(DemoError::PgBin { path: named }) };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path)
        .chain(VERSIONED.iter().flat_map(|folder| versions(Path::new(folder))))
        .chain(USUAL_DIRECTORIES.iter().map(PathBuf::from));
    Ok(directories.into_iter().find(|directory| holds_server(directory)))
}

/// Makes a cluster in `directory`, or takes the one that a former demo left there, and starts it on a free port.
/// `remove` is what its keeper removes at the end.
///
/// # Errors
/// [`DemoError`].
pub(super) async fn start(
    programs: &Path,
    directory: &Path,
    logs: &Path,
    port: u16,
    password: &str,
    remove: Option<&Path>,
) -> Result<Cluster, DemoError> {
    let owner = owner()?;
    let data = directory.join("data");
    if !data.join("PG_VERSION").exists() {
        initialize(programs, directory, &data, owner, password)?;
    }
    let mut command = part::command("keep", logs)?;
    command.stdout(std::process::Stdio::piped()).arg("--data").arg(&data);
    if let Some(remove) = remove {
        command.arg("--remove").arg(remove);
    }
    if let Some((user, group)) = owner {
        command.args(["--owner", &user.to_string(), &group.to_string()]);
    }
    command.arg("--").arg(programs.join("postgres")).arg("-D").arg(&data);
    let settings = [
        format!("port={port}"),
        "listen_addresses=127.0.0.1".to_owned(),
        "unix_socket_directories=".to_owned(),
        "max_connections=100".to_owned(),
        // A demo that removes itself has nothing to lose in a power failure.
        format!("fsync={}", if remove.is_some() { "off" } else { "on" }),
    ];
    for setting in settings {
        command.arg("-c").arg(setting);
    }
    let mut keeper = Part::start("postgresql", command, logs)?;
    keeper.ready().await?;
    Ok(Cluster { url: format!("postgres://{ROLE}:{password}@127.0.0.1:{port}/{DATABASE}"), keeper })
}

fn initialize(
    programs: &Path,
    directory: &Path,
    data: &Path,
    owner: Option<(u32, u32)>,
    password: &str,
) -> Result<(), DemoError> {
    let failed = |reason: String| DemoError::Part { name: "initdb".to_owned(), reason };
    let system = |error: std::io::Error| failed(format!("{}: {error}", directory.display()));
    let secret = directory.join("initial-password");
    fs::create_dir_all(directory).map_err(system)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).map_err(system)?;
    fs::write(&secret, password).map_err(system)?;
    if let Some((user, group)) = owner {
        chown(directory, Some(user), Some(group)).map_err(system)?;
        chown(&secret, Some(user), Some(group)).map_err(system)?;
    }
    let mut initdb = as_owner(programs.join("initdb"), owner);
    initdb.arg("--pgdata").arg(data).args(["--username", ROLE, "--auth=scram-sha-256"]).arg("--pwfile").arg(&secret);
    initdb.args(["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]);
    let output = initdb.output().map_err(system)?;
    fs::remove_file(&secret).map_err(system)?;
    if !output.status.success() {
        return Err(failed(format!(
            "in {}: {} (may the user of the server enter that directory?)",
            data.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    Ok(())
}

/// A command run as the server's owner, in a directory that everybody may enter.
fn as_owner(program: impl Into<OsString>, owner: Option<(u32, u32)>) -> Blocking {
    use std::os::unix::process::CommandExt as _;
    let mut command = Blocking::new(program.into());
    command.current_dir("/");
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    command
}

/// The user and group to run the server as; `None` for ourselves.
fn owner() -> Result<Option<(u32, u32)>, DemoError> {
    if !rustix::process::getuid().is_root() {
        return Ok(None);
    }
    let id = |kind: &str, user: &str| -> Option<u32> {
        let output = Blocking::new("id").args([kind, user]).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    let found = SERVER_USERS.iter().find_map(|user| id("-u", user).zip(id("-g", user)));
    found.map(Some).ok_or(DemoError::NoServerUser)
}

fn holds_server(directory: &Path) -> bool {
    ["initdb", "postgres"].iter().all(|program| directory.join(program).is_file())
}

/// The `bin` directories below a folder with one directory for each version, the newest first.
fn versions(folder: &Path) -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = name.to_str()?.trim_start_matches("postgresql@").parse().ok()?;
            Some((version, entry.path().join(OsStr::new("bin"))))
        })
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, directory)| directory).collect()
}
