//! The second wall between tenants: what the hub's role can do when the statement, or the tenant that it is given, is wrong.

use sync::pg::cursor::Cursor;
use sync::pg::edges::{self, Edge};
use sync::pg::reach::{Reach, enter};
use sync::pg::{digest, feed};
use tests::deployment::{Deployment, HEADQUARTERS, OFFICE};
use tests::postgres::connect;
use tokio_postgres::Client;
use uuid::Uuid;

/// A connection as a hub has it.
async fn hub(world: &Deployment) -> Client {
    let client = connect(world.database_url()).await;
    client.batch_execute("set role waystation_hub").await.expect("a superuser may");
    client
}

async fn edge(client: &Client, name: &str) -> Edge {
    let id: Uuid =
        client.query_one("select id from sync.edges where name = $1", &[&name]).await.expect("it is there").get(0);
    edges::find(client, id).await.expect("it can be read").expect("it is there")
}

async fn tables(world: &Deployment) -> Vec<String> {
    let listed = world.sql("select relation from sync.walls order by 1").await;
    listed.lines().map(str::to_owned).collect()
}

/// How many rows a statement without any condition finds.
async fn seen(client: &Client, table: &str) -> Result<i64, tokio_postgres::Error> {
    client.query_one(&format!("select count(*) from {table}"), &[]).await.map(|row| row.get(0))
}

/// A row of each kind, in both tenants, where the sample data has none.
const MORE: &str = "
  insert into tenant_invitations (email, tenant_id, token, expires_at, invited_by)
    select slug || '@example.com', tenant.id, slug, now(), (select id from users limit 1) from tenants as tenant;
  insert into audit_logs (tenant_id, action, resource_type) select id, 'login', 'session' from tenants;
  insert into sync.conflicts (tenant_id, id, table_id, row_id, kind, register, loser, txid)
    select id, gen_random_uuid(), 8, gen_random_uuid(), 'edit_edit', 'title', '{}', 0 from tenants;
  insert into sync.quarantine (tenant_id, table_id, row_id, seq, code, reason, payload)
    select id, 8, gen_random_uuid(), 1, 'refused', 'why', '{}' from tenants;
  insert into sync.credentials (tenant_id, user_id, site_id, verifier)
    select tenant_id, (select id from users limit 1), id, '$argon2id$' from sites;
  insert into sync.recovered (id, tenant_id, edge_id, table_id, row_id, payload)
    select gen_random_uuid(), edge.tenant_id, edge.id, 8, gen_random_uuid(), '{}' from sync.edges as edge";

#[tokio::test]
async fn a_statement_that_forgets_its_tenant_stays_within_the_one_that_was_entered() {
    let world = Deployment::start(&[HEADQUARTERS, OFFICE]).await;
    world.sql(MORE).await;
    let (client, owner) = (hub(&world).await, connect(world.database_url()).await);
    let (acme, other) = (edge(&client, "hq-1").await.tenant, edge(&client, "office-1").await.tenant);
    let tables = tables(&world).await;
    assert_eq!(tables.len(), 15, "{tables:?}");
    for table in &tables {
        let refused = seen(&client, table).await.expect_err(table);
        assert!(format!("{refused:?}").contains("before it has said whose"), "{table}: {refused:?}");
        let mut counts = Vec::new();
        for reach in [Reach::Tenant(acme), Reach::Tenant(other), Reach::Everybody] {
            enter(&client, reach).await.expect("nothing is hidden");
            counts.push(seen(&client, table).await.unwrap_or_else(|error| panic!("{table}: {error:?}")));
        }
        let whole = seen(&owner, table).await.expect("owners see everything");
        assert!(
            counts[0] > 0 && counts[1] > 0 && counts[0] < whole && counts[1] < whole,
            "{table}: {counts:?} of {whole}"
        );
        assert_eq!(counts[2], whole, "{table}");
        enter(&client, Reach::Nobody).await.expect("nothing is hidden");
    }
    enter(&client, Reach::Tenant(acme)).await.expect("nothing is hidden");
    let foreign = format!("select count(*) from tasks where tenant_id = '{other}'");
    let before = world.sql(&foreign).await;
    for statement in ["update tasks set title = 'mine'", "delete from tasks", "update sync.row_versions set vv = '{}'"]
    {
        client.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    assert_eq!(world.sql(&foreign).await, before);
    assert_eq!(world.sql(&format!("{foreign} and title = 'mine'")).await, "0");
    assert_eq!(
        world.sql(&format!("select count(*) from tasks where tenant_id = '{acme}'")).await,
        "0",
        "its own it may"
    );
    for statement in [
        format!("insert into tasks (tenant_id, title) values ('{other}', 'planted')"),
        format!("insert into sites (tenant_id, name) values ('{other}', 'planted')"),
        format!("update sites set tenant_id = '{other}'"),
    ] {
        let refused = client.batch_execute(&statement).await.expect_err("it reaches into another tenant");
        assert!(format!("{refused:?}").contains("hub_keeps_to_its_tenant"), "{statement}: {refused:?}");
    }
}

/// What the hub's own functions give when they are asked for another tenant than the credential's: as if the check of the
/// tenant had been taken out of the program.
async fn stolen(client: &mut Client, thief: &Edge, victim: &Edge) -> usize {
    enter(client, Reach::Tenant(thief.tenant)).await.expect("nothing is hidden");
    let disguised = Edge { tenant: victim.tenant, site: victim.site, ..thief.clone() };
    let page = feed::page(client, &disguised, &Cursor::default()).await.expect("a page");
    let ids = client.query("select row_id from sync.row_versions where tenant_id = $1", &[&victim.tenant]).await;
    let ids: Vec<Uuid> = ids.expect("it can be read").iter().map(|row| row.get(0)).collect();
    let mut want: Vec<(String, Uuid)> = ids.iter().map(|id| ("tasks".to_owned(), *id)).collect();
    let known =
        client.query("select id from tasks where tenant_id = $1", &[&victim.tenant]).await.expect("it can be read");
    want.extend(known.iter().map(|row| ("tasks".to_owned(), row.get(0))));
    let wanted = digest::wanted(client, &disguised, &want).await.expect("an answer");
    page.lines.len()
        + known.len()
        + ids.len()
        + wanted.iter().filter(|line| format!("{line:?}").contains("title")).count()
}

#[tokio::test]
async fn with_the_check_of_the_tenant_taken_out_the_wall_still_holds_and_without_the_wall_it_does_not() {
    let world = Deployment::start(&[HEADQUARTERS, OFFICE]).await;
    let mut client = hub(&world).await;
    let (thief, victim) = (edge(&client, "office-1").await, edge(&client, "hq-1").await);
    assert_eq!(stolen(&mut client, &thief, &victim).await, 0);
    let relations = tables(&world).await;
    let off: String =
        relations.iter().map(|table| format!("alter table {table} disable row level security;")).collect();
    world.sql(&off).await;
    let loot = stolen(&mut client, &thief, &victim).await;
    assert!(loot > 50, "{loot}: without the wall the same theft succeeds");
    let said = world.hub_command(&["doctor"]).await;
    assert!(said.stdout.contains("the second wall between tenants is down"), "{said}");
    let on = off.replace("disable", "enable");
    world.sql(&on).await;
    assert_eq!(stolen(&mut client, &thief, &victim).await, 0);
}

/// The wall is for the hub. Other programs load and dump as they did before.
#[tokio::test]
async fn other_roles_see_and_write_what_they_did_before_the_wall() {
    let world = Deployment::start(&[HEADQUARTERS]).await;
    world.sql("create role application; grant select, insert, update, delete on all tables in schema public to application").await;
    let whole = world.sql("select count(*) from tasks").await;
    let client = connect(world.database_url()).await;
    client.batch_execute("set role application").await.expect("a superuser may");
    assert_eq!(seen(&client, "tasks").await.expect("it may read").to_string(), whole);
    let insert = "insert into tasks (tenant_id, title) select id, 'by an application' from tenants";
    client.batch_execute(insert).await.expect("it may write every tenant");
    world.assert_equal_dumps().await;
}

#[tokio::test]
async fn a_hub_that_signs_in_as_a_superuser_is_noted() {
    let world = Deployment::start(&[HEADQUARTERS]).await;
    let said = world.hub_command(&["doctor"]).await;
    assert!(said.stdout.contains("note: role: the role that signs in here is a superuser"), "{said}");
}
