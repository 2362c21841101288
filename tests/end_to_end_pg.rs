//! The main job on real programs: PostgreSQL, hubs, edges, `psql`, `sqlite3` and HTTP, judged by what a user can see.
//!
//! Every story ends with equal dumps: what the hub holds of a tenant is what each of its edges holds, byte for byte.

#[path = "end_to_end/absence.rs"]
mod absence;
#[path = "end_to_end/bad_input.rs"]
mod bad_input;
#[path = "end_to_end/boxes.rs"]
mod boxes;
#[path = "end_to_end/deletes.rs"]
mod deletes;
#[path = "end_to_end/disagreement.rs"]
mod disagreement;
#[path = "end_to_end/poison.rs"]
mod poison;
#[path = "end_to_end/random_requests.rs"]
mod random_requests;
#[path = "end_to_end/reach.rs"]
mod reach;
#[path = "end_to_end/scope.rs"]
mod scope;

use serde_json::Value;
use tests::api::Api;
use tests::deployment::Edge;
use tests::wait::eventually;

/// The sample data's ids.
const ACME: &str = "5eed0000-0000-4000-8000-000100000001";
const TECHSTART: &str = "5eed0000-0000-4000-8000-000100000002";
const HEADQUARTERS_SITE: &str = "5eed0000-0000-4000-8000-000400000001";
const WAREHOUSE_SITE: &str = "5eed0000-0000-4000-8000-000400000002";
const OFFICE_SITE: &str = "5eed0000-0000-4000-8000-000400000003";

/// An id of a test's own row, in the form of a random one.
fn id(number: u32) -> String {
    format!("7e570000-0000-4000-8000-{number:012}")
}

/// An insert of one of Acme's tasks, in SQL that both databases take.
fn insert_task(id: &str, title: &str) -> String {
    format!("insert into tasks (id, tenant_id, title) values ('{id}', '{ACME}', '{title}');")
}

/// Waits until a task at an edge has a value.
async fn until_task(edge: &Edge, id: &str, column: &str, wanted: impl Into<Value>) {
    until_row(edge, &format!("/tasks/{id}"), column, wanted).await;
}

/// Waits until a row at an edge has a value, and returns the row.
async fn until_row(edge: &Edge, path: &str, column: &str, wanted: impl Into<Value>) -> Value {
    let wanted = wanted.into();
    let api = edge.api().await;
    eventually(&format!("{column} of {path} is {wanted} at {}", edge.place().edge), async || {
        let answer = api.get(path).await;
        match answer.status {
            200 if answer.clone().expect(200)[column] == wanted => Ok(answer.expect(200)),
            _ => Err(answer.to_string()),
        }
    })
    .await
}

/// Every conflict that an edge lists.
async fn conflicts(api: &Api) -> Vec<Value> {
    let page = api.get("/sync/conflicts?limit=500").await.expect(200);
    page["items"].as_array().expect("a list has items").clone()
}

/// Waits until an edge lists exactly so many conflicts of a row, and returns them.
async fn until_conflicts(edge: &Edge, row: &str, count: usize) -> Vec<Value> {
    let api = edge.api().await;
    eventually(&format!("{count} conflicts of {row} at {}", edge.place().edge), async || {
        let all = conflicts(api).await;
        let found: Vec<Value> = all.iter().filter(|conflict| conflict["row_id"] == row).cloned().collect();
        if found.len() == count { Ok(found) } else { Err(format!("{all:#?}")) }
    })
    .await
}
