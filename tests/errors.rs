//! Prints `docs/errors.md` from the tables of codes, and fails when the page is out of date or a code is in no table.
//!
//! `UPDATE=1 cargo test -p tests --test errors` writes it anew. The protocol's codes and the commands' are taken out of
//! their tables by the compiler; that each of the API is in its table is seen here, in its source.

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

fn tables() -> [(&'static str, Vec<ErrorCode>); 5] {
    [
        ("The local API", edge::api::codes::CODES.to_vec()),
        ("The protocol: what the hub answers", hub::CODES.to_vec()),
        ("Rows that are refused", refusals::CODES.to_vec()),
        ("`edge` commands", edge::cli::codes::CODES.to_vec()),
        ("`hub` commands", hub::COMMAND_CODES.to_vec()),
    ]
}

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
    for ((title, table), head) in tables().iter().zip(HEADS) {
        let with_status = table.iter().any(|entry| entry.status > 1);
        let (head_status, line) = if with_status { (" | status", "|---") } else { ("", "") };
        writeln!(page, "\n## {title}\n\n{head}\n\n| code{head_status} | when | what to do |\n|---|---|---{line}|")
            .unwrap();
        for ErrorCode { code, status, when, what_to_do } in table {
            let status = if with_status { format!(" | {status}") } else { String::new() };
            writeln!(page, "| `{code}`{status} | {when} | {what_to_do} |").unwrap();
        }
    }
    page
}

#[test]
fn a_code_is_listed_once_and_every_line_is_whole() {
    for (title, table) in tables() {
        let codes: BTreeSet<&str> = table.iter().map(|entry| entry.code).collect();
        assert_eq!(codes.len(), table.len(), "{title}");
        for ErrorCode { code, when, what_to_do, .. } in &table {
            assert!(code.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{code}");
            for text in [when, what_to_do] {
                assert!(!text.is_empty() && !text.ends_with('.') && !text.contains('|'), "{code}: {text:?}");
            }
        }
    }
}

/// What is between `from` and the next `to`, wherever it is found.
fn between<'a>(source: &'a str, from: &str, to: &str) -> Vec<&'a str> {
    source.split(from).skip(1).filter_map(|rest| rest.split_once(to)).map(|(found, _)| found).collect()
}

#[test]
fn every_code_of_the_api_is_in_its_table() {
    let api = workspace().join("edge/src/api");
    let source = fs::read_to_string(api.join("codes.rs")).unwrap();
    let (constants, table) = source.split_once("pub const CODES").expect("the table comes last");
    let constants = between(constants, "pub const ", ": ErrorCode");
    assert!(constants.len() > 30, "{constants:?}");
    let unlisted: Vec<_> = constants.iter().filter(|name| !between(table, "    ", ",").contains(name)).collect();
    assert!(unlisted.is_empty(), "not in CODES: {unlisted:?}");
    for file in fs::read_dir(api).unwrap().flatten().filter(|file| file.file_name() != "codes.rs") {
        let Ok(source) = fs::read_to_string(file.path()) else { continue };
        assert!(!source.contains("code: \""), "{} makes a code of its own", file.path().display());
    }
}

#[test]
fn every_code_of_a_refused_row_is_used() {
    let mut used = String::new();
    for folder in ["sync/src/pg", "sync/src/sqlite"] {
        for file in fs::read_dir(workspace().join(folder)).unwrap().flatten() {
            used += &fs::read_to_string(file.path()).unwrap_or_default();
        }
    }
    let unused = refusals::CODES.iter().map(|entry| entry.code.to_uppercase()).filter(|name| !used.contains(name));
    assert_eq!(unused.collect::<Vec<_>>(), Vec::<String>::new());
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
