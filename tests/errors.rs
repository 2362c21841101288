//! Prints `docs/errors.md` from the tables of codes, and fails when the page is out of date or a code is in no table.
//!
//! `UPDATE=1 cargo test -p tests --test errors` writes it anew. The protocol's codes and the commands' are taken out of
//! their tables by the compiler; those of the API are found here, in the source that answers them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use sync::hub::codes as hub;
use sync::wire::codes::ErrorCode;
use sync::wire::refusals;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

const TABLES: [(&str, &[ErrorCode]); 5] = [
    ("The local API", edge::api::codes::CODES),
    ("The protocol: what the hub answers", hub::CODES),
    ("Rows that are refused", refusals::CODES),
    ("`edge` commands", edge::cli::codes::CODES),
    ("`hub` commands", hub::COMMAND_CODES),
];

const HEADS: [&str; 5] = [
    "`application/problem+json` (RFC 9457) with a stable `code`; `detail` says it for the request at hand.",
    "The same form, for `/sync/v1`. Nobody has to do anything where an edge tries again by itself: it does.",
    "A refused row fails no request and stops no other row. It is listed by `edge quarantine list`, on the pages and at HQ, with \
     its code and the reason in words. Rows that wait are tried again in every session and every minute; a new write of the row \
     is sent at once.",
    "One line on standard error, with the code in brackets at its end. Exit status 2 is wrong usage.",
    "The same; 2 also for settings that cannot be used.",
];

#[test]
fn the_page_lists_what_the_tables_list() {
    let page = page();
    let path = workspace().join("docs/errors.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/errors.md is out of date: UPDATE=1 cargo test -p tests --test errors");
}

fn page() -> String {
    let mut page = String::from(
        "# Every error\n\nPrinted from the program by `tests/errors.rs`; do not edit it here. A code is stable: programs may rely on \
         it. Messages are for people and may change.\n",
    );
    for ((title, table), head) in TABLES.iter().zip(HEADS) {
        let with_status = table.iter().any(|entry| entry.status > 1);
        let (head_status, line) = if with_status { (" | status", "|---") } else { ("", "") };
        writeln!(page, "\n## {title}\n\n{head}\n\n| code{head_status} | when | what to do |\n|---|---|---{line}|")
            .unwrap();
        for ErrorCode { code, status, when, what_to_do } in *table {
            let status = if with_status { format!(" | {status}") } else { String::new() };
            writeln!(page, "| `{code}`{status} | {when} | {what_to_do} |").unwrap();
        }
    }
    page
}

#[test]
fn a_code_is_listed_once_and_every_line_is_whole() {
    for (title, table) in TABLES {
        let codes: BTreeSet<&str> = table.iter().map(|entry| entry.code).collect();
        assert_eq!(codes.len(), table.len(), "{title}");
        for ErrorCode { code, when, what_to_do, .. } in table {
            assert!(code.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{code}");
            for text in [when, what_to_do] {
                assert!(!text.is_empty() && !text.ends_with('.') && !text.contains('|'), "{code}: {text:?}");
            }
        }
    }
}

/// A status by the name of its constant.
fn status_of(name: &str) -> u16 {
    let known = (100..600).filter_map(|number| axum::http::StatusCode::from_u16(number).ok());
    let constant = |status: &axum::http::StatusCode| {
        let words = status.canonical_reason().unwrap_or_default().to_uppercase();
        words.replace([' ', '-'], "_").replace('\'', "")
    };
    let found = known.filter(|status| constant(status) == name).map(|status| status.as_u16()).next();
    found.unwrap_or_else(|| panic!("no status is called {name}"))
}

/// Every code that the API's source answers with, and its status: what follows `StatusCode::NAME,`, and what a kind of
/// mistake is called, with 422.
fn answered(source: &str) -> BTreeSet<(String, u16)> {
    let mut answered = BTreeSet::new();
    let word = |text: &str| {
        let quoted = text.trim_start().strip_prefix('"').and_then(|rest| rest.split_once('"'));
        quoted.map(|(word, _)| word.to_owned())
    };
    for (_, rest) in source.match_indices("StatusCode::").map(|(at, name)| (at, &source[at + name.len()..])) {
        if let Some((name, code)) = rest.split_once(',').and_then(|(name, rest)| Some((name, word(rest)?))) {
            answered.insert((code, status_of(name)));
        }
    }
    for (_, rest) in source.match_indices("Mistake::").map(|(at, name)| (at, &source[at + name.len()..])) {
        let line = rest.lines().next().unwrap_or_default();
        if let Some(code) = line.split_once("=>").and_then(|(_, rest)| word(rest)) {
            answered.insert((code, 422));
        }
    }
    answered
}

fn api_sources() -> String {
    let directory = workspace().join("edge/src/api");
    let mut files: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().filter(|file| !file.ends_with("codes.rs")).map(|file| fs::read_to_string(file).unwrap()).collect()
}

#[test]
fn what_the_api_answers_is_listed_with_its_status_and_nothing_else_is() {
    let answered = answered(&api_sources());
    assert!(answered.len() > 25, "the codes are found in the source: {answered:?}");
    let listed: BTreeSet<(String, u16)> =
        edge::api::codes::CODES.iter().map(|entry| (entry.code.to_owned(), entry.status)).collect();
    let unlisted: Vec<_> = answered.difference(&listed).collect();
    assert!(unlisted.is_empty(), "answered and not in edge/src/api/codes.rs: {unlisted:?}");
    let unused: Vec<_> = listed.difference(&answered).collect();
    assert!(unused.is_empty(), "in edge/src/api/codes.rs and never answered: {unused:?}");
}

#[test]
fn a_code_that_is_in_no_table_is_found() {
    let source = "Self::New => (StatusCode::IM_A_TEAPOT, \"short_and_stout\"),\n    Mistake::Odd => \"odd\",";
    let found: Vec<_> = answered(source).into_iter().collect();
    assert_eq!(found, [("odd".to_owned(), 422), ("short_and_stout".to_owned(), 418)]);
}

#[test]
fn rows_are_refused_with_codes_of_the_table_only() {
    for folder in ["sync/src/pg", "sync/src/sqlite"] {
        for file in fs::read_dir(workspace().join(folder)).unwrap().flatten() {
            let Ok(source) = fs::read_to_string(file.path()) else { continue };
            for spelled in ["code: \"", "refused(\"", "refusal(\""] {
                assert!(!source.contains(spelled), "{} spells a code out: {spelled}", file.path().display());
            }
        }
    }
}
