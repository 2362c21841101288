//! Signing in and out.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sync::sqlite::sites;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Server;
use super::body::Fields;
use super::error::Error;
use super::paging;
use super::query::Parameters;
use super::visitor::{Id, clear_cookie, set_cookie};
use crate::edits;
use crate::people::Person;
use crate::refusal::Refusal;
use crate::sessions::{self, SessionView, Visitor};

#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub(super) struct SessionJson {
    /// Send it as `Authorization: Bearer`. It is shown once.
    token: String,
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// When the session ends at the latest.
    #[schema(format = DateTime)]
    expires_at: String,
    person: PersonJson,
}

#[derive(Serialize, ToSchema)]
#[schema(as = SessionEntry)]
/// A session that somebody has at this edge.
pub(super) struct EntryJson {
    /// The token does not follow from it.
    id: Uuid,
    /// The person; null for whoever had an emergency code.
    user_id: Option<Uuid>,
    #[schema(example = "Mei Lindqvist")]
    name: String,
    /// Whether it is the one that asks.
    current: bool,
    #[schema(format = DateTime)]
    created_at: String,
    /// Give or take a minute.
    #[schema(format = DateTime)]
    last_used_at: String,
    /// When it ends at the latest.
    #[schema(format = DateTime)]
    expires_at: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Me)]
pub(super) struct MeJson {
    #[serde(flatten)]
    person: PersonJson,
    tenant: TenantJson,
    site: SiteJson,
    /// When the session ends at the latest.
    #[schema(format = DateTime)]
    expires_at: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Person)]
pub(super) struct PersonJson {
    id: Uuid,
    email: String,
    first_name: Option<String>,
    last_name: Option<String>,
    #[schema(example = "regular_user")]
    user_type: String,
    /// `owner`, `admin`, `member` or `viewer`.
    #[schema(example = "member")]
    role: String,
    /// The sites that the person is assigned to.
    sites: Vec<Uuid>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = TenantName)]
pub(super) struct TenantJson {
    id: Uuid,
    name: Option<String>,
    slug: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = SiteName)]
pub(super) struct SiteJson {
    id: Uuid,
    name: Option<String>,
    timezone: Option<String>,
}

pub(super) async fn sign_in(
    State(server): State<Server>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut fields: Fields,
) -> Result<Response, Error> {
    let signed_in = match fields.take_optional_text("code")? {
        Some(code) => {
            fields.finish()?;
            server.door.sign_in_by_code(&server.app, peer.ip(), &code).await?
        }
        None => {
            let (email, secret) = (fields.take_text("email")?, fields.take_text("secret")?);
            fields.finish()?;
            server.door.sign_in(&server.app, peer.ip(), &email, &secret).await?
        }
    };
    let cookie = set_cookie(&server.app.config, &signed_in.token);
    let session = SessionJson {
        token: signed_in.token,
        token_type: "Bearer",
        expires_at: signed_in.expires_at,
        person: person(signed_in.person),
    };
    Ok((StatusCode::CREATED, [(SET_COOKIE, cookie)], Json(session)).into_response())
}

pub(super) async fn sign_out(State(server): State<Server>, visitor: Visitor) -> Result<Response, Error> {
    sessions::sign_out(&server.app, &visitor).await?;
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, clear_cookie(&server.app.config))]).into_response())
}

pub(super) async fn list(
    State(server): State<Server>,
    visitor: Visitor,
    parameters: Parameters,
) -> Result<Response, Error> {
    parameters.finish()?;
    let clock = server.app.clock;
    let views = server.app.db.snapshot(move |tx| sessions::list(tx, &visitor, clock)).await?;
    Ok(paging::list(views.into_iter().map(entry).collect(), None))
}

pub(super) async fn end(State(server): State<Server>, visitor: Visitor, Id(id): Id) -> Result<Response, Error> {
    sessions::end(&server.app, &visitor, id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn entry(view: SessionView) -> EntryJson {
    let SessionView { id, user, name, is_own, created_at, last_used_at, expires_at } = view;
    EntryJson { id, user_id: user, name, current: is_own, created_at, last_used_at, expires_at }
}

pub(super) async fn me(State(server): State<Server>, visitor: Visitor) -> Result<Response, Error> {
    let (tenant, site) = (visitor.tenant, visitor.site);
    let read = move |tx: &rusqlite::Transaction<'_>| -> Result<_, Refusal> {
        let row = edits::find(tx, edits::table("tenants"), tenant, tenant)?;
        Ok((row, sites::name_and_timezone(tx, site)?))
    };
    let (row, place) = server.app.db.snapshot(read).await?;
    let (name, timezone) = place.unzip();
    let owned = |column| row.text(column).map(str::to_owned);
    let me = MeJson {
        person: person(visitor.person),
        tenant: TenantJson { id: tenant, name: owned("name"), slug: owned("slug") },
        site: SiteJson { id: site, name, timezone },
        expires_at: visitor.expires_at,
    };
    Ok(Json(me).into_response())
}

fn person(person: Person) -> PersonJson {
    let Person { id, email, first_name, last_name, user_type, role_name: role, sites, .. } = person;
    PersonJson { id, email, first_name, last_name, user_type, role, sites }
}
