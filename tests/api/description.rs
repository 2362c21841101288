//! The API's description against the routes that are there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tests::desk::Desk;

use super::UNKNOWN;

/// What the contract promises.
const ROUTES: &[&str] = &[
    "/api/v1/session",
    "/api/v1/me",
    "/api/v1/tasks",
    "/api/v1/tasks/{id}",
    "/api/v1/devices",
    "/api/v1/devices/{id}",
    "/api/v1/sites",
    "/api/v1/sites/{id}",
    "/api/v1/users",
    "/api/v1/tenant",
    "/api/v1/audit",
    "/api/v1/sync/status",
    "/api/v1/sync/now",
    "/api/v1/sync/conflicts",
    "/api/v1/sync/conflicts/{id}",
    "/api/v1/sync/conflicts/{id}/restore",
    "/api/v1/sync/conflicts/{id}/dismiss",
    "/api/v1/sync/quarantine",
    "/api/v1/sync/quarantine/{id}",
    "/api/v1/events",
    "/api/v1/batch",
    "/api/v1/rows/{table}/{id}/history",
    "/api/v1/export/tasks.csv",
    "/api/v1/export/tasks.ndjson",
    "/healthz",
    "/readyz",
    "/metrics",
];

#[tokio::test]
async fn every_route_of_the_contract_is_described_and_every_described_method_is_there() {
    let desk = Desk::start().await;
    let document = desk.send("", "GET", "/api/openapi.json", None, &[]).await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    for route in ROUTES {
        assert!(paths.contains_key(*route), "{route} is not described");
    }
    for (path, item) in paths {
        let described: BTreeSet<String> =
            item.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        // A method that nothing has: the answer lists those that are there.
        let answer =
            desk.send("", "TRACE", &path.replace("{id}", UNKNOWN).replace("{table}", "tasks"), None, &[]).await;
        assert_eq!(answer.status, 405, "{path}: {}", answer.text);
        let allowed = answer.header("allow").split(',').filter(|method| *method != "HEAD").map(str::to_owned);
        assert_eq!(allowed.collect::<BTreeSet<_>>(), described, "{path}");
    }
}

#[tokio::test]
async fn every_operation_has_an_example_and_every_reference_leads_somewhere() {
    let desk = Desk::start().await;
    let document = desk.send("", "GET", "/api/openapi.json", None, &[]).await.json();
    let mut ids = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = format!("{method} {path}");
            assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{name}");
            let other = ids.insert(operation["operationId"].as_str().unwrap().to_owned(), name.clone());
            assert_eq!(other, None, "{name} has the id of another operation");
            let bodies = operation["requestBody"]["content"].as_object().into_iter().flatten();
            let answers = operation["responses"].as_object().unwrap().iter();
            let answers = answers
                .filter_map(|(_, answer)| answer["content"].get("application/json"))
                .map(|content| ("", content));
            for (_, content) in bodies.map(|(kind, content)| (kind.as_str(), content)).chain(answers) {
                assert!(!content["example"].is_null(), "{name}: {content}");
            }
        }
    }
    let mut references = Vec::new();
    collect(&document, &mut references);
    for reference in references {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
    let codes = &document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
    assert_eq!(codes.as_array().map(Vec::len), Some(edge::api::codes::CODES.len()));
}

#[tokio::test]
async fn the_pages_of_the_description_need_nothing_from_elsewhere() {
    let desk = Desk::start().await;
    let page = desk.send("", "GET", "/docs/", None, &[]).await;
    assert_eq!(page.status, 200);
    assert!(!page.text.contains("https://"), "{}", page.text);
    assert!(page.header("content-security-policy").contains("script-src 'self'"));
    for part in ["swagger-ui.css", "swagger-ui-bundle.js", "swagger-initializer.js"] {
        let part = desk.send("", "GET", &format!("/docs/{part}"), None, &[]).await;
        assert_eq!(part.status, 200);
        assert!(!part.text.is_empty());
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            references.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| collect(member, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}
