//! What every route is for.

use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::path::Parameter;
use utoipa::openapi::schema::{
    ArrayBuilder, KnownFormat, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::{Components, HttpMethod, Ref, RefOr};

use super::examples::{self, AT, ID};
use super::operation::{Described, header, in_path, operation, query};
use super::{problems, rows};
use crate::api::audit::AuditJson;
use crate::api::batch::{self, OPERATIONS_MAX};
use crate::api::conflicts::{ConflictJson, SideJson};
use crate::api::events::{ResetEvent, RowEvent};
use crate::api::export::EXPORTS as RESOURCES;
use crate::api::history::tables;
use crate::api::paging::PAGE_ROWS;
use crate::api::people::MemberJson;
use crate::api::query::{Filter, Takes};
use crate::api::repeat::{KEY, KEY_CHARS_MAX};
use crate::api::resource::Resource;
use crate::api::row::Sync;
use crate::api::sessions::{EntryJson, MeJson, PersonJson, SessionJson, SiteJson, TenantJson};
use crate::api::sync::QuarantineJson;
use crate::edits;
use crate::history::{Event, History, Person, Receipt, ReceiptState, Refused, RegisterHistory, Write};
use crate::status::Status;
use sync::catalog::{Kind, Table};
use sync::sqlite::listing::PAGE_ROWS_MAX;

const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";

/// Every route with its methods.
pub(super) fn all() -> Vec<Described> {
    let mut operations = sessions();
    for resource in RESOURCES {
        operations.extend(of_resource(resource));
    }
    operations.extend(of_tenant());
    operations.extend(of_sync());
    operations.extend(of_many());
    operations.extend(of_health());
    operations
}

/// The schemas that routes refer to.
pub(super) fn components() -> Components {
    let mut components = Components::new();
    let mut add = |name: &str, schema: RefOr<Schema>| {
        components.schemas.insert(name.to_owned(), schema);
    };
    add("Problem", problems::schema());
    for resource in RESOURCES {
        let table = (resource.table)();
        add(title(table), rows::answered(table));
        add(&format!("New{}", title(table)), rows::sent(resource, required(table)));
        add(&format!("{}Patch", title(table)), rows::sent(resource, &[]));
    }
    add("Tenant", rows::answered(edits::table("tenants")));
    add("Operation", operation_of_batch());
    derived::<Sync<'_>>(&mut add, "RowSync");
    derived::<Status>(&mut add, "Status");
    derived::<ConflictJson>(&mut add, "Conflict");
    derived::<SideJson>(&mut add, "ConflictSide");
    derived::<QuarantineJson>(&mut add, "Refused");
    derived::<SessionJson>(&mut add, "Session");
    derived::<EntryJson>(&mut add, "SessionEntry");
    derived::<MeJson>(&mut add, "Me");
    derived::<PersonJson>(&mut add, "Person");
    derived::<TenantJson>(&mut add, "TenantName");
    derived::<SiteJson>(&mut add, "SiteName");
    derived::<MemberJson>(&mut add, "Member");
    derived::<AuditJson>(&mut add, "AuditRecord");
    derived::<History>(&mut add, "History");
    derived::<RegisterHistory>(&mut add, "RegisterHistory");
    derived::<Write>(&mut add, "Write");
    derived::<Person>(&mut add, "HistoryPerson");
    derived::<ReceiptState>(&mut add, "ReceiptState");
    derived::<Receipt>(&mut add, "Receipt");
    derived::<Refused>(&mut add, "HistoryRefused");
    derived::<Event>(&mut add, "HistoryEvent");
    derived::<RowEvent>(&mut add, "RowEvent");
    derived::<ResetEvent>(&mut add, "ResetEvent");
    for status in problems::statuses() {
        components.responses.insert(problems::name(status), problems::response(status).into());
    }
    components
}

/// The schema of a type that is sent; its own name must be the one that others refer to it by.
fn derived<T: ToSchema>(add: &mut impl FnMut(&str, RefOr<Schema>), name: &str) {
    debug_assert_eq!(T::name(), name);
    add(name, T::schema());
}

fn sessions() -> Vec<Described> {
    let session =
        json!({"token": "wst_2b7e...", "token_type": "Bearer", "expires_at": AT, "person": examples::person()});
    let text = || ObjectBuilder::new().schema_type(Type::String).min_length(Some(1));
    let credentials = ObjectBuilder::new()
        .property("email", text().examples(["operator@acme-corp.com"]))
        .property("secret", text().description(Some("The PIN or the passphrase.")).examples(["402817"]))
        .required("email")
        .required("secret");
    let code = text().description(Some("An emergency code, good once.")).examples(["7F3K-9M2P-QX4T-0RZ8"]);
    let code = ObjectBuilder::new().property("code", code).required("code");
    let credentials = OneOfBuilder::new().item(credentials).item(code).build();
    let credentials = RefOr::T(Schema::OneOf(credentials));
    let entry = json!({"id": ID, "user_id": ID, "name": "Mei Lindqvist", "current": true, "created_at": AT,
        "last_used_at": AT, "expires_at": AT});
    let example = json!({"email": "operator@acme-corp.com", "secret": "402817"});
    vec![
        operation(HttpMethod::Post, "/api/v1/session", "signIn", "session", "Sign in")
            .about("With an address and a secret, or with an emergency code for 12 hours of reading. Works with the WAN down. Browsers also get a cookie, which counts only for requests of the edge's own pages.")
            .public()
            .body(&[JSON], &credentials, &example)
            .answers(201, "The session.", Ref::from_schema_name("Session"), session)
            .problem(401)
            .writes(),
        operation(HttpMethod::Delete, "/api/v1/session", "signOut", "session", "Sign out")
            .answers_nothing(204, "The session is over.")
            .writes(),
        operation(HttpMethod::Get, "/api/v1/sessions", "listSessions", "session", "List who is signed in here")
            .about("One's own sessions; for admins and owners everybody's at this edge.")
            .answers(200, "The list.", list_of("SessionEntry"), json!({"items": [entry], "next": null})),
        operation(HttpMethod::Delete, "/api/v1/sessions/{id}", "endSession", "session", "End a session")
            .about("One of those that are listed for who asks.")
            .answers_nothing(204, "It is over.")
            .writes(),
        operation(HttpMethod::Get, "/api/v1/me", "me", "session", "Who am I, where?").answers(
            200,
            "The person, the tenant and the site.",
            Ref::from_schema_name("Me"),
            examples::me(),
        ),
    ]
}

fn of_resource(resource: &'static Resource) -> Vec<Described> {
    let table = (resource.table)();
    let (plural, singular, title) = (table.name, edits::noun(table), title(table));
    let many = format!("/api/v1/{plural}");
    let one = format!("{many}/{{id}}");
    let row = || RefOr::from(Ref::from_schema_name(title));
    let example = || rows::example(table);
    let sent = |name: String| RefOr::from(Ref::from_schema_name(name));
    let id = |verb: &str| format!("{verb}{title}");
    let mut described = vec![
        operation(HttpMethod::Get, &many, &format!("list{title}s"), plural, &format!("List {plural}"))
            .parameters(resource.filters.iter().map(|filter| filter_of(table, filter)))
            .parameters(list_parameters(resource))
            .answers(200, "A page.", list_of(title), json!({"items": [example()], "next": null})),
        operation(HttpMethod::Post, &many, &id("create"), plural, &format!("Add a {singular}"))
            .parameter(idempotency_key()).problem(400)
            .body(&[JSON], &sent(format!("New{title}")), &rows::example_sent(resource))
            .answers_row(201, "The new row.", row(), example())
            .writes(),
        operation(HttpMethod::Get, &one, &id("get"), plural, &format!("Read a {singular}"))
            .parameter(fields(table))
            .parameter(if_none_match())
            .answers_row(200, "The row.", row(), example())
            .answers_nothing(304, "The client has this version already."),
        operation(HttpMethod::Patch, &one, &id("update"), plural, &format!("Change a {singular}"))
            .about("Only the fields that are sent change. As application/merge-patch+json, `metadata` is merged by key (RFC 7396).")
            .parameter(if_match())
            .body(&[JSON, MERGE_PATCH], &sent(format!("{title}Patch")), &examples::patch(table))
            .answers_row(200, "The row as it is now.", row(), example())
            .writes()
            .problem(412),
        operation(HttpMethod::Delete, &one, &id("delete"), plural, &format!("Delete a {singular}"))
            .parameter(if_match())
            .answers_nothing(204, "It is gone.")
            .writes()
            .problem(412),
    ];
    if plural != "tasks" {
        // A serial number that is taken, or the edge's own site.
        described = described.into_iter().map(|described| described.problem(409)).collect();
    }
    described
}

fn of_tenant() -> Vec<Described> {
    let tenants = edits::table("tenants");
    let member = json!({"id": ID, "email": "operator@acme-corp.com", "first_name": "Mei", "last_name": "Lindqvist",
        "user_type": "regular_user", "role": "member", "status": "active", "created_at": AT, "updated_at": AT});
    let record = json!({"id": ID, "tenant_id": ID, "user_id": ID, "action": "update", "resource_type": "task",
        "resource_id": ID, "details": {"before": {"title": "Old"}, "after": {"title": "New"}}, "created_at": AT});
    vec![
        operation(HttpMethod::Get, "/api/v1/users", "listUsers", "tenant", "List the members of the tenant")
            .parameters(page_parameters())
            .answers(200, "A page.", list_of("Member"), json!({"items": [member], "next": null})),
        operation(HttpMethod::Get, "/api/v1/tenant", "getTenant", "tenant", "Read the tenant")
            .parameter(fields(tenants))
            .parameter(if_none_match())
            .answers_row(200, "The tenant.", Ref::from_schema_name("Tenant").into(), rows::example(tenants))
            .answers_nothing(304, "The client has this version already.")
            .problem(404),
        operation(HttpMethod::Get, "/api/v1/audit", "listAudit", "tenant", "List what was done at this site")
            .about("For admins and owners, the newest first.")
            .parameters(page_parameters())
            .answers(200, "A page.", list_of("AuditRecord"), json!({"items": [record], "next": null})),
    ]
}

fn of_sync() -> Vec<Described> {
    let conflict = || RefOr::from(Ref::from_schema_name("Conflict"));
    let statuses = words(&["open", "dismissed", "restored"]);
    let refused = json!({"id": ID, "table": "devices", "row_id": ID, "code": "duplicate_key",
        "reason": "another device already has the serial number \"PT-100\"", "at": AT, "discarded": false});
    let decide = |decision: &str, summary: &str, about: &str| {
        let path = format!("/api/v1/sync/conflicts/{{id}}/{decision}");
        operation(HttpMethod::Post, &path, &format!("{decision}Conflict"), "sync", summary)
            .about(about)
            .parameter(idempotency_key())
            .problem(400)
            .answers(200, "The conflict as it is now.", conflict(), examples::conflict())
            .writes()
            .problem(409)
    };
    vec![
        operation(HttpMethod::Get, "/api/v1/sync/status", "getStatus", "sync", "How this edge stands").answers(
            200,
            "The status.",
            Ref::from_schema_name("Status"),
            examples::status(),
        ),
        operation(HttpMethod::Post, "/api/v1/sync/now", "syncNow", "sync", "Exchange with headquarters now")
            .answers(200, "The exchange is complete.", Ref::from_schema_name("Status"), examples::status())
            .answers(202, "The exchange goes on.", Ref::from_schema_name("Status"), examples::status()),
        operation(HttpMethod::Get, "/api/v1/sync/conflicts", "listConflicts", "sync", "List what lost to what")
            .parameter(query("status", "Only these; several are separated by commas.", comma_separated(&statuses)))
            .parameter(query("row_id", "Only those of this row.", uuid()))
            .parameters(page_parameters())
            .answers(200, "A page.", list_of("Conflict"), json!({"items": [examples::conflict()], "next": null})),
        operation(HttpMethod::Get, "/api/v1/sync/conflicts/{id}", "getConflict", "sync", "Read a conflict").answers(
            200,
            "The conflict.",
            conflict(),
            examples::conflict(),
        ),
        decide("restore", "Bring the losing value back", "An ordinary new edit, in the name of whoever asks."),
        decide("dismiss", "Leave it as it is", "The losing value stays in the list."),
        operation(
            HttpMethod::Get,
            "/api/v1/sync/quarantine",
            "listQuarantine",
            "sync",
            "List the rows that were refused",
        )
        .answers(200, "All of them.", list_of("Refused"), json!({"items": [refused], "next": null})),
        operation(
            HttpMethod::Delete,
            "/api/v1/sync/quarantine/{id}",
            "discardQuarantine",
            "sync",
            "Give a refused row up",
        )
        .about("For admins and owners. It is listed until headquarters' row is here in its place; writing it takes that back.")
        .answers_nothing(204, "It is given up.")
        .writes(),
    ]
}

fn of_many() -> Vec<Described> {
    let table_names: Vec<&str> = tables().map(|table| table.name).collect();
    let mut described = vec![
        operation(HttpMethod::Get, "/api/v1/rows/{table}/{id}/history", "getHistory", "sync", "All that is known of a row")
            .about("Who wrote what and where, whether headquarters has it, what lost to what, and what people did. Dead rows too.")
            .parameter(in_path("table", "The table.", words(&table_names)))
            .answers(200, "The history.", Ref::from_schema_name("History"), examples::history()),
        operation(HttpMethod::Post, "/api/v1/batch", "batch", "sync", "Several writes as one")
            .about("All happen, or none. In a column that holds an id, `\"$0\"` stands for the id that operation 0 made.")
            .parameter(idempotency_key()).problem(400)
            .body(&[JSON], &batch_body(), &examples::batch())
            .answers(200, "The rows as they are now, null for deleted ones.", batch_answer(), json!({"items": [null]}))
            .writes()
            .problem(404)
            .problem(409)
            .problem(412),
        operation(HttpMethod::Get, "/api/v1/events", "listen", "sync", "Listen to what happens")
            .about(
                "Server-sent events: `row` (RowEvent) tells of a row that changed or whose standing changed, whoever wrote it; \
                 `status` (Status) of the edge; `reset` (ResetEvent) that more was missed than is told one by one, so that \
                 lists should be read again. The id of the last event, sent back in `Last-Event-ID`, goes on where it was.",
            )
            .parameter(header("Last-Event-ID", "The id of the last event that was seen.", text()))
            .answers_text(200, "Events without an end.", "text/event-stream"),
    ];
    for resource in RESOURCES {
        let table = (resource.table)();
        for (extension, kind) in [("csv", "text/csv"), ("ndjson", "application/x-ndjson")] {
            let path = format!("/api/v1/export/{}.{extension}", table.name);
            let id = format!("export{}s{}", title(table), if extension == "csv" { "Csv" } else { "Ndjson" });
            let summary = format!("All {} as {}", table.name, extension.to_uppercase());
            described.push(
                operation(HttpMethod::Get, &path, &id, table.name, &summary)
                    .parameters(resource.filters.iter().map(|filter| filter_of(table, filter)))
                    .parameter(sort(resource))
                    .parameter(fields(table))
                    .answers_text(200, "The whole list.", kind)
                    .writes(),
            );
        }
    }
    described
}

fn of_health() -> Vec<Described> {
    let status = |word: &str| {
        let schema: RefOr<Schema> = ObjectBuilder::new().property("status", words(&[word])).required("status").into();
        (schema, json!({"status": word}))
    };
    let ((alive, ok), (ready, yes)) = (status("ok"), status("ready"));
    vec![
        operation(HttpMethod::Get, "/healthz", "isAlive", "sync", "Is the process alive?")
            .public()
            .answers(200, "It is.", alive, ok),
        operation(HttpMethod::Get, "/readyz", "isReady", "sync", "Can it serve anybody?")
            .public()
            .answers(200, "It can.", ready, yes),
        operation(HttpMethod::Get, "/metrics", "metrics", "sync", "Numbers for Prometheus").public().answers_text(
            200,
            "Gauges.",
            "text/plain",
        ),
        operation(HttpMethod::Get, super::PATH, "describe", "sync", "This description").public().answers_text(
            200,
            "OpenAPI 3.1.",
            "application/vnd.oai.openapi+json",
        ),
    ]
}

fn title(table: &Table) -> &'static str {
    match table.name {
        "tasks" => "Task",
        "devices" => "Device",
        _ => "Site",
    }
}

fn required(table: &Table) -> &'static [&'static str] {
    match table.name {
        "tasks" => &["title"],
        "devices" => &["name", "type"],
        _ => &["name"],
    }
}

fn filter_of(table: &Table, filter: &Filter) -> Parameter {
    let schema: RefOr<Schema> = match filter.takes {
        Takes::Id => uuid().into(),
        Takes::Person => ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^(me|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$"))
            .examples(["me"])
            .into(),
        Takes::Labels => match table.column(filter.name).map(|column| column.kind) {
            Some(Kind::Enum(_, labels)) => comma_separated(&words(labels)),
            _ => text().into(),
        },
        Takes::Time => ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .examples([AT])
            .into(),
        Takes::Text => text().into(),
    };
    query(filter.name, filter.about, schema)
}

fn list_parameters(resource: &Resource) -> Vec<Parameter> {
    let mut parameters = vec![sort(resource), fields((resource.table)())];
    parameters.extend(page_parameters());
    parameters
}

fn page_parameters() -> [Parameter; 2] {
    let limit = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1))
        .maximum(Some(PAGE_ROWS_MAX))
        .default(Some(json!(PAGE_ROWS)));
    [
        query("limit", "The most rows of a page.", limit),
        query("cursor", "The `next` of the page before, for the same list in the same order.", text()),
    ]
}

fn sort(resource: &Resource) -> Parameter {
    let names: Vec<&str> = resource.sorts.iter().map(|sort| sort.name).collect();
    let one = format!("-?({})", names.join("|"));
    let schema =
        ObjectBuilder::new().schema_type(Type::String).pattern(Some(format!("^{one}(,{one})*$"))).examples([names[0]]);
    let about = format!("In which order: {}. `-` before a name turns it round; nulls come last.", names.join(", "));
    query("sort", &about, schema)
}

fn fields(table: &Table) -> Parameter {
    let names: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
    query("fields", "Only these columns; `id` and `_sync` are always there.", comma_separated(&words(&names)))
}

/// Words separated by commas.
fn comma_separated(word: &Schema) -> RefOr<Schema> {
    let Schema::Object(object) = word else { return word.clone().into() };
    let labels = object.enum_values.iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>();
    let one = format!("({})", labels.join("|"));
    let example = labels.iter().take(2).copied().collect::<Vec<_>>().join(",");
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(format!("^{one}(,{one})*$"))).examples([example]).into()
}

fn words(labels: &[&str]) -> Schema {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(labels.to_vec())).into()
}

fn text() -> Schema {
    ObjectBuilder::new().schema_type(Type::String).into()
}

fn uuid() -> Schema {
    let format = SchemaFormat::KnownFormat(KnownFormat::Uuid);
    ObjectBuilder::new().schema_type(Type::String).format(Some(format)).examples([ID]).into()
}

fn idempotency_key() -> Parameter {
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(KEY_CHARS_MAX))
        .pattern(Some("^[!-~]+$"))
        .examples(["0190a3c2-first-try"]);
    header(KEY, "A repeat with the same key within 24 hours gets the same answer and does nothing.", schema)
}

fn if_match() -> Parameter {
    header("If-Match", "Only if the row is still in this version (an ETag).", text())
}

fn if_none_match() -> Parameter {
    header("If-None-Match", "Answer 304 if the row is still in this version (an ETag).", text())
}

fn list_of(name: &str) -> RefOr<Schema> {
    let next = SchemaType::from_iter([Type::String, Type::Null]);
    let next =
        ObjectBuilder::new().schema_type(next).description(Some("The cursor of the next page; null on the last."));
    ObjectBuilder::new()
        .property("items", ArrayBuilder::new().items(Ref::from_schema_name(name)))
        .property("next", next)
        .required("items")
        .required("next")
        .into()
}

fn operation_of_batch() -> RefOr<Schema> {
    let kinds: Vec<&str> = batch::KINDS.iter().map(|(name, _)| *name).collect();
    let tables: Vec<&str> = RESOURCES.iter().map(|resource| (resource.table)().name).collect();
    let free = ObjectBuilder::new().description(Some("The columns, as for POST or PATCH of the table."));
    ObjectBuilder::new()
        .property("op", words(&kinds))
        .property("table", words(&tables))
        .property(
            "id",
            ObjectBuilder::new().schema_type(Type::String).description(Some("The row to update or delete.")),
        )
        .property("row", free)
        .property(
            "if_match",
            ObjectBuilder::new()
                .schema_type(Type::String)
                .description(Some("Only if the row is still in this version.")),
        )
        .required("op")
        .required("table")
        .into()
}

fn batch_body() -> RefOr<Schema> {
    let operations = ArrayBuilder::new()
        .items(Ref::from_schema_name("Operation"))
        .min_items(Some(1))
        .max_items(Some(OPERATIONS_MAX));
    ObjectBuilder::new().property("operations", operations).required("operations").into()
}

fn batch_answer() -> RefOr<Schema> {
    let row = ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::Object, Type::Null]));
    ObjectBuilder::new().property("items", ArrayBuilder::new().items(row)).required("items").into()
}
