//! Canonical dumps, judged from outside: by the contract's text, not by the code that writes them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// The dumped tables with their columns, in the contract's order.
const TABLES: [(&str, &[&str]); 7] = [
    ("tenants", &["id", "name", "slug", "type", "status", "keycloak_group_id", "metadata", "created_at", "updated_at"]),
    ("users", &["id", "email", "first_name", "last_name", "user_type", "created_at", "updated_at"]),
    (
        "user_tenant_associations",
        &["id", "user_id", "tenant_id", "role", "status", "metadata", "created_at", "updated_at"],
    ),
    (
        "sites",
        &[
            "id",
            "tenant_id",
            "name",
            "address",
            "latitude",
            "longitude",
            "timezone",
            "metadata",
            "created_at",
            "updated_at",
        ],
    ),
    (
        "user_site_assignments",
        &["id", "user_id", "site_id", "tenant_id", "assigned_by", "metadata", "created_at", "updated_at"],
    ),
    (
        "devices",
        &[
            "id",
            "tenant_id",
            "site_id",
            "name",
            "type",
            "serial_number",
            "status",
            "metadata",
            "created_at",
            "updated_at",
        ],
    ),
    (
        "tasks",
        &[
            "id",
            "tenant_id",
            "user_id",
            "site_id",
            "device_id",
            "title",
            "description",
            "status",
            "priority",
            "due_date",
            "completed_at",
            "metadata",
            "created_at",
            "updated_at",
        ],
    ),
];

/// Which column refers to which table.
const REFERENCES: [(&str, &str); 5] = [
    ("tenant_id", "tenants"),
    ("user_id", "users"),
    ("assigned_by", "users"),
    ("site_id", "sites"),
    ("device_id", "devices"),
];

/// What is wrong with one dump by itself: its form, its order, references to rows that it does not have.
pub fn problems(dump: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut before: Option<(usize, String)> = None;
    let mut ids: BTreeSet<(String, String)> = BTreeSet::new();
    let mut rows = Vec::new();
    if !dump.is_empty() && !dump.ends_with('\n') {
        problems.push("the last line has no end".to_owned());
    }
    for (number, line) in dump.lines().enumerate() {
        let number = number + 1;
        let Ok(Value::Object(row)) = serde_json::from_str::<Value>(line) else {
            problems.push(format!("line {number} is no JSON object: {line}"));
            continue;
        };
        let table = row.get("table").and_then(Value::as_str).unwrap_or_default().to_owned();
        let Some(rank) = TABLES.iter().position(|(name, _)| *name == table) else {
            problems.push(format!("line {number} has the unknown table {table:?}"));
            continue;
        };
        problems.extend(keys_out_of_order(line, TABLES[rank].1).map(|why| format!("line {number} {why}: {line}")));
        problems.extend(ill_formed(&row).map(|why| format!("line {number} has {why}: {line}")));
        let id = row.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = (rank, id.clone());
        if before.as_ref().is_some_and(|before| *before >= key) {
            problems.push(format!("line {number} is out of order: {line}"));
        }
        before = Some(key);
        ids.insert((table.clone(), id));
        rows.push((number, row));
    }
    for (number, row) in rows {
        for (column, table) in REFERENCES {
            if let Some(Value::String(id)) = row.get(column)
                && !ids.contains(&(table.to_owned(), id.clone()))
            {
                problems.push(format!("line {number}: {column} {id} is not among the {table}"));
            }
        }
    }
    problems
}

/// How an edge's dump differs from the hub's, row by row; empty exactly when the bytes are equal.
pub fn differences(hub: &str, edge: &str) -> Vec<String> {
    if hub == edge {
        return Vec::new();
    }
    let (hub_rows, edge_rows) = (by_row(hub), by_row(edge));
    let mut differences = Vec::new();
    for (key, line) in &hub_rows {
        match edge_rows.get(key) {
            None => differences.push(format!("only at the hub:  {line}")),
            Some(other) if other != line => {
                differences.push(format!("hub:  {line}\n    edge: {other}"));
            }
            Some(_) => {}
        }
    }
    let only_edge = edge_rows.iter().filter(|(key, _)| !hub_rows.contains_key(*key));
    differences.extend(only_edge.map(|(_, line)| format!("only at the edge: {line}")));
    if differences.is_empty() {
        differences.push("the same rows in another order, or more than once".to_owned());
    }
    differences
}

/// One column of one row of a dump; none when the row is not there.
pub fn value(dump: &str, table: &str, id: &str, column: &str) -> Option<Value> {
    dump.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(|row| {
        let found = row["table"] == table && row["id"] == id;
        found.then(|| row[column].clone())
    })
}

fn by_row(dump: &str) -> BTreeMap<(String, String), &str> {
    let key = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap_or_default();
        let text = |name: &str| row[name].as_str().unwrap_or(line).to_owned();
        (text("table"), text("id"))
    };
    dump.lines().map(|line| (key(line), line)).collect()
}

/// The parsed object has lost the order of its keys, so they are looked for in the text.
fn keys_out_of_order(line: &str, columns: &[&str]) -> Option<String> {
    let mut rest = line.strip_prefix("{\"table\":")?;
    let mut from = 0;
    for column in columns {
        let Some(at) = rest[from..].find(&format!(",\"{column}\":")) else {
            return Some(format!("lacks {column}, or has it in the wrong place"));
        };
        from += at;
    }
    rest = &rest[from..];
    rest.is_empty().then(|| "is empty".to_owned())
}

fn ill_formed(row: &serde_json::Map<String, Value>) -> Option<String> {
    for (column, value) in row {
        let Value::String(text) = value else { continue };
        if (column == "id" || column.ends_with("_id") && column != "keycloak_group_id" || column == "assigned_by")
            && !is_lower_uuid(text)
        {
            return Some(format!("{column} {text:?}, which is no lower-case uuid"));
        }
        if (column.ends_with("_at") || column == "due_date") && !is_timestamp(text) {
            return Some(format!("{column} {text:?}, which is no canonical timestamp"));
        }
    }
    None
}

fn is_lower_uuid(text: &str) -> bool {
    fits(text, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")
}

fn is_timestamp(text: &str) -> bool {
    fits(text, "dddd-dd-ddTdd:dd:dd.ddddddZ")
}

fn fits(text: &str, pattern: &str) -> bool {
    text.len() == pattern.len()
        && text.chars().zip(pattern.chars()).all(|(found, wanted)| match wanted {
            'x' => found.is_ascii_digit() || ('a'..='f').contains(&found),
            'd' => found.is_ascii_digit(),
            _ => found == wanted,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = r#"{"table":"tenants","id":"5eed0000-0000-4000-8000-000100000001","name":"Acme","slug":"acme","type":"trial","status":"active","keycloak_group_id":null,"metadata":{"a":1},"created_at":"2026-01-02T03:04:05.000000Z","updated_at":"2026-01-02T03:04:05.000000Z"}"#;
    const SITE: &str = r#"{"table":"sites","id":"5eed0000-0000-4000-8000-000400000001","tenant_id":"5eed0000-0000-4000-8000-000100000001","name":"HQ","address":null,"latitude":1.5,"longitude":null,"timezone":"UTC","metadata":{},"created_at":"2026-01-02T03:04:05.000000Z","updated_at":"2026-01-02T03:04:05.000000Z"}"#;

    fn dump() -> String {
        format!("{TENANT}\n{SITE}\n")
    }

    #[test]
    fn a_sound_dump_has_no_problem_and_equals_itself() {
        assert_eq!(problems(&dump()), Vec::<String>::new());
        assert_eq!(differences(&dump(), &dump()), Vec::<String>::new());
        assert_eq!(value(&dump(), "sites", "5eed0000-0000-4000-8000-000400000001", "name"), Some("HQ".into()));
    }

    #[test]
    fn every_doctored_dump_is_found_out() {
        let doctored = [
            ("a row is missing", format!("{TENANT}\n")),
            ("its parent is missing", format!("{SITE}\n")),
            ("the order is another", format!("{SITE}\n{TENANT}\n")),
            ("a row stands twice", format!("{TENANT}\n{SITE}\n{SITE}\n")),
            ("a value is another", dump().replace("\"HQ\"", "\"HX\"")),
            ("a null became a text", dump().replace("\"address\":null", "\"address\":\"\"")),
            ("a number is written otherwise", dump().replace("1.5", "1.50")),
            ("a space crept in", dump().replace("{\"a\":1}", "{\"a\": 1}")),
            ("an id is in capitals", dump().replace("5eed0000", "5EED0000")),
            ("a timestamp has milliseconds", dump().replace("05.000000Z", "05.000Z")),
            ("a timestamp has an offset", dump().replace("05.000000Z", "05.000000+00:00")),
            ("a column is missing", dump().replace("\"timezone\":\"UTC\",", "")),
            (
                "two columns changed places",
                dump().replace(r#""name":"HQ","address":null"#, r#""address":null,"name":"HQ""#),
            ),
            ("a foreign table", dump().replace("\"sites\"", "\"secrets\"")),
            ("the end is missing", dump().trim_end().to_owned()),
            ("nothing is there", String::new()),
        ];
        for (what, text) in doctored {
            assert_ne!(differences(&dump(), &text), Vec::<String>::new(), "{what}");
        }
        let ill = [
            "its parent",
            "the order",
            "stands twice",
            "in capitals",
            "milliseconds",
            "offset",
            "column is missing",
            "changed places",
            "foreign",
            "the end",
        ];
        for (what, text) in [
            ("its parent", format!("{SITE}\n")),
            ("the order", format!("{SITE}\n{TENANT}\n")),
            ("stands twice", format!("{TENANT}\n{SITE}\n{SITE}\n")),
            ("in capitals", dump().replace("5eed0000", "5EED0000")),
            ("milliseconds", dump().replace("05.000000Z", "05.000Z")),
            ("offset", dump().replace("05.000000Z", "05.000000+00:00")),
            ("column is missing", dump().replace("\"timezone\":\"UTC\",", "")),
            ("changed places", dump().replace(r#""name":"HQ","address":null"#, r#""address":null,"name":"HQ""#)),
            ("foreign", dump().replace("\"sites\"", "\"secrets\"")),
            ("the end", dump().trim_end().to_owned()),
        ] {
            assert!(ill.contains(&what));
            assert_ne!(problems(&text), Vec::<String>::new(), "{what}");
        }
    }
}
