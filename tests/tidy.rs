//! The design's rules as tests: who may import whom, where SQL stands, what a name may not be.
//!
//! Goal: a reader may trust the folders. Method: the sources are read as text; each rule lists every place that
//! breaks it, so that one run shows all of them.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file: its path from the workspace's root, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn is_below(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }

    /// The lines that are code, with their numbers: no comments, and nothing from the unit tests at the end.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        lines.take_while(|(_, line)| *line != "#[cfg(test)]").filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace").to_owned()
}

fn sources(extension: &str) -> Vec<Source> {
    let root = workspace();
    let mut found = Vec::new();
    for folder in ["sync", "edge", "tests", "migrations"] {
        collect(&root.join(folder), extension, &mut found);
    }
    let relative = |path: &Path| path.strip_prefix(&root).expect("collected below the root").display().to_string();
    let mut sources: Vec<Source> = found
        .iter()
        .map(|path| Source { path: relative(path), text: fs::read_to_string(path).expect("sources are UTF-8") })
        .collect();
    sources.sort_by(|left, right| left.path.cmp(&right.path));
    assert!(!sources.is_empty(), "no .{extension} file below {}", root.display());
    sources
}

fn collect(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, extension, found);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
}

#[track_caller]
fn nothing_breaks(rule: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

/// Every code line below one of `folders` that contains one of `words`.
fn lines_with(folders: &[&str], words: &[&str]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources("rs").iter().filter(|source| folders.iter().any(|folder| source.is_below(folder))) {
        for (number, line) in source.code() {
            if let Some(word) = words.iter().find(|word| line.contains(*word)) {
                broken.push(format!("{}:{number} has {word:?}", source.path));
            }
        }
    }
    broken
}

#[test]
fn the_pure_modules_read_no_clock_no_random_no_file_no_network_and_never_wait() {
    let pure = ["sync/src/merge/", "sync/src/session.rs", "sync/src/catalog.rs", "sync/src/wire/"];
    let impure = [
        "SystemTime",
        "Instant",
        "Utc::now",
        "std::fs",
        "std::net",
        "std::env",
        "std::thread",
        "tokio",
        "async ",
        ".await",
        "getrandom",
        "rand::",
        "new_v4",
        "now_v7",
        "rusqlite",
        "reqwest",
        "axum",
        "println!",
        "eprintln!",
    ];
    nothing_breaks("a pure module does input or output", lines_with(&pure, &impure));
    nothing_breaks("merge/ serialises", lines_with(&["sync/src/merge/", "sync/src/session.rs"], &["serde"]));
}

#[test]
fn imports_point_one_way() {
    let rules: &[(&str, &[&str])] = &[
        ("sync/src/merge/", &["crate::catalog", "crate::session", "crate::wire", "crate::sqlite", "crate::pg"]),
        ("sync/src/catalog.rs", &["crate::session", "crate::wire", "crate::sqlite", "crate::pg", "crate::hub"]),
        ("sync/src/session.rs", &["crate::wire", "crate::sqlite", "crate::pg", "crate::hub"]),
        ("sync/src/listener.rs", &["use crate::"]),
        ("sync/src/core_dump.rs", &["use crate::"]),
        ("sync/src/wire/", &["crate::sqlite", "crate::pg", "crate::hub", "crate::admin"]),
        ("sync/src/sqlite/", &["crate::pg", "crate::hub", "crate::admin", "crate::session"]),
        ("sync/src/pg/", &["crate::sqlite", "crate::hub", "crate::admin", "crate::session"]),
        ("sync/src/hub/", &["crate::sqlite"]),
        ("sync/src/admin/", &["crate::sqlite"]),
        ("edge/src/api/", &["sync::pg", "sync::hub", "sync::admin"]),
        ("edge/src/web/", &["sync::pg", "sync::hub", "sync::admin"]),
    ];
    let broken = rules.iter().flat_map(|(folder, forbidden)| lines_with(&[folder], forbidden)).collect();
    nothing_breaks("a lower layer imports a higher one", broken);
}

#[test]
fn every_port_is_answered_by_the_one_listener() {
    let sources = ["sync/src/hub/", "sync/src/admin/", "edge/src/"];
    nothing_breaks(
        "a port without the limits of sync::listener",
        lines_with(&sources, &["axum::serve", "serve_connection"]),
    );
}

#[test]
fn sql_stands_only_in_the_two_stores() {
    let statements = [
        "\"select ",
        "\"insert into ",
        "\"update ",
        "\"delete from ",
        "\"create ",
        "\"alter ",
        "\"drop ",
        "\"with ",
        "\"begin",
        "\"commit",
        "\"savepoint ",
        "\"pragma ",
        "\"truncate ",
    ];
    let outside =
        ["sync/src/hub/", "sync/src/admin/", "sync/src/wire/", "sync/src/merge/", "sync/src/bin/", "edge/src/"];
    nothing_breaks("SQL outside of sqlite/ and pg/", lines_with(&outside, &statements));
}

#[test]
fn a_transaction_begins_and_commits_in_one_function() {
    let mut broken = Vec::new();
    for source in sources("rs").iter().filter(|source| source.is_below("sync/src/") || source.is_below("edge/src/")) {
        for function in functions(source) {
            let begins = [".transaction()", ".build_transaction()", ".transaction_with_behavior("];
            let opens = begins.iter().any(|begin| function.text.contains(begin));
            // A reading connection's transaction is a snapshot, with nothing to commit; `begin` says what it does.
            let closes = [".commit()", "read_only(true)", "db.read(", "pub fn begin("];
            if opens && !closes.iter().any(|close| function.text.contains(close)) {
                broken.push(format!("{}:{} begins and does not commit", source.path, function.line));
            }
        }
    }
    nothing_breaks("a transaction that cannot be seen whole", broken);
}

#[test]
fn what_holds_a_secret_is_not_printed_by_a_derived_debug() {
    let names = ["credential", "token", "secret", "password", "passphrase", "pin", "verifier", "key"];
    let texts = ["String", "Option<String>", "Vec<u8>", "&'a str", "Option<&'a str>"];
    let mut broken = Vec::new();
    for source in sources("rs").iter().filter(|source| source.is_below("sync/src/") || source.is_below("edge/src/")) {
        let mut derived = false;
        for (number, line) in source.code() {
            let trimmed = line.trim();
            match trimmed {
                _ if trimmed.starts_with("#[derive(") => derived = trimmed.contains("Debug"),
                "}" if line == trimmed => derived = false,
                _ => {}
            }
            let field = trimmed.trim_start_matches("pub ").trim_end_matches(',').split_once(": ");
            // The name of a setting and the key of a repeated request are no secrets.
            let is_open = source.path.ends_with("/config.rs") || source.path.ends_with("/repeat.rs");
            if derived && !is_open && field.is_some_and(|(name, kind)| names.contains(&name) && texts.contains(&kind)) {
                broken.push(format!("{}:{number} {trimmed}", source.path));
            }
        }
    }
    nothing_breaks("a secret that a panic or a log could print", broken);
}

#[test]
fn files_and_types_are_named_for_what_they_are() {
    let vague = ["utils", "util", "helpers", "helper", "common", "manager", "misc"];
    let mut broken = Vec::new();
    for source in &sources("rs") {
        let stem = Path::new(&source.path).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if vague.contains(&stem) {
            broken.push(source.path.clone());
        }
        for (number, line) in source.code() {
            let declared = ["struct ", "enum ", "trait "].iter().find_map(|keyword| line.split_once(keyword));
            let name = declared.map(|(_, rest)| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default());
            if name.is_some_and(|name| ["Util", "Helper", "Manager", "Misc"].iter().any(|vague| name.contains(vague))) {
                broken.push(format!("{}:{number} {}", source.path, line.trim()));
            }
        }
    }
    nothing_breaks("a name that says nothing", broken);
}

#[test]
fn no_test_is_skipped_expects_a_panic_or_sleeps() {
    let forbidden = [
        concat!("#[ig", "nore"),
        concat!("#[should", "_panic"),
        concat!("thread::", "sleep"),
        concat!("time::", "sleep("),
    ];
    let mut broken = lines_with(&["tests/"], &forbidden);
    broken.extend(lines_with(&["sync/src/", "edge/src/"], &forbidden[..3]));
    nothing_breaks("a test that does not run, or waits by sleeping", broken);
}

#[test]
fn nothing_is_left_half_done() {
    let words =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("dbg", "!("), concat!("todo", "!(")];
    let mut broken = Vec::new();
    for source in sources("rs").iter().chain(&sources("sql")) {
        for (index, line) in source.text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                broken.push(format!("{}:{} {}", source.path, index + 1, line.trim()));
            }
        }
    }
    nothing_breaks("unfinished work", broken);
}

#[test]
fn migrations_are_numbered_without_gaps_and_named_for_a_noun() {
    for side in ["central", "edge"] {
        let mut names: Vec<String> = fs::read_dir(workspace().join("migrations").join(side))
            .expect("both sides have migrations")
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.starts_with('V'))
            .collect();
        names.sort();
        for (index, name) in names.iter().enumerate() {
            assert!(name.starts_with(&format!("V{:04}__", index + 1)), "{side}/{name} is not number {}", index + 1);
            let noun = name[7..].trim_end_matches(".sql");
            assert!(noun.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{side}/{name}");
        }
    }
}

#[test]
fn functions_and_files_stay_short_enough_to_read() {
    let mut broken = Vec::new();
    for source in sources("rs").iter().filter(|source| source.path.contains("/src/")) {
        let lines = source.code().count();
        if lines > 500 {
            broken.push(format!("{} has {lines} lines of code", source.path));
        }
        for function in functions(source) {
            let lines = function.text.lines().count();
            if lines > 80 {
                broken.push(format!("{}:{} is {lines} lines long", source.path, function.line));
            }
        }
    }
    nothing_breaks("ask what second thing it does", broken);
}

/// A function's first line and its text, found by rustfmt's indentation.
struct Function {
    line: usize,
    text: String,
}

fn functions(source: &Source) -> Vec<Function> {
    let lines: Vec<(usize, &str)> = source.code().collect();
    let mut functions = Vec::new();
    for (start, (number, line)) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let declares = [
            "fn ",
            "pub fn ",
            "async fn ",
            "pub async fn ",
            "pub(crate) fn ",
            "pub(crate) async fn ",
            "pub(super) fn ",
            "pub(super) async fn ",
            "const fn ",
            "pub const fn ",
        ]
        .iter()
        .any(|keyword| trimmed.starts_with(keyword));
        if !declares {
            continue;
        }
        let close = format!("{}}}", &line[..line.len() - trimmed.len()]);
        let body = lines[start..].iter().map(|(_, line)| *line);
        let end = body.clone().position(|line| line == close).unwrap_or(0);
        functions.push(Function { line: *number, text: body.take(end + 1).collect::<Vec<_>>().join("\n") });
    }
    functions
}

#[test]
fn every_test_that_the_documents_name_is_there() {
    let tests = sources("rs");
    let mut broken = Vec::new();
    for entry in fs::read_dir(workspace().join("docs")).expect("there are documents").flatten() {
        let path = entry.path();
        let Ok(text) = fs::read_to_string(&path) else { continue };
        // A sentence between back-ticks is the name of a test.
        let names = text.split('`').skip(1).step_by(2).filter(|name| {
            name.matches('_').count() > 4
                && name.chars().all(|letter| letter.is_ascii_lowercase() || "_0123456789".contains(letter))
        });
        // The last is how a list of tests that are alike names them.
        let forms = |name: &str| [format!("fn {name}("), format!("{name}: \"")];
        let is_there =
            |name: &str| tests.iter().any(|source| forms(name).iter().any(|form| source.text.contains(form)));
        broken.extend(names.filter(|name| !is_there(name)).map(|name| format!("{}: {name}", path.display())));
    }
    nothing_breaks("documents name tests that are there", broken);
}
