//! Lists in pages: filters, an order and a keyset cursor put together into one statement.
//!
//! A cursor is the last row's sort keys, so rows that come and go between two pages neither shift nor repeat the others.
//! Keys are never null: a nullable column sorts by "is it null" first, so that nulls come last in both directions.

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, params_from_iter};
use uuid::Uuid;

use super::error::StoreError;
use super::records::{self, Record};
use crate::catalog::Table;

/// The most rows on a page.
pub const PAGE_ROWS_MAX: u32 = 500;

/// A name that a list can be sorted by.
#[derive(Clone, Copy, Debug)]
pub struct Sort {
    /// The name.
    pub name: &'static str,
    /// What it sorts by.
    pub expression: &'static str,
    /// An expression, in parentheses, that is 1 for rows that come last whatever the direction.
    pub last: Option<&'static str>,
}

/// Which rows.
#[derive(Clone, Debug)]
pub struct Filters {
    clauses: String,
    values: Vec<SqlValue>,
}

/// In which order. It always ends with the key, so no two rows are equal.
#[derive(Clone, Debug)]
pub struct Order {
    keys: Vec<(&'static str, Direction)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// One sort key of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// A number.
    Integer(i64),
    /// A text.
    Text(String),
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its rows.
    pub records: Vec<Record>,
    /// The keys after which the next page begins; `None` on the last page.
    pub next: Option<Vec<Key>>,
}

impl Filters {
    /// The rows of a tenant.
    pub fn of_tenant(table: &Table, tenant: Uuid) -> Self {
        let clauses = format!("{} = ?", records::tenant_column(table));
        Self { clauses, values: vec![SqlValue::Text(tenant.to_string())] }
    }

    /// Only those for which the clause holds; its question marks take the values in order.
    pub fn and<V: Into<SqlValue>>(&mut self, clause: &str, values: impl IntoIterator<Item = V>) {
        self.clauses.push_str(" and ");
        self.clauses.push_str(clause);
        self.values.extend(values.into_iter().map(Into::into));
    }

    /// Only those whose column has one of the values; all when there are none.
    pub fn any_of(&mut self, column: &str, values: &[String]) {
        if !values.is_empty() {
            let marks = vec!["?"; values.len()].join(", ");
            self.and(&format!("{column} in ({marks})"), values.iter().cloned());
        }
    }

    /// Only those whose column equals the value, if there is one.
    pub fn equal(&mut self, column: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.and(&format!("{column} = ?"), [value.to_owned()]);
        }
    }

    /// Only those of which one column contains the text, in any case of ASCII letters.
    pub fn contains(&mut self, columns: &[&str], text: Option<&str>) {
        let Some(text) = text else { return };
        let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        let clauses: Vec<String> = columns.iter().map(|column| format!("{column} like ? escape '\\'")).collect();
        self.and(&format!("({})", clauses.join(" or ")), vec![format!("%{escaped}%"); columns.len()]);
    }
}

impl Order {
    /// The order of names separated by commas, each with `-` before it to turn it round; by key when there is none.
    ///
    /// # Errors
    /// The name that is not among `sorts`.
    pub fn parse(sorts: &[Sort], text: &str) -> Result<Self, String> {
        let mut keys = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, direction) = match part.strip_prefix('-') {
                Some(name) => (name, Direction::Down),
                None => (part, Direction::Up),
            };
            let sort = sorts.iter().find(|sort| sort.name == name).ok_or_else(|| name.to_owned())?;
            keys.extend(sort.last.map(|last| (last, Direction::Up)));
            keys.push((sort.expression, direction));
        }
        keys.push(("t.id", Direction::Up));
        Ok(Self { keys })
    }

    /// How many keys a cursor of this order has.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key; there always is.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn clause(&self) -> String {
        let part = |(expression, direction): &(&str, Direction)| match direction {
            Direction::Up => (*expression).to_owned(),
            Direction::Down => format!("{expression} desc"),
        };
        self.keys.iter().map(part).collect::<Vec<_>>().join(", ")
    }

    /// The condition that a row comes after the given keys: later in the first key, or equal there and later in the rest.
    fn after(&self, keys: &[Key], filters: &mut Filters) {
        let mut clause = String::new();
        let mut values = Vec::new();
        for (index, ((expression, direction), key)) in self.keys.iter().zip(keys).enumerate() {
            let later = if *direction == Direction::Up { '>' } else { '<' };
            if index + 1 < self.keys.len() {
                clause.push_str(&format!("({expression} {later} ? or ({expression} = ? and "));
                values.push(key.to_sql());
            } else {
                clause.push_str(&format!("{expression} {later} ?"));
            }
            values.push(key.to_sql());
        }
        clause.push_str(&"))".repeat(self.keys.len() - 1));
        filters.and(&clause, values);
    }
}

impl Key {
    fn to_sql(&self) -> SqlValue {
        match self {
            Self::Integer(integer) => SqlValue::Integer(*integer),
            Self::Text(text) => SqlValue::Text(text.clone()),
        }
    }
}

/// One page of a table's rows, of `limit` rows at most.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn page(
    tx: &Connection,
    table: &'static Table,
    mut filters: Filters,
    order: &Order,
    after: Option<&[Key]>,
    limit: u32,
) -> Result<Page, StoreError> {
    if let Some(keys) = after {
        order.after(keys, &mut filters);
    }
    let expressions: Vec<&str> = order.keys.iter().map(|(expression, _)| *expression).collect();
    let sql = format!(
        "{} where {} order by {} limit {}",
        records::selection(table, &expressions),
        filters.clauses,
        order.clause(),
        limit + 1
    );
    let first_key = table.columns.len() + 2;
    let mut statement = tx.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(filters.values))?;
    let mut page = Page { records: Vec::new(), next: None };
    let mut last = Vec::new();
    while let Some(row) = rows.next()? {
        if page.records.len() == limit as usize {
            page.next = Some(last);
            break;
        }
        page.records.push(records::read(table, row)?);
        last = (first_key..first_key + order.keys.len())
            .map(|index| {
                Ok(match row.get_ref(index)? {
                    rusqlite::types::ValueRef::Integer(integer) => Key::Integer(integer),
                    other => Key::Text(other.as_str_or_null()?.unwrap_or_default().to_owned()),
                })
            })
            .collect::<rusqlite::Result<_>>()?;
    }
    Ok(page)
}
