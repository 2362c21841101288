//! What a write reaches, and what it does not.

use serde_json::json;
use tests::deployment::{Deployment, Edge, HEADQUARTERS, OFFICE, WAREHOUSE};
use tests::fault_proxy::{Route, position};
use tests::postgres::connect;
use tests::wait::{Stopwatch, eventually};

use crate::{ACME, HEADQUARTERS_SITE, id, insert_task, until_row, until_task};

/// Whether the bytes of any file of the edge's folder hold a text.
fn folder_has(edge: &Edge, canary: &str) -> bool {
    let entries = std::fs::read_dir(edge.data()).expect("the edge has a folder").flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    files.into_iter().any(|file| {
        let bytes = std::fs::read(file.path()).unwrap_or_default();
        position(&bytes, canary.as_bytes()).is_some()
    })
}

#[tokio::test]
async fn a_write_at_the_centre_shows_at_both_sites_of_its_tenant_and_nowhere_else() {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE, OFFICE]).await;
    let (task, device) = (id(1), id(2));
    world.sql(&insert_task(&task, "canary-of-acme inserted")).await;
    world
        .sql(&format!(
            "insert into devices (id, site_id, name, type, metadata)
             values ('{device}', '{HEADQUARTERS_SITE}', 'canary-of-acme device', 'sensor', '{{\"note\":\"canary-of-acme\"}}');
             insert into tasks (tenant_id, title)
             select id, 'canary-of-techstart' from tenants where slug = 'techstart'"
        ))
        .await;
    for edge in &world.edges()[..2] {
        until_task(edge, &task, "title", "canary-of-acme inserted").await;
        let found = until_row(edge, &format!("/devices/{device}"), "name", "canary-of-acme device").await;
        assert_eq!(found["tenant_id"], ACME, "the centre fills the tenant from the site");
    }
    world.sql(&format!("update tasks set title = 'canary-of-acme updated' where id = '{task}'")).await;
    for edge in &world.edges()[..2] {
        until_task(edge, &task, "title", "canary-of-acme updated").await;
    }
    world.sql(&format!("delete from tasks where id = '{task}'")).await;
    world.assert_equal_dumps().await;
    for edge in &world.edges()[..2] {
        assert_eq!(edge.api().await.get(&format!("/tasks/{task}")).await.problem(404), "not_found");
    }

    let office = world.edge(2);
    eventually("techstart's own write reaches techstart", async || {
        let found = office.dump().await.contains("canary-of-techstart");
        if found { Ok(()) } else { Err(office.log()) }
    })
    .await;
    assert_eq!(office.link().answers_with("canary-of-acme"), Vec::<String>::new());
    assert!(!folder_has(office, "canary-of-acme"));
    for edge in &world.edges()[..2] {
        assert_ne!(edge.link().answers_with("canary-of-acme"), Vec::<String>::new(), "the canary can be seen");
        assert!(folder_has(edge, "canary-of-acme"), "the canary can be found");
        assert_eq!(edge.link().answers_with("canary-of-techstart"), Vec::<String>::new());
        assert!(!folder_has(edge, "canary-of-techstart"));
    }
    assert_eq!(office.api().await.get(&format!("/devices/{device}")).await.problem(404), "not_found");
}

#[tokio::test]
async fn what_only_the_centre_may_know_never_leaves_it() {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    world
        .sql(
            "update users set keycloak_id = 'canary-keycloak', metadata = '{\"k\":\"canary-user-metadata\"}',
                              last_name = 'Changed' where email = 'manager@acme-corp.com';
             insert into tenant_invitations (email, tenant_id, role, token, expires_at)
             select 'canary-invited@example.com', id, 'member', 'canary-token', now() + interval '1 day'
             from tenants where slug = 'acme-corp';
             insert into audit_logs (tenant_id, action, resource_type, details)
             select id, 'read', 'task', '{\"k\":\"canary-audit\"}' from tenants where slug = 'acme-corp'",
        )
        .await;
    let set = world
        .hub_command_with(&["user", "set-pin", "manager@acme-corp.com", "--site", "headquarters"], "482913\n")
        .await;
    set.succeeded();
    let verifier = world
        .sql(
            "select verifier from sync.credentials where site_id in (select id from sites where name = 'Headquarters')",
        )
        .await;
    assert!(verifier.starts_with("$argon2id$"), "{verifier}");
    let headquarters = world.edge(0);
    eventually("the sign-in secret reaches its site", async || {
        let told = !headquarters.link().answers_with(&verifier).is_empty();
        if told { Ok(()) } else { Err(headquarters.log()) }
    })
    .await;
    world.assert_equal_dumps().await;
    let dump = headquarters.dump().await;
    assert!(dump.contains("\"last_name\":\"Changed\"") && !dump.contains(&verifier));
    for edge in world.edges() {
        for canary in ["canary-keycloak", "canary-user-metadata", "canary-invited", "canary-token", "canary-audit"] {
            assert_eq!(edge.link().answers_with(canary), Vec::<String>::new(), "{canary}");
            assert!(!folder_has(edge, canary), "{canary}");
        }
    }
    assert_eq!(world.edge(1).link().answers_with(&verifier), Vec::<String>::new(), "a secret goes to its site alone");
}

#[tokio::test]
async fn a_waiting_pull_brings_a_change_at_the_centre_without_being_asked_again() {
    let world = Deployment::start(&[HEADQUARTERS]).await;
    let (edge, task) = (world.edge(0), id(1));
    world.sql(&insert_task(&task, "seen 0")).await;
    until_task(edge, &task, "title", "seen 0").await;
    let client = connect(world.database_url()).await;
    let mut shown_ms = Vec::new();
    for round in 1..=20 {
        // A pull that has no answer yet is the one that waits at the hub.
        let waiting = eventually("a pull waits at the hub", async || {
            let pulls = edge.link().exchanges_of(Route::Pull);
            let last = pulls.last().expect("the edge has pulled");
            if last.answer.is_none() {
                Ok(pulls.len() - 1)
            } else {
                Err(format!("{} pulls, all answered", pulls.len()))
            }
        })
        .await;
        let title = format!("seen {round}");
        client
            .execute("update tasks set title = $1 where id = $2::text::uuid", &[&title, &task])
            .await
            .expect("update");
        let watch = Stopwatch::start();
        until_task(edge, &task, "title", title.as_str()).await;
        shown_ms.push(watch.ms());
        let pulls = edge.link().exchanges_of(Route::Pull);
        let answer = pulls[waiting].answer.as_ref().expect("it was answered");
        assert!(answer.text().contains(&title), "the waiting pull brought something else: {}", answer.text());
    }
    report("from the commit at the centre to the API of the site", shown_ms);
    world.assert_equal_dumps().await;
}

#[tokio::test]
async fn a_write_at_a_site_reaches_the_centre_without_being_asked_for() {
    let world = Deployment::start(&[HEADQUARTERS]).await;
    let edge = world.edge(0);
    world.assert_equal_dumps().await;
    let client = connect(world.database_url()).await;
    let (mut by_api, mut by_file) = (Vec::new(), Vec::new());
    for round in 0..20 {
        let title = format!("pushed {round}");
        if round % 2 == 0 {
            edge.api().await.post("/tasks", &json!({"title": title})).await.expect(201);
        } else {
            edge.sqlite(&insert_task(&id(100 + round), &title)).await;
        }
        let watch = Stopwatch::start();
        eventually(&format!("{title:?} is at the centre"), async || {
            let rows = client.query("select 1 from tasks where title = $1", &[&title]).await.expect("select");
            if rows.len() == 1 { Ok(()) } else { Err(format!("{} rows\n{}", rows.len(), edge.log())) }
        })
        .await;
        if round % 2 == 0 { by_api.push(watch.ms()) } else { by_file.push(watch.ms()) }
    }
    report("from the site's API to the centre", by_api);
    report("from the site's file to the centre", by_file);
    world.assert_equal_dumps().await;
}

#[tokio::test]
async fn an_edge_that_alternates_between_two_hubs_misses_nothing_and_repeats_nothing() {
    let mut world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    world.add_hub().await;
    let ports = [world.hub(0).port(), world.hub(1).port()];
    for edge in world.edges() {
        edge.link().set_upstreams(&ports);
        // What waits at the first hub is asked for again.
        edge.link().cut();
        edge.link().heal();
    }
    for round in 0..12 {
        let title = format!("round {round}");
        world.sql(&insert_task(&id(round), &title)).await;
        let (here, there) = (world.edge(round as usize % 2), world.edge((round as usize + 1) % 2));
        until_task(here, &id(round), "title", title.as_str()).await;
        let edited = format!("edited in {title}");
        here.api().await.patch(&format!("/tasks/{}", id(round)), &json!({"title": edited})).await.expect(200);
        until_task(there, &id(round), "title", edited.as_str()).await;
    }
    world.assert_equal_dumps().await;
    let audited =
        world.sql("select count(*) from audit_logs where action = 'update' and resource_id::text like '7e57%'").await;
    assert_eq!(audited, "12", "one audit record for every write");
    assert_eq!(world.sql("select count(*) from sync.conflicts").await, "0");
}

#[tokio::test]
async fn many_rows_arrive_in_pages_and_leave_in_batches() {
    let world = Deployment::start(&[HEADQUARTERS]).await;
    let edge = world.edge(0);
    world.assert_equal_dumps().await;
    let watch = Stopwatch::start();
    world
        .sql(&format!(
            "insert into tasks (tenant_id, title, metadata)
             select '{ACME}', 'many ' || n, jsonb_build_object('n', n, 'text', repeat('x', n % 100))
             from generate_series(1, 12000) as n"
        ))
        .await;
    eventually("12,000 tasks are at the site", async || {
        let count = edge.sqlite("select count(*) from tasks where title like 'many %'").await;
        if count == "12000" { Ok(()) } else { Err(count) }
    })
    .await;
    println!("12,000 rows from the centre to the site: {:.0} ms", watch.ms());
    let watch = Stopwatch::start();
    edge.sqlite("update tasks set description = 'checked', priority = 'high' where title like 'many %1'").await;
    let edited = edge.sqlite("select count(*) from tasks where description = 'checked'").await;
    eventually("every edit is at the centre", async || {
        let count = world.sql("select count(*) from tasks where description = 'checked'").await;
        if count == edited { Ok(()) } else { Err(format!("{count} of {edited}")) }
    })
    .await;
    println!("{edited} edits from the site to the centre: {:.0} ms", watch.ms());
    world.assert_equal_dumps().await;
}

/// Prints what was measured. No test decides by it.
fn report(what: &str, mut ms: Vec<f64>) {
    ms.sort_by(f64::total_cmp);
    println!("{what}: median {:.0} ms, longest {:.0} ms, of {}", ms[ms.len() / 2], ms[ms.len() - 1], ms.len());
}
