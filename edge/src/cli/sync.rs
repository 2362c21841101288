//! `edge sync`: one exchange now, with its progress.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::error::CliError;
use super::{Options, answers, print, runtime};
use crate::control::Request;
use crate::sync_handle::Progress;

/// Exchanges with the hub now, and fails if that does not complete.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  edge sync && edge dump > mirror.ndjson")]
pub(super) struct Arguments {
    /// Print one JSON object at the end
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(options: &Options, arguments: Arguments) -> Result<(), CliError> {
    let config = options.load()?;
    let mut shown = Shown::new();
    let mut last = Progress::default();
    let exchanged = runtime()?.block_on(answers::ask(config, Request::Sync, |progress| {
        shown.show(progress);
        last = progress;
    }));
    shown.clear();
    exchanged?;
    let Progress { rows_pushed, rows_pulled, .. } = last;
    if arguments.json {
        return print::json(&serde_json::json!({ "rows_pushed": rows_pushed, "rows_pulled": rows_pulled }));
    }
    print::text(&format!("in sync: {rows_pushed} rows sent, {rows_pulled} rows received\n"))
}

/// A bar on a terminal, a line now and then elsewhere.
struct Shown {
    bar: ProgressBar,
    is_terminal: bool,
    line: String,
}

impl Shown {
    fn new() -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if is_terminal {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Self { bar, is_terminal, line: String::new() }
    }

    fn show(&mut self, progress: Progress) {
        let line = words(progress);
        if !self.is_terminal {
            if line != self.line {
                eprintln!("{line}");
            }
        } else if let Some(goal) = progress.rows_pulled_goal {
            self.bar.set_style(style("{msg} [{wide_bar}] {percent}% {eta}"));
            self.bar.set_length(goal.max(progress.rows_pulled));
            self.bar.set_position(progress.rows_pulled);
            self.bar.set_message("receiving");
        } else {
            self.bar.set_style(style("{spinner} {msg}"));
            self.bar.set_message(line.clone());
        }
        self.line = line;
    }

    fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn words(progress: Progress) -> String {
    let Progress { rows_pushed, rows_pulled, rows_pulled_goal } = progress;
    let goal = rows_pulled_goal.map(|goal| format!(" of about {goal}")).unwrap_or_default();
    format!("{rows_pushed} rows sent, {rows_pulled}{goal} received")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
