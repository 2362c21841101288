//! The members of the tenant, and the tenant. Both are kept at the centre; here they are read only.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use sync::sqlite::listing::Key;
use sync::sqlite::people::{self, MemberRow};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Server;
use super::error::Error;
use super::paging;
use super::query::Parameters;
use super::row::{Selection, answer_unless_known};
use crate::edits;
use crate::sessions::Visitor;

#[derive(Serialize, ToSchema)]
#[schema(as = Member)]
pub(super) struct MemberJson {
    id: Uuid,
    email: String,
    first_name: Option<String>,
    last_name: Option<String>,
    user_type: String,
    #[schema(example = "member")]
    role: String,
    #[schema(example = "active")]
    status: String,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

pub(super) async fn users(
    State(server): State<Server>,
    visitor: Visitor,
    mut parameters: Parameters,
) -> Result<Response, Error> {
    let limit = paging::limit(&mut parameters)?;
    let after = paging::after(&mut parameters, "", 2)?;
    parameters.finish()?;
    let read = move |connection: &mut rusqlite::Connection| {
        let keys = match after.as_deref() {
            Some([Key::Text(email), Key::Text(id)]) => Some((email.as_str(), id.as_str())),
            _ => None,
        };
        people::members(connection, visitor.tenant, keys, limit + 1)
    };
    let members = server.app.db.read(read).await?;
    let keys = |member: &MemberRow| vec![Key::Text(member.email.clone()), Key::Text(member.id.to_string())];
    let (members, next) = paging::cut(members, limit, keys);
    Ok(paging::list(members.into_iter().map(json).collect(), next))
}

pub(super) async fn tenant(
    State(server): State<Server>,
    visitor: Visitor,
    headers: HeaderMap,
    mut parameters: Parameters,
) -> Result<Response, Error> {
    let selection = Selection::take(&mut parameters, edits::table("tenants"))?;
    parameters.finish()?;
    let id = visitor.tenant;
    let read = move |connection: &mut rusqlite::Connection| edits::find(connection, edits::table("tenants"), id, id);
    let record = server.app.db.read(read).await?;
    Ok(answer_unless_known(&headers, &record, &selection))
}

fn json(row: MemberRow) -> MemberJson {
    let MemberRow { id, email, first_name, last_name, user_type, role, status, created_at, updated_at } = row;
    MemberJson { id, email, first_name, last_name, user_type, role, status, created_at, updated_at }
}
