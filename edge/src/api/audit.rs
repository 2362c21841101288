//! What people did at this site, for admins and owners.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::value::RawValue;
use sync::sqlite::audit::{self, AuditRow};
use sync::sqlite::listing::Key;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Server;
use super::error::Error;
use super::paging;
use super::query::Parameters;
use crate::sessions::Visitor;

#[derive(Serialize, ToSchema)]
#[schema(as = AuditRecord)]
/// What somebody did.
pub(super) struct AuditJson {
    id: Uuid,
    tenant_id: Option<Uuid>,
    /// The person; null for the operator of the box.
    user_id: Option<Uuid>,
    #[schema(example = "update")]
    action: String,
    /// The kind of thing, in the singular.
    #[schema(example = "task")]
    resource_type: String,
    resource_id: Option<Uuid>,
    /// What changed: the columns `before` and `after`, and more.
    #[schema(value_type = Object)]
    details: Box<RawValue>,
    /// When, by this edge's clock.
    #[schema(format = DateTime)]
    created_at: String,
}

pub(super) async fn list(
    State(server): State<Server>,
    visitor: Visitor,
    mut parameters: Parameters,
) -> Result<Response, Error> {
    visitor.person.require_admin("read the audit records")?;
    let limit = paging::limit(&mut parameters)?;
    let before = paging::after(&mut parameters, "", 2)?;
    parameters.finish()?;
    let read = move |connection: &mut rusqlite::Connection| {
        let keys = match before.as_deref() {
            Some([Key::Text(time), Key::Text(id)]) => Some((time.as_str(), id.as_str())),
            _ => None,
        };
        audit::list(connection, visitor.tenant, keys, limit + 1)
    };
    let records = server.app.db.read(read).await?;
    let keys = |record: &AuditRow| vec![Key::Text(record.created_at.clone()), Key::Text(record.id.to_string())];
    let (records, next) = paging::cut(records, limit, keys);
    Ok(paging::list(records.into_iter().map(json).collect(), next))
}

fn json(row: AuditRow) -> AuditJson {
    let AuditRow { id, tenant, user, action, resource_type, resource, details, created_at } = row;
    let details = RawValue::from_string(details).unwrap_or_else(|_| RawValue::NULL.to_owned());
    AuditJson {
        id,
        tenant_id: tenant,
        user_id: user,
        action,
        resource_type,
        resource_id: resource,
        details,
        created_at,
    }
}
