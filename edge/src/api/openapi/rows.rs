//! Rows of the synced tables as schemas, out of the catalog.

use serde_json::{Value, json};
use sync::catalog::{Column, Kind, Table};
use utoipa::openapi::schema::{
    AdditionalProperties, KnownFormat, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::{Object, Ref, RefOr};

use crate::api::resource::Resource;

/// A row as it is answered. With `fields`, only those columns, `id` and `_sync` are there.
pub(super) fn answered(table: &Table) -> RefOr<Schema> {
    let mut object = table
        .columns
        .iter()
        .fold(ObjectBuilder::new(), |object, column| object.property(column.name, column_schema(table, column, false)));
    object = object.property("_sync", Ref::from_schema_name("RowSync")).required("id").required("_sync");
    object.description(Some(format!("A row of {}.", table.name))).into()
}

/// What a client sends of a row: to add one, if something of it is `required`, or to change one.
pub(super) fn sent(resource: &Resource, required: &[&str]) -> RefOr<Schema> {
    let table = (resource.table)();
    let writable = table.columns.iter().filter(|column| resource.writable.contains(&column.name));
    let object = writable
        .fold(ObjectBuilder::new(), |object, column| object.property(column.name, column_schema(table, column, true)));
    let object = required.iter().fold(object, |object, name| object.required(*name));
    let object = object.additional_properties(Some(AdditionalProperties::FreeForm(false)));
    let object = if required.is_empty() { object.min_properties(Some(1)) } else { object };
    object.into()
}

/// An example of a whole row.
pub(super) fn example(table: &Table) -> Value {
    let columns = table.columns.iter().map(|column| (column.name.to_owned(), column_example(table, column)));
    let mut row: serde_json::Map<String, Value> = columns.collect();
    row.insert("_sync".to_owned(), json!({"state": "synced", "version": "8c1b7e0f5a2d4396"}));
    row.into()
}

/// An example of what a client sends to add a row.
pub(super) fn example_sent(resource: &Resource) -> Value {
    let table = (resource.table)();
    let names: &[&str] = match table.name {
        "tasks" => &["title", "priority", "due_date", "metadata"],
        "devices" => &["name", "type", "serial_number", "metadata"],
        _ => &["name", "address", "latitude", "longitude", "timezone"],
    };
    let columns = names.iter().filter_map(|name| table.column(name));
    let row: serde_json::Map<String, Value> =
        columns.map(|column| (column.name.to_owned(), column_example(table, column))).collect();
    row.into()
}

/// The schema of a column, for writing or for reading.
fn column_schema(table: &Table, column: &Column, for_writing: bool) -> Object {
    let kind = match column.kind {
        Kind::Real => Type::Number,
        Kind::Json => Type::Object,
        Kind::Uuid | Kind::Text | Kind::Enum(..) | Kind::Timestamp => Type::String,
    };
    let types = if column.nullable { SchemaType::from_iter([kind, Type::Null]) } else { SchemaType::from(kind) };
    let object = ObjectBuilder::new().schema_type(types).examples([column_example(table, column)]);
    let object = match column.kind {
        Kind::Uuid => object.format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid))),
        Kind::Timestamp => object.format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))),
        Kind::Enum(_, labels) => {
            let null = column.nullable.then_some(Value::Null);
            object.enum_values(Some(labels.iter().map(|label| json!(label)).chain(null)))
        }
        Kind::Real => {
            let bound = if column.name == "latitude" { 90.0 } else { 180.0 };
            object.minimum(Some(-bound)).maximum(Some(bound))
        }
        Kind::Text if for_writing && !column.nullable => object.pattern(Some("\\S")),
        Kind::Text | Kind::Json => object,
    };
    let about = about(table, column);
    object.description((!about.is_empty()).then_some(about)).build()
}

fn about(table: &Table, column: &Column) -> &'static str {
    match (table.name, column.name) {
        ("tasks", "user_id") => "Who is to do it: a member of the tenant.",
        ("tasks", "site_id") => "Where. When it is left out: the device's site, or this edge's.",
        ("tasks", "completed_at") => "When it was done. Only a task that is done has one; done sets it.",
        ("devices", "site_id") => "Where it stands. When it is left out: this edge's site.",
        ("devices", "serial_number") => "Unique in the tenant, as far as this edge knows.",
        ("sites", "timezone") => "A name of the IANA time zone database.",
        ("sites", "latitude" | "longitude") => "In degrees. Both or neither.",
        (_, "metadata") => "Anything, by key. Two people who change different keys do not collide.",
        (_, "id") => "The row's id.",
        _ => "",
    }
}

fn column_example(table: &Table, column: &Column) -> Value {
    match (table.name, column.name) {
        ("tasks", "title") => json!("Grease dock 4 door actuator"),
        ("tasks", "description") => json!("Use the food-grade grease from cabinet 2."),
        ("tasks", "completed_at") => Value::Null,
        ("tasks", "metadata") => json!({"notes": "squeaks when it rains"}),
        ("devices", "name") => json!("Dock 4 door actuator"),
        ("devices", "type") => json!("actuator"),
        ("devices", "serial_number") => json!("DA-77-04113"),
        ("devices", "metadata") => json!({"firmware": "2.4.1"}),
        ("sites", "name") => json!("Warehouse"),
        ("sites", "address") => json!("2905 W Roosevelt Rd, Chicago, IL"),
        ("sites", "latitude") => json!(41.8663),
        ("sites", "longitude") => json!(-87.6988),
        ("sites", "timezone") => json!("America/Chicago"),
        ("tenants", "name") => json!("Acme Corporation"),
        ("tenants", "slug") => json!("acme-corp"),
        ("tenants", "keycloak_group_id") => Value::Null,
        (_, "due_date") => json!("2026-12-01T09:00:00.000000Z"),
        _ => match column.kind {
            Kind::Uuid => json!("0190a3c2-7d1e-7c4f-9a51-3f1f5b8e2d10"),
            Kind::Text => json!("text"),
            Kind::Enum(_, labels) => json!(labels[0]),
            Kind::Timestamp => json!("2026-11-23T14:02:11.250000Z"),
            Kind::Real => json!(0.5),
            Kind::Json => json!({}),
        },
    }
}
