//! The command line of the hub: what may be said, and who carries it out.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use uuid::Uuid;

use super::config::Settings;
use crate::admin::{
    Failure, ca, database, doctor, dump, edges, maintain, people, print_line, quarantine, recover, verify,
};
use crate::wire::codes::ErrorCode;

/// The hub of Waystation: stands before the central database and tends it.
#[derive(Debug, Parser)]
#[command(name = "hub", version, after_help = "Example: hub db create && hub db migrate up && hub serve")]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Common {
    /// The settings file [default: hub.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The central database, instead of DATABASE_URL
    #[arg(long, global = true, value_name = "URL")]
    database_url: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve edges until SIGTERM or ctrl-c
    #[command(
        after_help = "Example: hub serve --listen 0.0.0.0:7400 --tls-cert hub-tls/hub.crt --tls-key hub-tls/hub.key"
    )]
    Serve {
        /// Where to listen, instead of HUB_LISTEN
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: Option<String>,
        /// The certificate to serve TLS with, in PEM form, instead of HUB_TLS_CERT
        #[arg(long, value_name = "FILE")]
        tls_cert: Option<String>,
        /// Its private key, instead of HUB_TLS_KEY
        #[arg(long, value_name = "FILE")]
        tls_key: Option<String>,
        /// The certificate of the CA of the edges' own pages, with its key beside it, instead of HUB_PAGES_CA
        #[arg(long, value_name = "FILE")]
        pages_ca: Option<String>,
        /// Serve without TLS where other machines reach it, as HUB_PLAIN_HTTP=true does
        #[arg(long)]
        plain_http: bool,
    },
    /// Make the certificate that the hub shows to edges, signed by a CA of your own
    #[command(subcommand, after_help = "Example: hub ca init --name hub.example.com")]
    Ca(Ca),
    /// Tend the central database
    #[command(subcommand, after_help = "Example: hub db migrate up")]
    Db(Db),
    /// Enroll and revoke edges
    #[command(subcommand, after_help = "Example: hub edge list")]
    Edge(Edge),
    /// Tend people's sign-in at sites
    #[command(subcommand, after_help = "Example: echo 271828 | hub user set-pin operator@acme-corp.com")]
    User(User),
    /// Decide about rows that were refused
    #[command(subcommand, after_help = "Example: hub quarantine list")]
    Quarantine(Quarantine),
    /// Print a tenant's rows as its edges hold them
    #[command(after_help = "Example: hub dump --tenant acme-corp --table tasks")]
    Dump {
        /// The tenant's slug
        #[arg(long, value_name = "SLUG")]
        tenant: String,
        /// One table only
        #[arg(long, value_name = "TABLE")]
        table: Option<String>,
        /// Rows are printed as JSON in any case
        #[arg(long)]
        json: bool,
    },
    /// Decide about rows that only edges still hold after the centre was restored
    #[command(subcommand, after_help = "Example: hub recover list")]
    Recover(Recover),
    /// Compare a running edge with the centre; exit 1 if rows differed, which are named and repaired
    #[command(after_help = "Example: hub verify hq-1 --json")]
    Verify {
        /// The edge's name
        edge: String,
        #[command(flatten)]
        json: Json,
    },
    /// Look for what is wrong, and say what to do about it
    #[command(after_help = "Example: hub doctor --json")]
    Doctor(Json),
    /// Print the completions for a shell
    #[command(after_help = "Example: hub completions bash > /etc/bash_completion.d/hub")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or write one page for each command
    #[command(after_help = "Example: hub man --dir /usr/local/share/man/man1")]
    Man {
        /// Write a page for each command into this directory, which is made if it is missing
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
enum Ca {
    /// Make a CA, good for ten years, and a certificate and key for the hub, good for two; nothing is overwritten
    #[command(after_help = "Example: hub ca init --name hub.example.com 192.0.2.7")]
    Init(Made),
    /// Make the hub's certificate anew, from the CA that is there
    #[command(after_help = "Example: hub ca issue --dir hub-tls")]
    Issue(Made),
    /// Make a CA for the edges' own pages beside the other files, if there is none
    #[command(after_help = "Example: hub ca pages --domain sites.acme.example")]
    Pages {
        /// The directory of pages-ca.crt and pages-ca.key
        #[arg(long, value_name = "DIR", default_value = ca::DIRECTORY)]
        dir: PathBuf,
        /// Domains of your own in which boxes have names, beside local, lan, internal and home.arpa
        #[arg(long, value_name = "DOMAIN", num_args = 1..)]
        domain: Vec<String>,
        #[command(flatten)]
        json: Json,
    },
}

#[derive(Debug, Args)]
struct Made {
    /// The directory of ca.crt, ca.key, hub.crt and hub.key
    #[arg(long, value_name = "DIR", default_value = ca::DIRECTORY)]
    dir: PathBuf,
    /// The names and addresses under which edges reach the hub [default: those of the certificate that is there, or this
    /// machine's]
    #[arg(long, value_name = "HOSTNAME_OR_IP", num_args = 1..)]
    name: Vec<String>,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Subcommand)]
enum Db {
    /// Create the database that is configured
    #[command(after_help = "Example: DB_NAME=waystation hub db create")]
    Create {
        /// Ask for the care that a production database needs
        #[arg(long)]
        production: bool,
    },
    /// Bring the schema up to date, or look how it stands
    #[command(subcommand, after_help = "Example: hub db migrate up")]
    Migrate(Migrate),
    /// Insert the sample data; a second run changes nothing
    #[command(after_help = "Example: hub db seed --json")]
    Seed(Json),
    /// Forget dead rows that every edge knows of, mark edges that were silent too long; a running hub does it every hour
    #[command(after_help = "Example: hub db maintain --json")]
    Maintain(Json),
    /// The same as `hub doctor`
    #[command(after_help = "Example: hub db doctor")]
    Doctor(Json),
}

#[derive(Debug, Subcommand)]
enum Migrate {
    /// Apply what is pending, then install the capture triggers
    #[command(after_help = "Example: hub db migrate up --json")]
    Up(Json),
    /// List what ran and what is pending
    #[command(after_help = "Example: hub db migrate status --json")]
    Status(Json),
    /// Compare what ran with this program's files; exit 1 if they differ
    #[command(after_help = "Example: hub db migrate validate")]
    Validate(Json),
}

#[derive(Debug, Subcommand)]
enum Edge {
    /// Issue a one-time code for a new edge, good for 15 minutes
    #[command(after_help = "Example: hub edge enroll --tenant acme-corp --site headquarters --name hq-1")]
    Enroll {
        /// The tenant's slug
        #[arg(long, value_name = "SLUG")]
        tenant: String,
        /// The site's name, in any case, or id
        #[arg(long, value_name = "SITE")]
        site: String,
        /// The new edge's name, unique at this hub
        #[arg(long, value_name = "EDGE")]
        name: String,
        #[command(flatten)]
        json: Json,
    },
    /// List all edges
    #[command(after_help = "Example: hub edge list --json")]
    List(Json),
    /// Show one edge
    #[command(after_help = "Example: hub edge show hq-1 --json")]
    Show {
        /// The edge's name
        edge: String,
        #[command(flatten)]
        json: Json,
    },
    /// Refuse an edge's credential from now on
    #[command(after_help = "Example: hub edge revoke hq-1")]
    Revoke {
        /// The edge's name
        edge: String,
        #[command(flatten)]
        json: Json,
    },
}

#[derive(Debug, Subcommand)]
enum Recover {
    /// List them
    #[command(after_help = "Example: hub recover list --json")]
    List(Json),
    /// Write a row again as the edge holds it, as a write of the centre
    #[command(after_help = "Example: hub recover accept --all")]
    Accept(Chosen),
    /// Leave the centre as it is
    #[command(after_help = "Example: hub recover discard --all")]
    Discard(Chosen),
}

#[derive(Debug, Args)]
struct Chosen {
    /// The entry's id
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    id: Option<Uuid>,
    /// Every entry
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Subcommand)]
enum Quarantine {
    /// List what was refused, each with its reason
    #[command(after_help = "Example: hub quarantine list --json")]
    List(Json),
    /// Take a refused row after all, as it came or with some columns written over
    #[command(
        after_help = "Example: hub quarantine release 0b5cf6a4-8f9c-5b0e-9d51-6f0b3f2d7c11 --set serial_number=PT-200"
    )]
    Release {
        /// The entry's id
        id: Uuid,
        /// Write a column over; `null` empties it
        #[arg(long, value_name = "COLUMN=VALUE")]
        set: Vec<String>,
        #[command(flatten)]
        json: Json,
    },
    /// Give a refused row up: its site takes what the centre has
    #[command(after_help = "Example: hub quarantine discard 0b5cf6a4-8f9c-5b0e-9d51-6f0b3f2d7c11")]
    Discard {
        /// The entry's id
        id: Uuid,
        #[command(flatten)]
        json: Json,
    },
}

#[derive(Debug, Subcommand)]
enum User {
    /// Set the PIN or passphrase, read from standard input, with which a person signs in at sites
    #[command(after_help = "Example: echo 271828 | hub user set-pin operator@acme-corp.com --site warehouse")]
    SetPin {
        /// The person's e-mail address
        email: String,
        /// At this site only, by name or id
        #[arg(long, value_name = "SITE")]
        site: Option<String>,
        #[command(flatten)]
        json: Json,
    },
}

#[derive(Clone, Copy, Debug, Args)]
struct Json {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command line, program name first, and says how it ended: 0 done, 1 failed, 2 not understood.
pub async fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output and is no failure. A closed output is nobody's to tell.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    if let Some(paper) = paper(&cli.command) {
        return ended(paper);
    }
    ended(carry_out(cli).await)
}

fn ended(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let ErrorCode { code, status, .. } = *failure.entry();
            eprintln!("hub: {failure} [{code}]");
            ExitCode::from(u8::try_from(status).unwrap_or(1))
        }
    }
}

/// Completions and manual pages, which need no settings; `None` for the other commands.
fn paper(command: &Command) -> Option<Result<(), Failure>> {
    let mut page = Vec::new();
    match command {
        Command::Completions { shell } => clap_complete::generate(*shell, &mut Cli::command(), "hub", &mut page),
        Command::Man { dir: Some(dir) } => {
            let written = std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(Cli::command(), dir));
            let failed = |error| {
                Failure::Input(format!("cannot write manual pages to {}: {error}; give another --dir", dir.display()))
            };
            return Some(written.map_err(failed));
        }
        Command::Man { dir: None } => {
            if let Err(error) = clap_mangen::Man::new(Cli::command()).render(&mut page) {
                return Some(Err(error.into()));
            }
        }
        _ => return None,
    }
    Some(print_line(String::from_utf8_lossy(&page).trim_end()))
}

async fn carry_out(cli: Cli) -> Result<(), Failure> {
    let flags = cli.command.flags().into_iter().chain([("DATABASE_URL", cli.common.database_url)]);
    let flags = flags.filter_map(|(name, value)| Some((name, value?)));
    let directory = PathBuf::from(".");
    let settings = Settings::gather(flags, environment(), &directory, cli.common.config.as_deref())?;
    for remark in settings.remarks() {
        eprintln!("hub: {remark}");
    }
    match cli.command {
        // They were printed before any setting was read.
        Command::Completions { .. } | Command::Man { .. } => Ok(()),
        Command::Serve { .. } => super::run::serve(&settings.config()?).await,
        Command::Ca(Ca::Init(Made { dir, name, json })) => ca::init(&dir, &name, json.json),
        Command::Ca(Ca::Issue(Made { dir, name, json })) => ca::issue(&dir, &name, json.json),
        Command::Ca(Ca::Pages { dir, domain, json }) => ca::pages(&dir, &domain, json.json),
        Command::Db(Db::Create { production }) => database::create(&settings.database()?, production).await,
        Command::Db(Db::Migrate(Migrate::Up(print))) => database::migrate(&settings.database()?, print.json).await,
        Command::Db(Db::Migrate(Migrate::Status(print))) => database::status(&settings.database()?, print.json).await,
        Command::Db(Db::Migrate(Migrate::Validate(print))) => {
            database::validate(&settings.database()?, print.json).await
        }
        Command::Db(Db::Seed(print)) => database::seed(&settings.database()?, print.json).await,
        Command::Db(Db::Maintain(print)) => maintain::maintain(&settings.database()?, print.json).await,
        Command::Db(Db::Doctor(print)) | Command::Doctor(print) => {
            doctor::examine(&settings.database()?, settings.tls()?.as_ref(), print.json).await
        }
        Command::Edge(Edge::Enroll { tenant, site, name, json }) => {
            edges::enroll(&settings.database()?, &tenant, &site, &name, json.json).await
        }
        Command::Edge(Edge::List(print)) => edges::list(&settings.database()?, print.json).await,
        Command::Edge(Edge::Show { edge, json }) => edges::show(&settings.database()?, &edge, json.json).await,
        Command::Edge(Edge::Revoke { edge, json }) => edges::revoke(&settings.database()?, &edge, json.json).await,
        Command::Recover(Recover::List(print)) => recover::list(&settings.database()?, print.json).await,
        Command::Recover(Recover::Accept(chosen)) => {
            recover::decide(&settings.database()?, recover::Decision::Accept, chosen.id, chosen.json.json).await
        }
        Command::Recover(Recover::Discard(chosen)) => {
            recover::decide(&settings.database()?, recover::Decision::Discard, chosen.id, chosen.json.json).await
        }
        Command::Verify { edge, json } => verify::run(&settings.database()?, &edge, json.json).await,
        Command::User(User::SetPin { email, site, json }) => {
            people::set_pin(&settings.database()?, &email, site.as_deref(), json.json).await
        }
        Command::Quarantine(Quarantine::List(print)) => quarantine::list(&settings.database()?, print.json).await,
        Command::Quarantine(Quarantine::Release { id, set, json }) => {
            quarantine::release(&settings.database()?, id, &set, json.json).await
        }
        Command::Quarantine(Quarantine::Discard { id, json }) => {
            quarantine::discard(&settings.database()?, id, json.json).await
        }
        Command::Dump { tenant, table, .. } => dump::print(&settings.database()?, &tenant, table.as_deref()).await,
    }
}

impl Command {
    /// The settings that it was given, by the names of the environment.
    fn flags(&self) -> Vec<(&'static str, Option<String>)> {
        match self {
            Self::Serve { listen, tls_cert, tls_key, pages_ca, plain_http } => vec![
                ("HUB_LISTEN", listen.clone()),
                ("HUB_TLS_CERT", tls_cert.clone()),
                ("HUB_TLS_KEY", tls_key.clone()),
                ("HUB_PAGES_CA", pages_ca.clone()),
                ("HUB_PLAIN_HTTP", plain_http.then(|| "true".to_owned())),
            ],
            _ => Vec::new(),
        }
    }
}

/// What is not text is none of our settings.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_command_has_an_example() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        let mut all = vec![command];
        while let Some(command) = all.pop() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example: ") || command.get_name() == "help", "{}", command.get_name());
            all.extend(command.get_subcommands().filter(|command| command.get_name() != "help").cloned());
        }
    }
}
