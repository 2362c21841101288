//! The rows of the sample data, as JSON arrays of objects whose keys are columns. Pure: times are counted from an argument.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

const ACME: Uuid = id(1, 1);
const TECHSTART: Uuid = id(1, 2);
const BETA: Uuid = id(1, 3);
const DEMO: Uuid = id(1, 4);

const SYSTEM_ADMIN: Uuid = id(2, 1);
const ACME_ADMIN: Uuid = id(2, 2);
const ACME_MANAGER: Uuid = id(2, 3);
const ACME_OPERATOR: Uuid = id(2, 4);
const TECHSTART_ADMIN: Uuid = id(2, 5);
const TECHSTART_USER: Uuid = id(2, 6);
const BETA_ADMIN: Uuid = id(2, 7);
const CONSULTANT: Uuid = id(2, 8);

const HEADQUARTERS: Uuid = id(4, 1);
const WAREHOUSE: Uuid = id(4, 2);
const OFFICE: Uuid = id(4, 3);
const LAB: Uuid = id(4, 4);

/// `5eed0000-0000-4000-8000-` and the number of the table and of the row: a well-formed version 4 id that a person
/// recognises as a sample's. Table numbers are the catalog's; 9 and 10 are the audit log and the invitations.
const fn id(table: u128, number: u128) -> Uuid {
    Uuid::from_u128(0x5eed_0000_0000_4000_8000_0000_0000_0000 | (table << 32) | number)
}

pub(super) fn tenants() -> Value {
    json!([
        {"id": ACME, "name": "Acme Corporation", "slug": "acme-corp", "type": "enterprise", "status": "active",
         "metadata": {"industry": "manufacturing", "contract": {"plan": "enterprise-24x7", "seats": 250}}},
        {"id": TECHSTART, "name": "TechStart Inc", "slug": "techstart", "type": "standard", "status": "active",
         "metadata": {"industry": "software", "contract": {"plan": "standard", "seats": 40}}},
        {"id": BETA, "name": "Beta Solutions", "slug": "beta-solutions", "type": "starter", "status": "active",
         "metadata": {"industry": "life sciences", "contract": {"plan": "starter", "seats": 5}}},
        {"id": DEMO, "name": "Demo Company", "slug": "demo-company", "type": "trial", "status": "pending",
         "metadata": {"source": "web sign-up"}},
    ])
}

pub(super) fn users() -> Value {
    let user = |id: Uuid, email: &str, first: &str, last: &str, kind: &str| json!({"id": id, "email": email, "first_name": first, "last_name": last, "user_type": kind});
    Value::Array(vec![
        user(SYSTEM_ADMIN, "admin@system.local", "System", "Administrator", "system_admin"),
        user(ACME_ADMIN, "admin@acme-corp.com", "Grace", "Okafor", "tenant_admin"),
        user(ACME_MANAGER, "manager@acme-corp.com", "Daniel", "Reyes", "regular_user"),
        user(ACME_OPERATOR, "operator@acme-corp.com", "Mei", "Lindqvist", "regular_user"),
        user(TECHSTART_ADMIN, "admin@techstart.io", "Priya", "Raman", "tenant_admin"),
        user(TECHSTART_USER, "user@techstart.io", "Jonas", "Weber", "regular_user"),
        user(BETA_ADMIN, "admin@beta-solutions.com", "Eoin", "Murphy", "tenant_admin"),
        user(CONSULTANT, "consultant@external.com", "Alex", "Thompson", "guest_user"),
    ])
}

pub(super) fn associations() -> Value {
    let members = [
        (ACME_ADMIN, ACME, "owner", "active"),
        (ACME_MANAGER, ACME, "admin", "active"),
        (ACME_OPERATOR, ACME, "member", "active"),
        (TECHSTART_ADMIN, TECHSTART, "owner", "active"),
        (TECHSTART_USER, TECHSTART, "member", "active"),
        (BETA_ADMIN, BETA, "owner", "active"),
        // One person, a different role with every customer.
        (CONSULTANT, ACME, "viewer", "active"),
        (CONSULTANT, TECHSTART, "member", "active"),
        (CONSULTANT, BETA, "admin", "active"),
        (CONSULTANT, DEMO, "owner", "invited"),
    ];
    numbered(
        &members,
        |number, (user, tenant, role, status)| json!({"id": id(3, number), "user_id": user, "tenant_id": tenant, "role": role, "status": status}),
    )
}

pub(super) fn sites() -> Value {
    json!([
        {"id": HEADQUARTERS, "tenant_id": ACME, "name": "Headquarters",
         "address": "233 South Wacker Drive, Chicago, IL 60606, USA",
         "latitude": 41.878876, "longitude": -87.635915, "timezone": "America/Chicago",
         "metadata": {"floors": 12, "access": {"lobby": "badge", "roof": "key 7"}, "uplink": "fibre"}},
        {"id": WAREHOUSE, "tenant_id": ACME, "name": "Warehouse",
         "address": "2400 East Artesia Boulevard, Long Beach, CA 90805, USA",
         "latitude": 33.874199, "longitude": -118.166735, "timezone": "America/Los_Angeles",
         "metadata": {"docks": 18, "cold_storage": true, "uplink": "lte"}},
        {"id": OFFICE, "tenant_id": TECHSTART, "name": "Office",
         "address": "Rosenthaler Straße 40, 10178 Berlin, Germany",
         "latitude": 52.524369, "longitude": 13.402053, "timezone": "Europe/Berlin",
         "metadata": {"floors": 2, "uplink": "dsl"}},
        {"id": LAB, "tenant_id": BETA, "name": "Lab",
         "address": "Trinity College, College Green, Dublin 2, D02 PN40, Ireland",
         "latitude": 53.343792, "longitude": -6.254572, "timezone": "Europe/Dublin",
         "metadata": {"biosafety_level": 2, "uplink": "fibre"}},
    ])
}

pub(super) fn assignments() -> Value {
    let assigned = [
        (ACME_MANAGER, HEADQUARTERS, ACME, ACME_ADMIN),
        (ACME_MANAGER, WAREHOUSE, ACME, ACME_ADMIN),
        (ACME_OPERATOR, HEADQUARTERS, ACME, ACME_MANAGER),
        (ACME_OPERATOR, WAREHOUSE, ACME, ACME_MANAGER),
        (ACME_ADMIN, HEADQUARTERS, ACME, ACME_ADMIN),
        (TECHSTART_ADMIN, OFFICE, TECHSTART, TECHSTART_ADMIN),
        (TECHSTART_USER, OFFICE, TECHSTART, TECHSTART_ADMIN),
        (BETA_ADMIN, LAB, BETA, BETA_ADMIN),
        (CONSULTANT, LAB, BETA, BETA_ADMIN),
    ];
    numbered(
        &assigned,
        |number, (user, site, tenant, by)| json!({"id": id(5, number), "user_id": user, "site_id": site, "tenant_id": tenant, "assigned_by": by}),
    )
}

/// Site, name, type, serial number, status, metadata.
type Device = (Uuid, &'static str, &'static str, &'static str, &'static str, &'static str);

const DEVICES: &[Device] = &[
    (
        HEADQUARTERS,
        "HVAC controller, floors 1 to 6",
        "controller",
        "HVC-40-18823",
        "online",
        r#"{"vendor": "Siemens", "model": "PXC4.E16", "firmware": "3.2.1", "setpoint_celsius": 21.5, "zones": [1, 2, 3, 4, 5, 6]}"#,
    ),
    (
        HEADQUARTERS,
        "HVAC controller, floors 7 to 12",
        "controller",
        "HVC-40-18824",
        "error",
        r#"{"vendor": "Siemens", "model": "PXC4.E16", "firmware": "3.1.9", "fault": "E217 supply fan"}"#,
    ),
    (
        HEADQUARTERS,
        "Lobby camera",
        "camera",
        "AXP-3265-00A7",
        "online",
        r#"{"vendor": "Axis", "model": "P3265-V", "firmware": "11.8.61", "resolution": "1920x1080", "retention_days": 30}"#,
    ),
    (
        HEADQUARTERS,
        "Garage camera",
        "camera",
        "AXP-3265-00B2",
        "offline",
        r#"{"vendor": "Axis", "model": "P3265-V", "firmware": "11.5.64", "resolution": "1920x1080"}"#,
    ),
    (
        HEADQUARTERS,
        "Building gateway",
        "gateway",
        "UG65-6412A",
        "online",
        r#"{"vendor": "Milesight", "model": "UG65", "firmware": "60.0.0.42", "protocols": ["bacnet", "lorawan"]}"#,
    ),
    (
        HEADQUARTERS,
        "Virtualisation host 1",
        "server",
        "DELL-R750-7KX2",
        "online",
        r#"{"vendor": "Dell", "model": "PowerEdge R750", "memory_gib": 512, "rack": {"row": "A", "unit": 14}}"#,
    ),
    (
        HEADQUARTERS,
        "Main electricity meter",
        "meter",
        "EM-ION9000-331",
        "online",
        r#"{"vendor": "Schneider Electric", "model": "ION9000", "calibrated": "2025-03-14", "phase_count": 3}"#,
    ),
    (
        HEADQUARTERS,
        "Reception workstation",
        "workstation",
        "PF-4T19QZ",
        "maintenance",
        r#"{"vendor": "Lenovo", "model": "ThinkCentre M70q", "os": "Ubuntu 24.04"}"#,
    ),
    (
        WAREHOUSE,
        "Cold store temperature",
        "sensor",
        "EMT-ERS2-5501",
        "online",
        r#"{"vendor": "Elsys", "model": "ERS2", "unit": "celsius", "limits": {"low": 2, "high": 6}, "battery_percent": 87}"#,
    ),
    (
        WAREHOUSE,
        "Dock 4 door actuator",
        "actuator",
        "HRM-WA300-0412",
        "maintenance",
        r#"{"vendor": "Hörmann", "model": "WA 300", "cycles": 41877}"#,
    ),
    (
        WAREHOUSE,
        "Forklift beacon 11",
        "beacon",
        "KIO-BP16-3-0011",
        "online",
        r#"{"vendor": "Kontakt.io", "model": "Beacon Pro 16-3", "battery_percent": 64, "interval_ms": 350}"#,
    ),
    (
        WAREHOUSE,
        "Yard camera",
        "camera",
        "AXQ-1806-11C0",
        "error",
        r#"{"vendor": "Axis", "model": "Q1806-LE", "firmware": "11.8.61", "fault": "lens heater"}"#,
    ),
    (
        WAREHOUSE,
        "LTE router",
        "router",
        "TEL-RUT956-7781",
        "online",
        r#"{"vendor": "Teltonika", "model": "RUT956", "carrier": "backup", "signal_dbm": -87}"#,
    ),
    (
        WAREHOUSE,
        "Old conveyor controller",
        "controller",
        "ABB-AC31-1997",
        "decommissioned",
        r#"{"vendor": "ABB", "model": "AC31", "replaced_by": "AC500", "removed": "2025-06-30"}"#,
    ),
    (
        OFFICE,
        "Meeting room air quality",
        "sensor",
        "AWR-OMNI-2210",
        "online",
        r#"{"vendor": "Awair", "model": "Omni", "measures": ["co2", "pm25", "humidity"]}"#,
    ),
    (
        OFFICE,
        "Office router",
        "router",
        "MKT-CCR2004-91",
        "online",
        r#"{"vendor": "MikroTik", "model": "CCR2004", "firmware": "7.16.2"}"#,
    ),
    (
        OFFICE,
        "Build server",
        "server",
        "SMC-1115-0042",
        "offline",
        r#"{"vendor": "Supermicro", "model": "AS-1115", "memory_gib": 256}"#,
    ),
    (
        OFFICE,
        "Front desk workstation",
        "workstation",
        "C02-MM4-118",
        "online",
        r#"{"vendor": "Apple", "model": "Mac mini M4", "os": "macOS 15"}"#,
    ),
    (
        LAB,
        "Freezer −80 °C",
        "sensor",
        "TSX-60086-17",
        "online",
        r#"{"vendor": "Thermo Scientific", "model": "TSX60086", "unit": "celsius", "limits": {"low": -86, "high": -70}}"#,
    ),
    (
        LAB,
        "Fume hood actuator",
        "actuator",
        "BEL-LMV-D3-08",
        "online",
        r#"{"vendor": "Belimo", "model": "LMV-D3", "face_velocity_m_s": 0.5}"#,
    ),
];

pub(super) fn devices() -> Value {
    numbered(DEVICES, |number, (site, name, kind, serial_number, status, metadata)| {
        json!({"id": id(7, number), "site_id": site, "name": name, "type": kind, "serial_number": serial_number,
               "status": status, "metadata": object(metadata)})
    })
}

/// What it refers to (tenant, assignee, site, number of the device), title and description, status and priority, hours from
/// now to the due date and to the completion, metadata.
type Task = (
    (Uuid, Option<Uuid>, Option<Uuid>, Option<u128>),
    (&'static str, Option<&'static str>),
    (&'static str, &'static str),
    (Option<i64>, Option<i64>),
    &'static str,
);

/// Some are due in the past, some today, some far off.
const TASKS: &[Task] = &[
    (
        (ACME, Some(ACME_OPERATOR), Some(HEADQUARTERS), Some(2)),
        (
            "Replace supply fan bearing",
            Some("Fault E217 on the controller of floors 7 to 12. Bearing kit is in store room 3."),
        ),
        ("open", "urgent"),
        (Some(4), None),
        r#"{"checklist": ["lock out", "swap bearing", "run test"], "estimate_minutes": 90}"#,
    ),
    (
        (ACME, Some(ACME_OPERATOR), Some(HEADQUARTERS), Some(4)),
        ("Garage camera is dark", Some("No picture since the night shift. Check power over Ethernet first.")),
        ("in_progress", "high"),
        (Some(8), None),
        r#"{"ticket": "HQ-1042"}"#,
    ),
    (
        (ACME, Some(ACME_MANAGER), Some(HEADQUARTERS), Some(7)),
        ("Yearly meter calibration", None),
        ("open", "medium"),
        (Some(504), None),
        r#"{"laboratory": "NIST traceable"}"#,
    ),
    (
        (ACME, None, Some(HEADQUARTERS), Some(8)),
        ("Re-image reception workstation", Some("Keep the badge printer's driver.")),
        ("open", "low"),
        (Some(120), None),
        r#"{}"#,
    ),
    (
        (ACME, Some(ACME_OPERATOR), Some(WAREHOUSE), Some(10)),
        ("Grease dock 4 door actuator", Some("Waiting for the safety key from the landlord.")),
        ("blocked", "high"),
        (Some(-20), None),
        r#"{"blocked_by": "safety key"}"#,
    ),
    (
        (ACME, Some(ACME_OPERATOR), Some(WAREHOUSE), Some(9)),
        ("Swap battery of cold store sensor", None),
        ("done", "medium"),
        (Some(-24), Some(-26)),
        r#"{"parts": [{"number": "ER14505", "count": 2}]}"#,
    ),
    (
        (ACME, Some(ACME_MANAGER), Some(WAREHOUSE), Some(12)),
        ("Yard camera lens heater", Some("Spare part ordered.")),
        ("blocked", "urgent"),
        (Some(48), None),
        r#"{"order": "PO-77120"}"#,
    ),
    (
        (ACME, Some(ACME_OPERATOR), Some(WAREHOUSE), None),
        ("Count pallets in aisle C", None),
        ("open", "low"),
        (Some(72), None),
        r#"{"aisle": "C"}"#,
    ),
    (
        (ACME, Some(ACME_MANAGER), Some(WAREHOUSE), Some(14)),
        ("Dispose of the old conveyor controller", Some("Contains a lithium cell.")),
        ("cancelled", "low"),
        (Some(-720), None),
        r#"{"reason": "sold"}"#,
    ),
    (
        (ACME, Some(ACME_ADMIN), None, None),
        ("Review site access list", Some("Both sites, before the audit.")),
        ("in_progress", "medium"),
        (Some(240), None),
        r#"{}"#,
    ),
    (
        (TECHSTART, Some(TECHSTART_USER), Some(OFFICE), Some(17)),
        ("Build server does not boot", Some("Fans spin, no video. Try the second power supply.")),
        ("in_progress", "urgent"),
        (Some(2), None),
        r#"{"ticket": "OPS-88"}"#,
    ),
    (
        (TECHSTART, Some(TECHSTART_USER), Some(OFFICE), Some(16)),
        ("Update router firmware", None),
        ("open", "high"),
        (Some(72), None),
        r#"{"from": "7.16.2", "to": "7.18"}"#,
    ),
    (
        (TECHSTART, Some(CONSULTANT), Some(OFFICE), Some(15)),
        ("Explain the CO₂ peaks on Mondays", None),
        ("done", "medium"),
        (Some(-48), Some(-72)),
        r#"{"finding": "window sensor was stuck"}"#,
    ),
    (
        (TECHSTART, None, Some(OFFICE), Some(18)),
        ("New keyboard for the front desk", None),
        ("cancelled", "low"),
        (None, None),
        r#"{}"#,
    ),
    (
        (BETA, Some(BETA_ADMIN), Some(LAB), Some(19)),
        ("Defrost the −80 °C freezer", Some("Move the samples to the neighbour's freezer first.")),
        ("open", "high"),
        (Some(144), None),
        r#"{"samples": 412}"#,
    ),
    (
        (BETA, Some(CONSULTANT), Some(LAB), Some(20)),
        ("Measure face velocity of the fume hood", None),
        ("done", "high"),
        (Some(-168), Some(-192)),
        r#"{"measured_m_s": 0.52}"#,
    ),
    (
        (BETA, Some(BETA_ADMIN), Some(LAB), None),
        ("Renew biosafety certificate", None),
        ("blocked", "medium"),
        (Some(960), None),
        r#"{"blocked_by": "inspector"}"#,
    ),
];

pub(super) fn tasks(now: DateTime<Utc>) -> Value {
    numbered(TASKS, |number, (refers, (title, description), (status, priority), (due, completed), metadata)| {
        let (tenant, user, site, device) = *refers;
        json!({
            "id": id(8, number), "tenant_id": tenant, "user_id": user, "site_id": site,
            "device_id": device.map(|number| id(7, number)), "title": title, "description": description,
            "status": status, "priority": priority, "due_date": due.map(|hours| hours_from(now, hours)),
            "completed_at": completed.map(|hours| hours_from(now, hours)), "metadata": object(metadata),
        })
    })
}

pub(super) fn audit_logs(now: DateTime<Utc>) -> Value {
    let records = [
        (ACME, ACME_ADMIN, "login", "session", None, json!({"method": "oidc"}), -72),
        (ACME, ACME_ADMIN, "assign", "user_site_assignment", Some(id(5, 1)), json!({"site": "Headquarters"}), -71),
        (ACME, ACME_MANAGER, "create", "task", Some(id(8, 1)), json!({"title": "Replace supply fan bearing"}), -30),
        (ACME, ACME_OPERATOR, "update", "task", Some(id(8, 6)), json!({"status": ["in_progress", "done"]}), -26),
        (TECHSTART, TECHSTART_ADMIN, "update", "device", Some(id(7, 17)), json!({"status": ["online", "offline"]}), -5),
        (BETA, BETA_ADMIN, "invite", "tenant_invitation", Some(id(10, 1)), json!({"role": "member"}), -2),
    ];
    numbered(&records, |number, (tenant, user, action, kind, resource, details, hours)| {
        json!({"id": id(9, number), "tenant_id": tenant, "user_id": user, "action": action, "resource_type": kind,
               "resource_id": resource, "details": details, "created_at": hours_from(now, *hours)})
    })
}

pub(super) fn invitations(now: DateTime<Utc>) -> Value {
    json!([{"id": id(10, 1), "email": "researcher@beta-solutions.com", "tenant_id": BETA, "role": "member",
            "expires_at": hours_from(now, 7 * 24), "invited_by": BETA_ADMIN}])
}

/// Numbers rows from 1, which gives each its fixed id: new samples go to the end of their list.
fn numbered<T>(rows: &[T], to_json: impl Fn(u128, &T) -> Value) -> Value {
    (1..).zip(rows).map(|(number, row)| to_json(number, row)).collect()
}

fn object(text: &str) -> Value {
    serde_json::from_str(text).expect("the metadata of a sample is written as JSON")
}

fn hours_from(now: DateTime<Utc>, hours: i64) -> String {
    (now + TimeDelta::hours(hours)).to_rfc3339_opts(SecondsFormat::Micros, true)
}
