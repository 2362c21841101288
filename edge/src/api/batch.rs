//! Several writes as one: all of them happen, or none.
//!
//! A refusal names the operation that was refused by its index. The rows that earlier operations made can be referred to
//! by later ones: in a column that holds an id, `"$0"` stands for the id that operation 0 made.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use rusqlite::Transaction;
use serde::Serialize;
use sync::sqlite::records::Record;
use uuid::Uuid;

use super::Server;
use super::body::Fields;
use super::error::Error;
use super::export::EXPORTS as RESOURCES;
use super::repeat::{Answer, RepeatKey};
use super::resource::Resource;
use super::row::RowJson;
use crate::action::{self, Act};
use crate::draft::Draft;
use crate::edits::Known;
use crate::refusal::{Mistake, Refusal};
use crate::sessions::Visitor;

/// The most operations of one batch.
pub const OPERATIONS_MAX: usize = 500;

/// What one operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Create,
    Update,
    Delete,
}

/// The names of the kinds, as requests have them.
pub(super) const KINDS: [(&str, Kind); 3] =
    [("create", Kind::Create), ("update", Kind::Update), ("delete", Kind::Delete)];

#[derive(Serialize)]
struct BatchJson<'a> {
    items: Vec<Option<RowJson<'a>>>,
}

pub(super) async fn run(
    State(server): State<Server>,
    visitor: Visitor,
    key: RepeatKey,
    mut fields: Fields,
) -> Result<Response, Error> {
    let repeat = key.of(&fields);
    let operations = fields.take_objects("operations")?;
    fields.finish()?;
    if !(1..=OPERATIONS_MAX).contains(&operations.len()) {
        let reason = format!("expected 1 to {OPERATIONS_MAX} operations");
        return Err(Refusal::invalid("operations", Mistake::Value, reason).into());
    }
    let all = move |tx: &Transaction<'_>, act: &Act| repeat.once(tx, act, || perform(tx, act, operations));
    Ok(action::perform(&server.app, &visitor.person, all).await?.into_response())
}

fn perform(tx: &Transaction<'_>, act: &Act, operations: Vec<Fields>) -> Result<Answer, Refusal> {
    let mut records: Vec<Option<Record>> = Vec::with_capacity(operations.len());
    for (index, operation) in operations.into_iter().enumerate() {
        let done = one(tx, act, operation, &records);
        records.push(done.map_err(|refusal| Refusal::InBatch { index, refusal: Box::new(refusal) })?);
    }
    let items = records.iter().map(|record| record.as_ref().map(RowJson::whole)).collect();
    Ok(Answer::json(StatusCode::OK, &BatchJson { items }))
}

fn one(
    tx: &Transaction<'_>,
    act: &Act,
    mut operation: Fields,
    earlier: &[Option<Record>],
) -> Result<Option<Record>, Refusal> {
    let kind = word(&mut operation, "op", &KINDS)?;
    let tables = RESOURCES.iter().map(|resource| ((resource.table)().name, *resource)).collect::<Vec<_>>();
    let resource = word(&mut operation, "table", &tables)?;
    let expected = operation.take_optional_text("if_match")?;
    let expected = expected.as_deref().map(|tag| tag.trim_matches('"'));
    if kind == Kind::Create {
        let draft = row(&mut operation, resource, earlier)?;
        operation.finish()?;
        return (resource.create)(tx, act, draft).map(Some).map_err(|refusal| refusal.below("row"));
    }
    let id = id(&operation.take_text("id")?, earlier).ok_or_else(|| {
        Refusal::invalid("id", Mistake::Type, "expected a uuid, or an earlier operation's \"$index\"")
    })?;
    if kind == Kind::Delete {
        operation.finish()?;
        return (resource.delete)(tx, act, id, expected).map(|()| None);
    }
    let draft = row(&mut operation, resource, earlier)?;
    operation.finish()?;
    let known = expected.map_or(Known::Any, Known::Version);
    (resource.change)(tx, act, id, draft, known).map(Some).map_err(|refusal| refusal.below("row"))
}

fn row(operation: &mut Fields, resource: &Resource, earlier: &[Option<Record>]) -> Result<Draft, Refusal> {
    let mut row = operation.take_object("row")?;
    row.replace_ids((resource.table)(), |text| id(text, earlier));
    row.into_draft((resource.table)(), resource.writable).map_err(|refusal| refusal.below("row"))
}

/// An id, or the one that an earlier operation made.
fn id(text: &str, earlier: &[Option<Record>]) -> Option<Uuid> {
    match text.strip_prefix('$') {
        Some(index) => Some(earlier.get(index.parse::<usize>().ok()?)?.as_ref()?.id.0),
        None => Uuid::try_parse(text).ok(),
    }
}

fn word<T: Copy>(operation: &mut Fields, name: &'static str, words: &[(&'static str, T)]) -> Result<T, Refusal> {
    let text = operation.take_text(name)?;
    let known = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
    known.ok_or_else(|| {
        let allowed: Vec<&'static str> = words.iter().map(|(word, _)| *word).collect();
        let reason = format!("{text:?} is not one of {}", allowed.join(", "));
        Refusal::invalid(name, Mistake::Label(allowed), reason)
    })
}
