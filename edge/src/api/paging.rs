//! Pages of lists: `limit`, `sort` and `cursor`, and the answer `{"items":[...],"next":...}`.
//!
//! A cursor holds the sort keys of the last row, and the sort itself, so that it is not used with another one. It is no
//! secret and grants nothing: whatever stands in it is only compared with.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sync::catalog::Table;
use sync::sqlite::listing::{Key, Order, PAGE_ROWS_MAX, Page, Sort};
use sync::wire::base64url;

use super::error::Error;
use super::query::{Parameters, invalid};
use super::row::{RowJson, Selection};
use crate::refusal::Mistake;

/// How many rows a page has when nobody says.
pub(super) const PAGE_ROWS: u32 = 100;

/// Which page.
#[derive(Debug)]
pub(super) struct Request {
    /// In which order.
    pub(super) order: Order,
    /// Where it begins.
    pub(super) after: Option<Vec<Key>>,
    /// How many rows it has at most.
    pub(super) limit: u32,
    /// Which fields its rows have.
    pub(super) selection: Selection,
    sort: String,
}

#[derive(Serialize, Deserialize)]
struct Cursor {
    sort: String,
    after: Vec<CursorKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum CursorKey {
    Integer(i64),
    Text(String),
}

#[derive(Serialize)]
struct List<T> {
    items: Vec<T>,
    next: Option<String>,
}

impl Request {
    /// Reads `sort`, `limit`, `cursor` and `fields`.
    pub(super) fn take(parameters: &mut Parameters, table: &Table, sorts: &[Sort]) -> Result<Self, Error> {
        let sort = parameters.take("sort")?.unwrap_or_default();
        let names: Vec<&'static str> = sorts.iter().map(|sort| sort.name).collect();
        let order = Order::parse(sorts, &sort).map_err(|name| {
            let reason = format!("{name:?} is not one of {}", names.join(", "));
            invalid("sort", Mistake::Label(names), reason)
        })?;
        let limit = limit(parameters)?;
        let after = after(parameters, &sort, order.len())?;
        let selection = Selection::take(parameters, table)?;
        Ok(Self { order, after, limit, selection, sort })
    }

    /// The answer.
    pub(super) fn answer(&self, page: &Page) -> Response {
        let next = page.next.as_deref().map(|keys| cursor(&self.sort, keys));
        list(page.records.iter().map(|record| RowJson { record, selection: &self.selection }).collect(), next)
    }
}

/// `limit`: 1 to [`PAGE_ROWS_MAX`].
pub(super) fn limit(parameters: &mut Parameters) -> Result<u32, Error> {
    let Some(text) = parameters.take("limit")? else { return Ok(PAGE_ROWS) };
    let reason = || format!("expected a number from 1 to {PAGE_ROWS_MAX}");
    let limit = text.parse().ok().filter(|limit| (1..=PAGE_ROWS_MAX).contains(limit));
    limit.ok_or_else(|| invalid("limit", Mistake::Value, reason()))
}

/// `cursor`: keys that an earlier page of the same sort ended with.
pub(super) fn after(parameters: &mut Parameters, sort: &str, keys: usize) -> Result<Option<Vec<Key>>, Error> {
    let Some(text) = parameters.take("cursor")? else { return Ok(None) };
    let refuse = || invalid("cursor", Mistake::Value, "is not the `next` of an earlier page of this list");
    let json = base64url::decode(&text).ok_or_else(refuse)?;
    let cursor: Cursor = serde_json::from_slice(&json).map_err(|_| refuse())?;
    if cursor.sort != sort || cursor.after.len() != keys {
        return Err(refuse());
    }
    let key = |key| match key {
        CursorKey::Integer(integer) => Key::Integer(integer),
        CursorKey::Text(text) => Key::Text(text),
    };
    Ok(Some(cursor.after.into_iter().map(key).collect()))
}

/// The cursor after a row with these keys.
pub(super) fn cursor(sort: &str, keys: &[Key]) -> String {
    let key = |key: &Key| match key {
        Key::Integer(integer) => CursorKey::Integer(*integer),
        Key::Text(text) => CursorKey::Text(text.clone()),
    };
    let cursor = Cursor { sort: sort.to_owned(), after: keys.iter().map(key).collect() };
    base64url::encode(serde_json::to_vec(&cursor).unwrap_or_default())
}

/// The answer with a page's items.
pub(super) fn list<T: Serialize>(items: Vec<T>, next: Option<String>) -> Response {
    Json(List { items, next }).into_response()
}

/// Cuts what was read, one more than `limit`, to a page, and says after which keys the next one begins.
pub(super) fn cut<T>(mut items: Vec<T>, limit: u32, keys: impl Fn(&T) -> Vec<Key>) -> (Vec<T>, Option<String>) {
    let limit = limit as usize;
    if items.len() <= limit {
        return (items, None);
    }
    items.truncate(limit);
    let next = items.last().map(|last| cursor("", &keys(last)));
    (items, next)
}
