//! What our paths cost beside the physical floor: `./tests/bench [--rows N] [--rounds N] [W1 ...]`.
//!
//! A floor is a program of this bench that does only what physics demands: COPY into prepared inserts, or the reverse; no
//! versions, no checks. It runs on the same rows, in the same run, in turn with ours, each with its durability on.
//! `docs/benchmarks.md` holds the figures and says what each of them is.

mod capture;
mod changes;
mod figures;
mod floor;
mod hydrate;
mod live;
mod rows;
mod size;
mod stand;
mod writes;

use std::process::ExitCode;

use figures::Figure;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Scale {
    /// Tasks of the tenant.
    tasks: usize,
    /// How often each of the two is run.
    rounds: usize,
}

impl Scale {
    /// This part of what the tables of `docs/benchmarks.md` name, for a small run; all of it from 100,000 tasks on.
    fn part(self, whole: usize) -> usize {
        (whole * self.tasks.min(100_000) / 100_000).max(10)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let (mut scale, mut names) = (Scale { tasks: 100_000, rounds: 5 }, Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number =
            || words.next().and_then(|text| text.replace('_', "").parse().ok()).filter(|number| *number > 0);
        match word.as_str() {
            // Cargo says so to every bench.
            "--bench" => {}
            "--rows" | "--rounds" => match number() {
                Some(number) if word == "--rows" => scale.tasks = number,
                Some(number) => scale.rounds = number,
                None => return complain(&format!("{word} takes a number above 0")),
            },
            name if figures::WORKS.contains(&name) => names.push(name.to_owned()),
            other => return complain(&format!("unknown {other}: the works are {}", figures::WORKS.join(", "))),
        }
    }
    let asked = |name: &str| names.is_empty() || names.iter().any(|one| one == name);
    let mut figures: Vec<Figure> = Vec::new();
    if asked("W1") {
        figures.extend(hydrate::measure(scale).await);
    }
    if ["W2", "W3", "W4"].into_iter().any(asked) {
        figures.extend(changes::measure(scale, asked).await);
    }
    if asked("W5") {
        figures.extend(live::measure(scale).await);
    }
    if asked("W6") {
        figures.extend(writes::measure(scale).await);
    }
    if asked("W8") {
        figures.extend(capture::measure(scale).await);
    }
    if asked("W9") {
        figures.extend(size::measure(scale).await);
    }
    figures::print(&figures, scale.tasks, scale.rounds);
    ExitCode::SUCCESS
}

fn complain(what: &str) -> ExitCode {
    eprintln!("tests/bench: {what}");
    ExitCode::from(2)
}
