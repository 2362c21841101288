//! Examples of bodies and answers that are no rows.

use serde_json::{Value, json};
use sync::catalog::Table;

/// An id.
pub(super) const ID: &str = "0190a3c2-7d1e-7c4f-9a51-3f1f5b8e2d10";
/// A time.
pub(super) const AT: &str = "2026-11-23T14:02:11.250000Z";

/// Several writes as one.
pub(super) fn batch() -> Value {
    json!({"operations": [
        {"op": "create", "table": "devices", "row": {"name": "Pump 3", "type": "actuator"}},
        {"op": "create", "table": "tasks", "row": {"title": "Prime pump 3", "device_id": "$0"}},
        {"op": "delete", "table": "tasks", "id": ID}
    ]})
}

/// A change of a row.
pub(super) fn patch(table: &Table) -> Value {
    match table.name {
        "tasks" => json!({"status": "done"}),
        "devices" => json!({"status": "maintenance"}),
        _ => json!({"name": "Warehouse north"}),
    }
}

/// A person.
pub(super) fn person() -> Value {
    json!({"id": ID, "email": "operator@acme-corp.com", "first_name": "Mei", "last_name": "Lindqvist",
        "user_type": "regular_user", "role": "member", "sites": [ID]})
}

/// Who asks, and where.
pub(super) fn me() -> Value {
    let mut me = person();
    me["tenant"] = json!({"id": ID, "name": "Acme Corporation", "slug": "acme-corp"});
    me["site"] = json!({"id": ID, "name": "Headquarters", "timezone": "America/Chicago"});
    me["expires_at"] = json!(AT);
    me
}

/// How the edge stands.
pub(super) fn status() -> Value {
    json!({"state": "online", "in_sync": true, "pending": 0, "last_exchange_at": AT, "last_error": null,
        "hub_time_offset_ms": -13, "conflicts_open": 0, "quarantined": 0, "storage": "ok", "transport": "tls"})
}

/// What is known of a row.
pub(super) fn history() -> Value {
    let write = json!({"register": "title", "value": "Grease door 4", "replica": 3, "edge": "wh-1", "seq": 4711,
        "hlc": "117667186283511808", "site": "Warehouse", "person": {"id": ID, "name": "Grace Okafor", "email": "grace@acme-corp.com"},
        "at": AT, "receipt": "at_hq"});
    json!({"table": "tasks", "row_id": ID, "alive": true, "version": "8c1b7e0f5a2d4396", "values": {"title": "Grease door 4"},
        "unreadable": null, "vv": {"1": 12, "3": 4711}, "gone": {}, "acknowledged": {"1": 12, "3": 4711},
        "registers": [write], "deleted": null, "receipt": {"state": "at_hq", "since": AT, "code": null, "reason": null},
        "not_applied": null, "conflicts": [], "events": []})
}

/// What lost to what.
pub(super) fn conflict() -> Value {
    json!({"id": ID, "table": "tasks", "row_id": ID, "kind": "edit_edit", "column": "title", "status": "open",
        "winner": {"value": "Grease door 4", "site": "Warehouse", "person": "Grace Okafor", "at": AT},
        "loser": {"value": "Oil door 4", "site": "Headquarters", "person": "Mei Lindqvist", "at": AT}})
}
