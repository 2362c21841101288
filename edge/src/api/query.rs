//! Query parameters: each is taken by name, and what nobody takes is refused.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use sync::catalog::{Kind, Table};
use sync::wire::canonical;
use uuid::Uuid;

use super::Server;
use super::error::Error;
use crate::refusal::Mistake;

/// A filter of a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filter {
    /// The parameter.
    pub(super) name: &'static str,
    /// What it takes.
    pub(super) takes: Takes,
    /// Which rows pass it.
    pub(super) about: &'static str,
}

/// What a filter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// An id.
    Id,
    /// A person's id, or `me`.
    Person,
    /// Labels of the column of its name, separated by commas.
    Labels,
    /// A time in RFC 3339, or a date for its first moment in UTC.
    Time,
    /// Text.
    Text,
}

/// Query parameters.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl FromRequestParts<Server> for Parameters {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &Server) -> Result<Self, Error> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let unreadable = |_| invalid("query", Mistake::Value, "the query string cannot be read");
        Ok(Self(pairs.map_err(unreadable)?.0))
    }
}

/// A parameter that cannot be taken.
pub(super) fn invalid(name: &str, mistake: Mistake, reason: impl Into<String>) -> Error {
    Error::Parameter { name: name.to_owned(), mistake, reason: reason.into() }
}

impl Parameters {
    /// A parameter that may be given once.
    pub(super) fn take(&mut self, name: &str) -> Result<Option<String>, Error> {
        let mut values = self.take_all(name);
        let last = values.pop();
        if !values.is_empty() {
            return Err(invalid(name, Mistake::Value, "is given more than once"));
        }
        Ok(last.filter(|value| !value.is_empty()))
    }

    /// Whether a parameter has a value.
    pub(super) fn is(&self, name: &str, value: &str) -> bool {
        self.0.iter().any(|(key, text)| key == name && text == value)
    }

    /// An id.
    pub(super) fn take_id(&mut self, name: &str) -> Result<Option<Uuid>, Error> {
        let Some(text) = self.take(name)? else { return Ok(None) };
        let wrong = |_| invalid(name, Mistake::Type, "expected a uuid");
        Uuid::try_parse(&text).map(Some).map_err(wrong)
    }

    /// A time in RFC 3339, or a date for its first moment in UTC.
    pub(super) fn take_time(&mut self, name: &str) -> Result<Option<String>, Error> {
        let Some(text) = self.take(name)? else { return Ok(None) };
        // In a query a plus sign is a space; a time zone's offset often begins with one that nobody escaped.
        let text = text.replace(' ', "+");
        let whole = if text.len() == "2026-01-31".len() { format!("{text}T00:00:00Z") } else { text };
        let wrong = |_| invalid(name, Mistake::Type, "expected a time such as 2026-01-31T08:00:00Z");
        canonical::timestamp(&whole).map(Some).map_err(wrong)
    }

    /// Labels of a column, separated by commas or given several times.
    pub(super) fn take_labels(&mut self, table: &Table, name: &str) -> Result<Vec<String>, Error> {
        let labels = match table.column(name).map(|column| column.kind) {
            Some(Kind::Enum(_, labels)) => labels,
            _ => &[],
        };
        self.take_words(name, labels)
    }

    /// Words out of a list, separated by commas or given several times.
    pub(super) fn take_words(&mut self, name: &str, allowed: &[&'static str]) -> Result<Vec<String>, Error> {
        let values = self.take_all(name);
        let words = values.iter().flat_map(|value| value.split(',')).map(str::trim).filter(|word| !word.is_empty());
        let check = |word: &str| {
            if allowed.contains(&word) {
                return Ok(word.to_owned());
            }
            let reason = format!("{word:?} is not one of {}", allowed.join(", "));
            Err(invalid(name, Mistake::Label(allowed.to_vec()), reason))
        };
        words.map(check).collect()
    }

    /// Refuses what has not been taken.
    pub(super) fn finish(self) -> Result<(), Error> {
        match self.0.into_iter().next() {
            Some((name, _)) => Err(invalid(&name, Mistake::Unknown, "there is no such parameter")),
            None => Ok(()),
        }
    }

    fn take_all(&mut self, name: &str) -> Vec<String> {
        let (taken, left) = std::mem::take(&mut self.0).into_iter().partition(|(key, _)| key == name);
        self.0 = left;
        taken.into_iter().map(|(_, value): (String, String)| value).collect()
    }
}
