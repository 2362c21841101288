//! The command line of the hub: what may be said, and who carries it out.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use uuid::Uuid;

use super::config::Settings;
use crate::admin::{Failure, database, doctor, dump, edges, people, quarantine};

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
    #[command(after_help = "Example: HUB_LISTEN=0.0.0.0:7400 hub serve")]
    Serve {
        /// Where to listen, instead of HUB_LISTEN
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: Option<String>,
    },
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
    /// Look for what is wrong, and say what to do about it
    #[command(after_help = "Example: hub doctor --json")]
    Doctor(Json),
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
    match carry_out(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("hub: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

async fn carry_out(cli: Cli) -> Result<(), Failure> {
    let listen = match &cli.command {
        Command::Serve { listen } => listen.clone(),
        _ => None,
    };
    let flags = [("DATABASE_URL", cli.common.database_url), ("HUB_LISTEN", listen)];
    let flags = flags.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let directory = PathBuf::from(".");
    let settings = Settings::gather(flags, environment(), &directory, cli.common.config.as_deref())?;
    match cli.command {
        Command::Serve { .. } => super::run::serve(&settings.config()?).await,
        Command::Db(Db::Create { production }) => database::create(&settings.database()?, production).await,
        Command::Db(Db::Migrate(Migrate::Up(print))) => database::migrate(&settings.database()?, print.json).await,
        Command::Db(Db::Migrate(Migrate::Status(print))) => database::status(&settings.database()?, print.json).await,
        Command::Db(Db::Migrate(Migrate::Validate(print))) => {
            database::validate(&settings.database()?, print.json).await
        }
        Command::Db(Db::Seed(print)) => database::seed(&settings.database()?, print.json).await,
        Command::Db(Db::Doctor(print)) | Command::Doctor(print) => {
            doctor::examine(&settings.database()?, print.json).await
        }
        Command::Edge(Edge::Enroll { tenant, site, name, json }) => {
            edges::enroll(&settings.database()?, &tenant, &site, &name, json.json).await
        }
        Command::Edge(Edge::List(print)) => edges::list(&settings.database()?, print.json).await,
        Command::Edge(Edge::Show { edge, json }) => edges::show(&settings.database()?, &edge, json.json).await,
        Command::Edge(Edge::Revoke { edge, json }) => edges::revoke(&settings.database()?, &edge, json.json).await,
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

/// What is not text is none of our settings.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

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
