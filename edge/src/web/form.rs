//! Forms that edit a row: what they are filled with, what came back, and what a person changed.

use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use sync::catalog::{Column, Kind, Table};
use sync::merge::value::Value;
use sync::merge::vector::Vector;
use sync::sqlite::collisions;
use sync::sqlite::records::Record;
use sync::wire::canonical;
use uuid::Uuid;

use super::page::PageError;
use crate::api::Server;
use crate::api::error::Error;
use crate::api::visitor::is_same_origin;
use crate::draft::{self, Draft};
use crate::refusal::{Mistake, Refusal};
use crate::times::SiteClock;

/// What came back. Only our own pages send forms.
#[derive(Clone, Debug)]
pub(super) struct Submitted(Vec<(String, String)>);

/// A form of a row.
#[derive(Clone, Debug, Default)]
pub(super) struct RowForm {
    fields: Vec<Field>,
    /// The version that it was filled with.
    pub(super) version: String,
    /// What its row had seen when it was filled.
    pub(super) base: String,
}

#[derive(Clone, Debug)]
struct Field {
    name: &'static str,
    was: String,
    now: String,
}

impl FromRequest<Server> for Submitted {
    type Rejection = PageError;

    async fn from_request(request: Request, server: &Server) -> Result<Self, PageError> {
        if !is_same_origin(&HeaderMap::clone(request.headers())) {
            return Err(Error::CrossSite.into());
        }
        let form = axum::Form::<Vec<(String, String)>>::from_request(request, server).await;
        let unread = |_| Error::MediaType("application/x-www-form-urlencoded");
        let fields = form.map_err(unread)?.0.into_iter();
        // Browsers send every line end of a form as two characters.
        Ok(Self(fields.map(|(name, text)| (name, text.replace("\r\n", "\n"))).collect()))
    }
}

impl Submitted {
    /// A field, empty when it did not come.
    pub(super) fn get(&self, name: &str) -> &str {
        self.find(name).unwrap_or_default()
    }

    fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, text)| text.as_str())
    }

    /// What the form was filled with.
    fn was(&self, name: &str) -> &str {
        self.get(&format!("was_{name}"))
    }

    /// What a person made of a field, if they changed it.
    fn changed(&self, name: &str) -> Option<&str> {
        self.find(name).filter(|now| *now != self.was(name))
    }

    /// The columns that a person changed.
    pub(super) fn draft(
        &self,
        table: &'static Table,
        columns: &[&'static str],
        clock: SiteClock,
    ) -> Result<Draft, Refusal> {
        let mut draft = Draft::new();
        for column in columns.iter().filter_map(|name| table.column(name)) {
            if let Some(text) = self.changed(column.name) {
                draft.set(column.name, value(column, text, clock)?);
            }
        }
        Ok(draft)
    }

    /// What the page had seen of its row; `None` when it does not say, and then it means the row however it is.
    pub(super) fn past(&self) -> Result<Option<Vector>, Refusal> {
        let Some(base) = self.find("base").filter(|base| !base.is_empty()) else { return Ok(None) };
        let unreadable = || Refusal::invalid("base", Mistake::Value, "this page was not made here: load it again");
        collisions::past(base).map(Some).ok_or_else(unreadable)
    }
}

impl RowForm {
    /// An empty form.
    pub(super) fn empty(columns: &[&'static str]) -> Self {
        let field = |name: &&'static str| Field { name, was: String::new(), now: String::new() };
        Self { fields: columns.iter().map(field).collect(), ..Self::default() }
    }

    /// A form filled with a row.
    pub(super) fn of(record: &Record, columns: &[&'static str], clock: SiteClock) -> Self {
        let field = |name: &&'static str| {
            let text = text(record, name, clock);
            Field { name, was: text.clone(), now: text }
        };
        let (version, base) = (record.version.clone(), record.base.clone());
        Self { fields: columns.iter().map(field).collect(), version, base }
    }

    /// The same form as a person sent it, so that nothing they typed is lost, and as old as the page that they typed it
    /// on: what has happened since is still unseen.
    pub(super) fn with(mut self, submitted: &Submitted) -> Self {
        for field in &mut self.fields {
            if let Some(now) = submitted.find(field.name) {
                now.clone_into(&mut field.now);
                submitted.was(field.name).clone_into(&mut field.was);
            }
        }
        if let Some(base) = submitted.find("base") {
            base.clone_into(&mut self.base);
        }
        self
    }

    /// Sets a field of an empty form.
    pub(super) fn set(&mut self, name: &str, text: &str) {
        if let Some(field) = self.fields.iter_mut().find(|field| field.name == name) {
            text.clone_into(&mut field.now);
        }
    }

    /// What a field shows.
    pub(super) fn now(&self, name: &str) -> &str {
        self.field(name).map_or("", |field| &field.now)
    }

    /// What a field was filled with.
    pub(super) fn was(&self, name: &str) -> &str {
        self.field(name).map_or("", |field| &field.was)
    }

    fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// A column as a form shows it.
fn text(record: &Record, name: &str, clock: SiteClock) -> String {
    let text = record.text(name).unwrap_or_default();
    match record.table.column(name).map(|column| column.kind) {
        Some(Kind::Timestamp) => clock.to_form(text),
        _ => text.to_owned(),
    }
}

/// A column out of a form. An empty field is null where the column may be.
fn value(column: &'static Column, text: &str, clock: SiteClock) -> Result<Value, Refusal> {
    let wrong = |reason: &str| Refusal::invalid(column.name, Mistake::Value, reason);
    if text.is_empty() && column.nullable {
        return Ok(Value::Null);
    }
    let value = match column.kind {
        Kind::Timestamp => Value::Text(clock.from_form(text).ok_or_else(|| wrong("this is no date and time"))?),
        Kind::Uuid => Value::text(Uuid::try_parse(text).map_err(|_| wrong("choose one of the list"))?.to_string()),
        _ => Value::text(canonical::text(text).map_err(|error| wrong(&error.to_string()))?),
    };
    draft::check_label(column, &value)?;
    Ok(value)
}
