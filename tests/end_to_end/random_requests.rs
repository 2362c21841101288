//! Thousands of requests made from the API's own description: the answers are those that it describes, none is a failure
//! of the edge, and whatever was taken arrives at the centre.

use std::path::Path;

use serde_json::Value;
use tests::deployment::{Deployment, HEADQUARTERS};
use tests::processes::run_within;

/// What is asked of every answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance";
/// How many random requests each operation gets.
const EXAMPLES: &str = "50";
const SEED: &str = "20261123";
/// How long it may take on a loaded machine, in milliseconds.
const LIMIT_MS: u64 = 15 * 60 * 1000;

#[tokio::test]
async fn every_answer_to_a_random_request_is_one_that_is_described_and_what_was_taken_reaches_the_centre() {
    let world = Deployment::start(&[HEADQUARTERS]).await;
    world.assert_equal_dumps().await;
    let edge = world.edge(0);
    let token = edge.command(&["token", "--email", "admin@acme-corp.com"]).await.succeeded();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python/bin/schemathesis");
    assert!(program.exists(), "{} is missing: `./tests/run` installs it", program.display());
    let document = format!("http://127.0.0.1:{}/api/openapi.json", edge.port());
    let authorization = format!("Authorization: Bearer {}", token.trim());
    // A stream of events has no end, and signing out would end the session that everything else needs.
    let arguments = [
        "run",
        &document,
        "--header",
        &authorization,
        "--checks",
        CHECKS,
        "--max-examples",
        EXAMPLES,
        "--seed",
        SEED,
        "--phases",
        "examples,coverage,fuzzing,stateful",
        "--exclude-path",
        "/api/v1/events",
        "--exclude-operation-id",
        "signOut",
        "--no-color",
    ];
    let told = run_within(LIMIT_MS, &program, &arguments, &[], world.directory(), "").await.succeeded();
    assert!(told.contains("Stateful"), "every phase has run: {told}");

    let status = edge.until_status("everything has arrived", |status| status["in_sync"] == true).await;
    assert_eq!((&status["pending"], &status["quarantined"]), (&Value::from(0), &Value::from(0)));
    world.assert_equal_dumps().await;
}
