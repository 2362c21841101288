//! The people of the tenant: who may sign in here, and who is behind an id.

use std::fmt;

use rusqlite::{Connection, OptionalExtension as _, Row};
use uuid::Uuid;

use super::error::StoreError;

/// A person with an active membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonRow {
    /// The user's id.
    pub id: Uuid,
    /// The address they sign in with.
    pub email: String,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// The kind of account.
    pub user_type: String,
    /// The role in the tenant.
    pub role: String,
    /// The sites they are assigned to.
    pub sites: Vec<Uuid>,
}

/// A member of the tenant, active or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRow {
    /// The user's id.
    pub id: Uuid,
    /// The address.
    pub email: String,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// The kind of account.
    pub user_type: String,
    /// The role in the tenant.
    pub role: String,
    /// How the membership stands.
    pub status: String,
    /// When the user was made.
    pub created_at: String,
    /// When the user was last changed.
    pub updated_at: String,
}

/// What a person proves to be themselves with.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The argon2id verifier in PHC form.
    pub verifier: String,
    /// When it was last set.
    pub updated_at: String,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { updated_at, .. } = self;
        f.debug_struct("Credential").field("updated_at", updated_at).finish_non_exhaustive()
    }
}

const PERSON: &str = "select u.id, u.email, u.first_name, u.last_name, u.user_type, m.role
        from users as u join user_tenant_associations as m on m.user_id = u.id and m.tenant_id = ?1
        where m.status = 'active'";

/// The person with an id, if their membership is active.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn find(tx: &Connection, tenant: Uuid, user: Uuid) -> Result<Option<PersonRow>, StoreError> {
    let sql = format!("{PERSON} and u.id = ?2");
    let found = tx.prepare_cached(&sql)?.query_row([tenant.to_string(), user.to_string()], person).optional()?;
    with_sites(tx, tenant, found)
}

/// The person with an e-mail address in any case, if their membership is active.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn find_by_email(tx: &Connection, tenant: Uuid, email: &str) -> Result<Option<PersonRow>, StoreError> {
    let sql = format!("{PERSON} and lower(u.email) = lower(?2) order by u.id limit 1");
    let found = tx.prepare_cached(&sql)?.query_row([tenant.to_string(), email.to_owned()], person).optional()?;
    with_sites(tx, tenant, found)
}

/// What a person signs in with at a site.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn credential(tx: &Connection, site: Uuid, user: Uuid) -> Result<Option<Credential>, StoreError> {
    let sql = "select verifier, updated_at from sync_credentials where site_id = ? and user_id = ?";
    let read = |row: &Row<'_>| Ok(Credential { verifier: row.get(0)?, updated_at: row.get(1)? });
    Ok(tx.prepare_cached(sql)?.query_row([site.to_string(), user.to_string()], read).optional()?)
}

/// The members of the tenant by e-mail address, those after `after` (address and id), `limit` at most.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn members(
    tx: &Connection,
    tenant: Uuid,
    after: Option<(&str, &str)>,
    limit: u32,
) -> Result<Vec<MemberRow>, StoreError> {
    let sql =
        "select u.id, u.email, u.first_name, u.last_name, u.user_type, m.role, m.status, u.created_at, u.updated_at
        from users as u join user_tenant_associations as m on m.user_id = u.id and m.tenant_id = ?1
        where (lower(u.email), u.id) > (lower(?2), ?3) order by lower(u.email), u.id limit ?4";
    let (email, id) = after.unwrap_or(("", ""));
    let read = |row: &Row<'_>| {
        Ok(MemberRow {
            id: id_at(row, 0)?,
            email: row.get(1)?,
            first_name: row.get(2)?,
            last_name: row.get(3)?,
            user_type: row.get(4)?,
            role: row.get(5)?,
            status: row.get(6)?,
            created_at: row.get(7)?,
            updated_at: row.get(8)?,
        })
    };
    let mut statement = tx.prepare_cached(sql)?;
    let rows = statement.query_map(rusqlite::params![tenant.to_string(), email, id, limit], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Whether a user has a membership of the tenant, active or not.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn is_member(tx: &Connection, tenant: Uuid, user: Uuid) -> Result<bool, StoreError> {
    let sql = "select exists (select 1 from user_tenant_associations where tenant_id = ? and user_id = ?)";
    Ok(tx.prepare_cached(sql)?.query_row([tenant.to_string(), user.to_string()], |row| row.get(0))?)
}

/// A user's name, or the address when there is none; `None` for a user that this edge does not hold.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn name(tx: &Connection, user: Uuid) -> Result<Option<String>, StoreError> {
    let sql = "select coalesce(nullif(trim(coalesce(first_name, '') || ' ' || coalesce(last_name, '')), ''), email)
        from users where id = ?";
    Ok(tx.prepare_cached(sql)?.query_row([user.to_string()], |row| row.get(0)).optional()?)
}

fn with_sites(tx: &Connection, tenant: Uuid, found: Option<PersonRow>) -> Result<Option<PersonRow>, StoreError> {
    let Some(mut person) = found else { return Ok(None) };
    person.sites = assigned_sites(tx, tenant, person.id)?;
    Ok(Some(person))
}

fn assigned_sites(tx: &Connection, tenant: Uuid, user: Uuid) -> Result<Vec<Uuid>, StoreError> {
    let sql = "select site_id from user_site_assignments where tenant_id = ? and user_id = ?";
    let mut statement = tx.prepare_cached(sql)?;
    let rows = statement.query_map([tenant.to_string(), user.to_string()], |row| id_at(row, 0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn person(row: &Row<'_>) -> rusqlite::Result<PersonRow> {
    Ok(PersonRow {
        id: id_at(row, 0)?,
        email: row.get(1)?,
        first_name: row.get(2)?,
        last_name: row.get(3)?,
        user_type: row.get(4)?,
        role: row.get(5)?,
        sites: Vec::new(),
    })
}

/// An id in a column; nil for text that is none, which refers to nothing.
fn id_at(row: &Row<'_>, index: usize) -> rusqlite::Result<Uuid> {
    let text: String = row.get(index)?;
    Ok(Uuid::try_parse(&text).unwrap_or_default())
}
