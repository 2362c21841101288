//! The local API and the pages against one edge without a hub: what they answer, to whom, and what they refuse.

use serde_json::json;
use tests::desk::Answer;

mod batch;
mod conflicts;
mod description;
mod lists;
mod pages;
mod quarantine;
mod refusals;
mod rows;
mod sign_in;
mod streams;
mod transcripts;
mod troubles;

/// An id that nothing has.
const UNKNOWN: &str = "00000000-0000-4000-8000-00000000dead";

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str, field: Option<&str>) {
    let problem = answer.json();
    assert_eq!((answer.status, problem["code"].as_str()), (status, Some(code)), "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!((&problem["status"], problem["field"].as_str()), (&json!(status), field), "{}", answer.text);
    let detail = problem["detail"].as_str().unwrap();
    assert!(!detail.is_empty() && !detail.ends_with('.'), "{detail}");
}
