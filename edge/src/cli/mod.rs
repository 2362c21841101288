//! The edge's commands, one file each.
//!
//! Exit status: 0 done, 1 failed (one line on standard error, with its code at the end), 2 wrong usage. Data goes to standard output, everything
//! else to standard error.

mod answers;
mod backup;
mod break_glass;
pub mod codes;
mod completions;
mod conflicts;
mod doctor;
mod dump;
mod enroll;
mod error;
mod explain;
mod man;
mod openapi;
mod passphrase;
mod print;
mod quarantine;
mod restore;
mod serve;
mod status;
mod sync;
mod tables;
mod token;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use ::sync::wire::codes::ErrorCode;

use self::error::CliError;
use crate::config::{self, Config, Loaded, Settings};

/// The offline-first node of a site: mirrors its tenant, serves the people there, and exchanges with the hub.
#[derive(Debug, Parser)]
#[command(name = "edge", version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes. Each ranks above the environment, `.env` and the configuration file.
#[derive(Debug, Args)]
struct Options {
    /// The data directory [environment: EDGE_DATA] [default: ./edge-data]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The configuration file [default: edge.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Enroll(enroll::Arguments),
    Sync(sync::Arguments),
    Status(status::Arguments),
    Dump(dump::Arguments),
    Token(token::Arguments),
    Explain(explain::Arguments),
    Verify(verify::Arguments),
    Openapi(openapi::Arguments),
    Conflicts(conflicts::Arguments),
    Quarantine(quarantine::Arguments),
    BreakGlass(break_glass::Arguments),
    Doctor(doctor::Arguments),
    Backup(backup::Arguments),
    Restore(restore::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
    #[cfg(feature = "demo")]
    Demo(crate::demo::Arguments),
    #[cfg(feature = "demo")]
    #[command(hide = true)]
    DemoPart(crate::demo::PartArguments),
}

/// Runs the command of this process's arguments.
pub fn run() -> ExitCode {
    run_from(std::env::args_os().collect())
}

/// Runs the command of some arguments, the program's name first.
pub(crate) fn run_from(arguments: Vec<std::ffi::OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come here too, and are no failure.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match perform(cli) {
        Ok(code) => code,
        Err(error) => {
            let ErrorCode { code, status, .. } = *error.entry();
            eprintln!("edge: {} [{code}]", one_line(&error));
            ExitCode::from(u8::try_from(status).unwrap_or(1))
        }
    }
}

fn perform(cli: Cli) -> Result<ExitCode, CliError> {
    let Cli { options, command } = cli;
    let done = |()| ExitCode::SUCCESS;
    match command {
        Command::Serve(arguments) => serve::run(&options, arguments).map(done),
        Command::Enroll(arguments) => enroll::run(&options, arguments).map(done),
        Command::Sync(arguments) => sync::run(&options, arguments).map(done),
        Command::Status(arguments) => status::run(&options, arguments).map(done),
        Command::Dump(arguments) => dump::run(&options, arguments).map(done),
        Command::Token(arguments) => token::run(&options, arguments).map(done),
        Command::Explain(arguments) => explain::run(&options, arguments).map(done),
        Command::Verify(arguments) => verify::run(&options, arguments),
        Command::Openapi(arguments) => openapi::run(arguments).map(done),
        Command::Conflicts(arguments) => conflicts::run(&options, arguments).map(done),
        Command::Quarantine(arguments) => quarantine::run(&options, arguments).map(done),
        Command::BreakGlass(arguments) => break_glass::run(&options, arguments).map(done),
        Command::Doctor(arguments) => doctor::run(&options, arguments).map(done),
        Command::Backup(arguments) => backup::run(&options, arguments).map(done),
        Command::Restore(arguments) => restore::run(&options, arguments).map(done),
        Command::Completions(arguments) => completions::run(arguments).map(done),
        Command::Man(arguments) => man::run(arguments).map(done),
        #[cfg(feature = "demo")]
        Command::Demo(arguments) => Ok(crate::demo::run(arguments).map(done)?),
        #[cfg(feature = "demo")]
        Command::DemoPart(arguments) => Ok(crate::demo::run_part(arguments)?),
    }
}

impl Options {
    /// Puts the settings together.
    fn load(&self) -> Result<Config, CliError> {
        Ok(self.load_with(Settings::default())?.config)
    }

    /// Puts the settings together; `flags` are those that only one command has.
    fn load_with(&self, flags: Settings) -> Result<Loaded, CliError> {
        let flags = Settings { data: self.data.clone(), ..flags };
        let loaded = config::load(flags, self.config.as_deref())?;
        for remark in loaded.remarks() {
            eprintln!("edge: {remark}");
        }
        Ok(loaded)
    }
}

/// A runtime for one command.
fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CliError::Runtime)
}

fn one_line(error: &CliError) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
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
        let shown = |command: &clap::Command| -> Vec<clap::Command> {
            let shown = command.get_subcommands().filter(|command| command.get_name() != "help");
            shown.filter(|command| !command.is_hide_set()).cloned().collect()
        };
        let mut all = shown(&command);
        while let Some(command) = all.pop() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example:\n  "), "{}", command.get_name());
            all.extend(shown(&command));
        }
    }
}
