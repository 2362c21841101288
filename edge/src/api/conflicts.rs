//! Conflicts: what lost to what, and what to do about it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use rusqlite::Transaction;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use sync::merge::conflict::{Kind, Status};
use sync::merge::value::Value;
use sync::sqlite::listing::Key;
use sync::wire::convert::json_of;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Server;
use super::error::Error;
use super::paging;
use super::query::Parameters;
use super::repeat::{Answer, RepeatKey};
use super::visitor::Id;
use crate::action::{self, Act};
use crate::conflicts::{self, ConflictView, Side};
use crate::refusal::Refusal;
use crate::sessions::Visitor;

/// A conflict as a program reads it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Conflict)]
pub struct ConflictJson {
    pub(crate) id: Uuid,
    #[schema(example = "tasks")]
    pub(crate) table: &'static str,
    pub(crate) row_id: Uuid,
    /// `edit_edit`: two people wrote the same. `edit_delete`: one edited what another deleted.
    #[schema(pattern = "^edit_(edit|delete)$")]
    pub(crate) kind: &'static str,
    /// What they wrote: a column, or `metadata.` and a key; null for the whole row.
    pub(crate) column: Option<String>,
    #[schema(pattern = "^(open|dismissed|restored)$")]
    pub(crate) status: &'static str,
    /// What the row holds.
    pub(crate) winner: SideJson,
    /// What lost and can be restored.
    pub(crate) loser: SideJson,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConflictSide)]
pub(crate) struct SideJson {
    /// What was written; null also for a delete.
    #[schema(value_type = Value)]
    pub(crate) value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    /// The columns that win and lose together with it.
    #[schema(value_type = Option<Object>)]
    pub(crate) with: BTreeMap<&'static str, Option<Box<RawValue>>>,
    /// Where it was written.
    #[schema(example = "Warehouse")]
    pub(crate) site: String,
    /// Who wrote it, if a person did.
    #[schema(example = "Mei Lindqvist")]
    pub(crate) person: Option<String>,
    /// When, by the writer's clock.
    #[schema(format = DateTime)]
    pub(crate) at: String,
}

pub(super) async fn list(
    State(server): State<Server>,
    _: Visitor,
    mut parameters: Parameters,
) -> Result<Response, Error> {
    let statuses = parameters.take_words("status", &["open", "dismissed", "restored"])?;
    let row = parameters.take_id("row_id")?;
    let limit = paging::limit(&mut parameters)?;
    let after = paging::after(&mut parameters, "", 1)?;
    parameters.finish()?;
    let read = move |tx: &Transaction<'_>| {
        let after = match after.as_deref() {
            Some([Key::Text(id)]) => Uuid::try_parse(id).ok(),
            _ => None,
        };
        conflicts::list(tx, &statuses, row, after, limit + 1)
    };
    let views = server.app.db.snapshot(read).await?;
    let (views, next) = paging::cut(views, limit, |view| vec![Key::Text(view.id.to_string())]);
    Ok(paging::list(views.iter().map(json).collect(), next))
}

pub(super) async fn show(State(server): State<Server>, _: Visitor, Id(id): Id) -> Result<Response, Error> {
    let view = server.app.db.read(move |connection| conflicts::find(connection, id)).await?;
    Ok(Json(json(&view)).into_response())
}

/// POST of a decision about a conflict.
pub(super) fn decided(decide: Decide) -> MethodRouter<Server> {
    post(move |state, visitor, id, key| decision(decide, state, visitor, id, key))
}

type Decide = fn(&Transaction<'_>, &Act, Uuid) -> Result<ConflictView, Refusal>;

async fn decision(
    decide: Decide,
    State(server): State<Server>,
    visitor: Visitor,
    Id(id): Id,
    key: RepeatKey,
) -> Result<Response, Error> {
    let repeat = key.alone();
    let work = move |tx: &Transaction<'_>, act: &Act| {
        repeat.once(tx, act, || Ok(Answer::json(StatusCode::OK, &json(&decide(tx, act, id)?))))
    };
    Ok(action::perform(&server.app, &visitor.person, work).await?.into_response())
}

/// A conflict as a program reads it.
pub fn json(view: &ConflictView) -> ConflictJson {
    ConflictJson {
        id: view.id,
        table: view.table.name,
        row_id: view.row_id,
        kind: match view.kind {
            Kind::EditEdit => "edit_edit",
            Kind::EditDelete => "edit_delete",
        },
        column: view.column.clone(),
        status: match view.status {
            Status::Open => "open",
            Status::Dismissed => "dismissed",
            Status::Restored => "restored",
        },
        winner: side(&view.winner),
        loser: side(&view.loser),
    }
}

fn side(side: &Side) -> SideJson {
    let raw = |value: &Value| RawValue::from_string(json_of(value)).ok();
    SideJson {
        value: side.value.as_ref().and_then(raw),
        with: side.with.iter().map(|(column, value)| (*column, raw(value))).collect(),
        site: side.site.clone(),
        person: side.person.clone(),
        at: side.at.clone(),
    }
}
