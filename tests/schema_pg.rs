//! The central schema as other programs meet it: plain SQL on a migrated database, with nothing installed beside it.

use sync::catalog::{self, Kind};
use sync::pg::StoreError;
use tests::postgres::{fresh_database, shared_cluster};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

/// Two tenants with a site, a device and a task each, and a member. Ids end in the letter of their tenant.
const TWO_TENANTS: &str = "
  insert into tenants (id, name, slug) values
    ('00000000-0000-4000-8000-00000000001a', 'A', 'a'), ('00000000-0000-4000-8000-00000000001b', 'B', 'b');
  insert into users (id, email) values
    ('00000000-0000-4000-8000-00000000002a', 'Ann@example.com'), ('00000000-0000-4000-8000-00000000002b', 'bob@example.com');
  insert into user_tenant_associations (user_id, tenant_id) values
    ('00000000-0000-4000-8000-00000000002a', '00000000-0000-4000-8000-00000000001a');
  insert into sites (id, tenant_id, name) values
    ('00000000-0000-4000-8000-00000000003a', '00000000-0000-4000-8000-00000000001a', 'Site A'),
    ('00000000-0000-4000-8000-00000000003b', '00000000-0000-4000-8000-00000000001b', 'Site B');
  insert into user_site_assignments (user_id, site_id, tenant_id, assigned_by) values
    ('00000000-0000-4000-8000-00000000002a', '00000000-0000-4000-8000-00000000003a',
     '00000000-0000-4000-8000-00000000001a', '00000000-0000-4000-8000-00000000002b');
  insert into devices (id, site_id, name, type, serial_number) values
    ('00000000-0000-4000-8000-00000000004a', '00000000-0000-4000-8000-00000000003a', 'Device A', 'sensor', 'S-1'),
    ('00000000-0000-4000-8000-00000000005a', '00000000-0000-4000-8000-00000000003a', 'Other A', 'sensor', 'S-2'),
    ('00000000-0000-4000-8000-00000000004b', '00000000-0000-4000-8000-00000000003b', 'Device B', 'sensor', 'S-1');
  insert into tasks (id, tenant_id, user_id, site_id, device_id, title) values
    ('00000000-0000-4000-8000-00000000006a', '00000000-0000-4000-8000-00000000001a',
     '00000000-0000-4000-8000-00000000002a', '00000000-0000-4000-8000-00000000003a',
     '00000000-0000-4000-8000-00000000004a', 'Task A');
  insert into sync.credentials (tenant_id, user_id, site_id, verifier) values
    ('00000000-0000-4000-8000-00000000001a', '00000000-0000-4000-8000-00000000002a',
     '00000000-0000-4000-8000-00000000003a', '$argon2id$v=19$');
  insert into tenant_invitations (email, tenant_id, token, expires_at, invited_by) values
    ('new@example.com', '00000000-0000-4000-8000-00000000001a', 'token', now(), '00000000-0000-4000-8000-00000000002a');
  insert into audit_logs (tenant_id, user_id, action, resource_type) values
    ('00000000-0000-4000-8000-00000000001a', '00000000-0000-4000-8000-00000000002a', 'login', 'session');
  insert into sync.replicas (id, name) values (900, 'box');
  insert into sync.edges (id, name, tenant_id, site_id, replica_id) values
    ('00000000-0000-4000-8000-00000000007a', 'box', '00000000-0000-4000-8000-00000000001a',
     '00000000-0000-4000-8000-00000000003a', 900);";

async fn two_tenants() -> Client {
    let database = fresh_database().await;
    let client = shared_cluster().connect(&database).await;
    client.batch_execute(TWO_TENANTS).await.unwrap();
    client
}

/// `{1a}` in a statement stands for the id of [`TWO_TENANTS`] that ends so.
fn with_ids(statement: &str) -> String {
    statement.replace('{', "'00000000-0000-4000-8000-0000000000").replace('}', "'")
}

/// Runs each statement in a transaction that is rolled back; each must be refused by the rule beside it.
async fn check_refused(cases: &[(&str, &str)]) {
    let mut client = two_tenants().await;
    for (statement, rule) in cases {
        let tx = client.transaction().await.unwrap();
        let error = match tx.batch_execute(&with_ids(statement)).await {
            Ok(()) => panic!("accepted, but {rule} refuses: {statement}"),
            Err(error) => StoreError::from(error),
        };
        assert_eq!(error.constraint(), Some(*rule), "{statement}: {error:?}");
        assert!(!error.is_retryable(), "{statement}");
    }
}

/// Runs each statement in a transaction that is rolled back; each must be accepted, deferred constraints included.
async fn check_accepted(statements: &[&str]) {
    let mut client = two_tenants().await;
    for statement in statements {
        let tx = client.transaction().await.unwrap();
        let statement = format!("{}; set constraints all immediate", with_ids(statement));
        tx.batch_execute(&statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
}

#[tokio::test]
async fn a_key_that_another_row_holds_is_refused_by_its_name() {
    check_refused(&[
        ("insert into tenants (name, slug) values ('x', 'a')", "tenants_slug_is_unique"),
        ("insert into users (email) values ('ANN@EXAMPLE.COM')", "users_email_is_unique"),
        ("update users set keycloak_id = 'k'", "users_keycloak_id_is_unique"),
        (
            "insert into user_tenant_associations (user_id, tenant_id) values ({2a}, {1a})",
            "user_is_associated_once_with_a_tenant",
        ),
        (
            "insert into user_site_assignments (user_id, site_id, tenant_id) values ({2a}, {3a}, {1a})",
            "user_is_assigned_once_to_a_site",
        ),
        (
            "insert into devices (site_id, name, type, serial_number) values ({3a}, 'x', 'meter', 'S-1')",
            "devices_serial_number_is_unique_in_the_tenant",
        ),
        (
            "insert into tenant_invitations (email, tenant_id, token, expires_at) values ('x', {1a}, 'token', now())",
            "tenant_invitations_token_is_unique",
        ),
        (
            "insert into sync.credentials (tenant_id, user_id, site_id, verifier) values ({1a}, {2a}, {3a}, '$argon2id$')",
            "user_has_one_credential_at_a_site",
        ),
        ("insert into sync.hub (hub_id, replica, seal_key) select hub_id, replica, seal_key from sync.hub", "hub_is_one_row"),
    ])
    .await;
}

#[tokio::test]
async fn a_value_out_of_its_range_is_refused_by_its_name() {
    check_refused(&[
        ("insert into tenants (name, slug) values ('x', 'Upper')", "tenants_slug_is_a_dns_label"),
        ("insert into tenants (name, slug) values ('x', '')", "tenants_slug_is_a_dns_label"),
        ("insert into tenants (name, slug) values ('x', e'two\\nlines')", "tenants_slug_is_a_dns_label"),
        ("insert into tenants (name, slug) values ('x', repeat('a', 64))", "tenants_slug_is_a_dns_label"),
        ("update tenants set metadata = '[]'", "tenants_metadata_is_an_object"),
        ("update users set metadata = '1'", "users_metadata_is_an_object"),
        ("update user_tenant_associations set metadata = 'null'", "user_tenant_associations_metadata_is_an_object"),
        ("update sites set metadata = '\"x\"'", "sites_metadata_is_an_object"),
        ("update user_site_assignments set metadata = '[]'", "user_site_assignments_metadata_is_an_object"),
        ("update devices set metadata = '[]'", "devices_metadata_is_an_object"),
        ("update tasks set metadata = '[]'", "tasks_metadata_is_an_object"),
        ("update tenant_invitations set metadata = '[]'", "tenant_invitations_metadata_is_an_object"),
        (
            "insert into audit_logs (action, resource_type, details) values ('read', 'task', '[]')",
            "audit_logs_details_is_an_object",
        ),
        ("update sites set latitude = 90.000001", "sites_latitude_is_on_earth"),
        ("update sites set latitude = 'nan'", "sites_latitude_is_on_earth"),
        ("update sites set longitude = -180.5", "sites_longitude_is_on_earth"),
        ("update sites set longitude = 'infinity'", "sites_longitude_is_on_earth"),
        ("update sites set timezone = 'Mars/Olympus'", "sites_timezone_is_known"),
        ("update sites set timezone = 'FOO3'", "sites_timezone_is_known"),
        ("update sites set timezone = 'Foo/Bar3'", "sites_timezone_is_known"),
        ("update sites set timezone = ''", "sites_timezone_is_known"),
        ("update sites set timezone = 'localtime'", "sites_timezone_is_known"),
        ("update sites set timezone = 'posix/Japan'", "sites_timezone_is_known"),
        ("insert into sites (tenant_id, name, timezone) values ({1a}, 'x', 'PST')", "sites_timezone_is_known"),
        ("update tasks set metadata = null", "metadata"),
        ("insert into devices (site_id, type) values ({3a}, 'meter')", "name"),
    ])
    .await;
}

#[tokio::test]
async fn a_reference_to_a_missing_row_or_another_tenants_is_refused_by_its_name() {
    check_refused(&[
        ("insert into sites (tenant_id, name) values ({99}, 'x')", "sites_tenant_exists"),
        (
            "insert into user_tenant_associations (user_id, tenant_id) values ({99}, {1a})",
            "user_tenant_associations_user_exists",
        ),
        (
            "insert into user_site_assignments (user_id, site_id, tenant_id) values ({2b}, {3b}, {1a})",
            "user_site_assignments_site_is_of_the_tenant",
        ),
        (
            "insert into devices (tenant_id, site_id, name, type) values ({1a}, {3b}, 'x', 'meter')",
            "devices_site_is_of_the_tenant",
        ),
        ("insert into devices (site_id, name, type) values ({99}, 'x', 'meter')", "devices_site_is_of_the_tenant"),
        ("update devices set site_id = {3b} where id = {4a}", "devices_site_is_of_the_tenant"),
        ("update tasks set site_id = {3b}", "tasks_site_is_of_the_tenant"),
        ("update tasks set device_id = {4b}", "tasks_device_is_of_the_tenant"),
        ("update tasks set user_id = {99}", "tasks_assignee_exists"),
        (
            "insert into sync.credentials (tenant_id, user_id, site_id, verifier) values ({1a}, {2a}, {3b}, '$argon2id$')",
            "credentials_site_is_of_the_tenant",
        ),
        (
            "insert into sync.enrollments (code_hash, tenant_id, site_id, name, expires_at) values ('x', {1b}, {3a}, 'x', now())",
            "enrollments_site_is_of_the_tenant",
        ),
    ])
    .await;
}

#[tokio::test]
async fn what_plain_writers_and_batches_of_sites_need_is_accepted() {
    check_accepted(&[
        // Two serials swapped, in two statements and in one.
        "set constraints all deferred; update devices set serial_number = 'S-2' where id = {4a};
         update devices set serial_number = 'S-1' where id = {5a}",
        "update devices set serial_number = case id when {4a}::uuid then 'S-2' else 'S-1' end where tenant_id = {1a}",
        // A child before its parent.
        "set constraints all deferred; insert into tasks (tenant_id, site_id, title) values ({1a}, {3c}, 'x');
         insert into sites (id, tenant_id, name) values ({3c}, {1a}, 'x')",
        "insert into users (email) values ('ann@example.com') on conflict (lower(email)) do update set first_name = 'Ann'",
        "insert into tenants (name, slug) values ('x', 'a') on conflict (slug) do update set name = excluded.name",
        "insert into user_tenant_associations (user_id, tenant_id, role) values ({2a}, {1a}, 'viewer')
         on conflict (user_id, tenant_id) do update set role = excluded.role",
        "insert into devices (site_id, name, type) values ({3a}, 'without serial', 'meter'), ({3a}, 'nor this', 'meter')",
        "insert into sites (tenant_id, name, timezone) values ({1a}, 'x', 'Asia/Kolkata'), ({1a}, 'y', 'Japan'),
         ({1a}, 'z', 'Etc/GMT+3'), ({1a}, 'p', 'America/Port-au-Prince'), ({1a}, 'u', 'UTC')",
        "update sites set latitude = -90, longitude = 180",
        // Another person of the tenant, or of none: finished work keeps the name of who left.
        "update tasks set user_id = {2b}",
    ])
    .await;
}

/// Commits each statement and tells whether it moved the task's updated_at, which each case starts from a year ago.
#[tokio::test]
async fn updated_at_moves_exactly_when_another_column_changed_and_the_writer_did_not_set_it() {
    let client = two_tenants().await;
    let cases = [
        ("update tasks set title = 'other'", "now"),
        ("update tasks set title = title", "kept"),
        ("update tasks set updated_at = '2001-01-01Z'", "2001"),
        ("update tasks set title = 'third', updated_at = '2001-01-01Z'", "2001"),
        ("update tasks set title = 'fourth', updated_at = updated_at", "now"),
        ("update tasks set description = null", "kept"),
        ("update tasks set metadata = '{\"b\": 1}'", "now"),
        ("begin; set local sync.applying = 'on'; update tasks set title = 'applied'; commit", "kept"),
        ("update tasks set title = 'after the setting was used'", "now"),
        ("begin; set local sync.applying = 'off'; update tasks set title = 'off'; commit", "now"),
    ];
    for (statement, expected) in cases {
        client.batch_execute("update tasks set updated_at = '2020-02-02Z'").await.unwrap();
        client.batch_execute(statement).await.unwrap();
        let found =
            "select case when updated_at = '2020-02-02Z' then 'kept' when updated_at = '2001-01-01Z' then '2001'
          when updated_at > now() - interval '1 hour' then 'now' else updated_at::text end from tasks";
        let found: String = client.query_one(found, &[]).await.unwrap().get(0);
        assert_eq!(found, expected, "{statement}");
    }
}

#[tokio::test]
async fn every_table_with_updated_at_has_the_trigger_that_moves_it() {
    let client = two_tenants().await;
    let statement = "select c.oid::regclass::text from pg_attribute a join pg_class c on c.oid = a.attrelid
      where a.attname = 'updated_at' and c.relkind = 'r' and not exists (
        select from pg_trigger t where t.tgrelid = c.oid and t.tgfoid = 'move_updated_at()'::regprocedure)";
    let without: Vec<String> = client.query(statement, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(without, Vec::<String>::new());
}

#[tokio::test]
async fn a_device_without_tenant_gets_its_sites() {
    let client = two_tenants().await;
    let filled = "select count(*) from devices d join sites s on s.id = d.site_id and s.tenant_id = d.tenant_id";
    assert_eq!(client.query_one(filled, &[]).await.unwrap().get::<_, i64>(0), 3);
    // Moving to the site of another tenant takes saying so.
    client
        .batch_execute(&with_ids("update devices set site_id = {3b}, tenant_id = null where id = {5a}"))
        .await
        .unwrap();
    let moved = with_ids("select tenant_id = {1b} from devices where id = {5a}");
    assert!(client.query_one(&moved, &[]).await.unwrap().get::<_, bool>(0));
    // Apply always brings the tenant; a row without one is a fault that must not be papered over.
    let applied = with_ids(
        "begin; set local sync.applying = 'on'; insert into devices (site_id, name, type) values ({3a}, 'x', 'meter')",
    );
    let error = StoreError::from(client.batch_execute(&applied).await.unwrap_err());
    assert_eq!(error.constraint(), Some("tenant_id"));
}

/// After a delete, how many rows each table has left, and which references of the task are set.
async fn check_after(delete: &str, expected: &str) {
    let client = two_tenants().await;
    client.batch_execute(&with_ids(delete)).await.unwrap_or_else(|error| panic!("{delete}: {error:?}"));
    let statement = "select concat_ws(' ',
        'tenants', (select count(*) from tenants), 'users', (select count(*) from users),
        'associations', (select count(*) from user_tenant_associations), 'sites', (select count(*) from sites),
        'assignments', (select count(*) from user_site_assignments),
        'assigned_by', (select count(assigned_by) from user_site_assignments),
        'credentials', (select count(*) from sync.credentials), 'devices', (select count(*) from devices),
        'tasks', (select count(*) from tasks), 'refer', (select coalesce(sum(num_nonnulls(user_id, site_id, device_id)), 0) from tasks),
        'invitations', (select count(*) from tenant_invitations), 'invited_by', (select count(invited_by) from tenant_invitations),
        'audit', (select count(*) from audit_logs), 'edges', (select count(*) from sync.edges))";
    let found: String = client.query_one(statement, &[]).await.unwrap().get(0);
    assert_eq!(found, expected.split_whitespace().collect::<Vec<_>>().join(" "), "{delete}");
}

#[tokio::test]
async fn deleting_a_parent_takes_its_children_and_clears_mere_references() {
    check_after(
        "delete from tenants where id = {1a}",
        "tenants 1 users 2 associations 0 sites 1 assignments 0 assigned_by 0 credentials 0 devices 1
         tasks 0 refer 0 invitations 0 invited_by 0 audit 1 edges 1",
    )
    .await;
    check_after(
        "delete from sites where id = {3a}",
        "tenants 2 users 2 associations 1 sites 1 assignments 0 assigned_by 0 credentials 0 devices 1
         tasks 1 refer 1 invitations 1 invited_by 1 audit 1 edges 1",
    )
    .await;
    check_after(
        "delete from devices where id = {4a}",
        "tenants 2 users 2 associations 1 sites 2 assignments 1 assigned_by 1 credentials 1 devices 2
         tasks 1 refer 2 invitations 1 invited_by 1 audit 1 edges 1",
    )
    .await;
    check_after(
        "delete from users where id = {2a}",
        "tenants 2 users 1 associations 0 sites 2 assignments 0 assigned_by 0 credentials 0 devices 3
         tasks 1 refer 2 invitations 1 invited_by 0 audit 1 edges 1",
    )
    .await;
    check_after(
        "delete from users where id = {2b}",
        "tenants 2 users 1 associations 1 sites 2 assignments 1 assigned_by 0 credentials 1 devices 3
         tasks 1 refer 3 invitations 1 invited_by 1 audit 1 edges 1",
    )
    .await;
}

#[tokio::test]
async fn the_audit_log_takes_records_and_refuses_every_change_of_one() {
    let client = two_tenants().await;
    let refused = [
        "update audit_logs set details = '{\"a\": 1}'",
        "delete from audit_logs",
        "truncate audit_logs",
        // Even the owner changes no record, and empties the log only with the step that retention takes.
        "begin; set local sync.retention = 'on'; update audit_logs set action = 'read'",
        "begin; set local sync.retention = 'on'; truncate audit_logs",
        "begin; set local role waystation_hub; set local sync.retention = 'on'; delete from audit_logs",
        "begin; set local role waystation_hub; update audit_logs set action = 'read'",
    ];
    for statement in refused {
        let error = client.batch_execute(statement).await.expect_err(statement);
        client.batch_execute("rollback").await.unwrap();
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{statement}: {error:?}");
    }
    let told = client.batch_execute("delete from audit_logs").await.unwrap_err();
    assert_eq!(told.as_db_error().unwrap().message(), "audit_logs is append-only: delete is refused");
    client.batch_execute("begin; set local sync.retention = 'on'; delete from audit_logs; commit").await.unwrap();
    assert_eq!(client.query_one("select count(*) from audit_logs", &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn the_four_views_are_readable_and_name_the_waiting_and_refused() {
    let client = two_tenants().await;
    client
        .batch_execute(&with_ids(
            "insert into sync.conflicts (tenant_id, id, table_id, row_id, kind, register, winner, loser, txid)
               values ({1a}, {98}, 8, {6a}, 'edit_edit', 'title', '1', '2', 1);
             insert into sync.quarantine (tenant_id, edge_id, replica_id, table_id, row_id, seq, code, reason, payload)
               values ({1a}, {7a}, 900, 7, {4a}, 5, 'unique', 'taken', '[]');
             insert into sync.row_versions (tenant_id, table_id, row_id, txid, hlc, vv, dots)
               select {1a}::uuid, 8, gen_random_uuid(), txid, 1790000000000 << 16, '[]', '[]'
               from unnest(array[5, 15, 18, 25]) as txid;
             update sync.edges set cursor_acknowledged = '10:20:15,18'",
        ))
        .await
        .unwrap();
    let row = |statement: &'static str| async { client.query_one(statement, &[]).await.unwrap().get::<_, String>(0) };
    assert_eq!(
        row("select concat_ws('|', name, tenant, site, status, last_seen_at, pending, lag_seconds, conflicts_open,
          quarantined, app_version) from sync.edge_status")
        .await,
        "box|a|Site A|enrolled|0|0|0"
    );
    assert_eq!(
        row("select concat_ws('|', tenant, table_name, kind, register, winner, loser) from sync.open_conflicts").await,
        "a|tasks|edit_edit|title|1|2"
    );
    assert_eq!(
        row("select concat_ws('|', tenant, edge, table_name, code, reason) from sync.quarantined_rows").await,
        "a|box|devices|unique|taken"
    );
    // Of the transactions 5, 15, 18 and 25 the snapshot has seen the first only.
    let lag = "select concat_ws('|', name, rows_waiting, extract(epoch from waiting_since)::bigint) from sync.feed_lag";
    assert_eq!(row(lag).await, "box|3|1790000000");
    client.batch_execute("update sync.edges set cursor_acknowledged = 'no snapshot'").await.unwrap();
    assert_eq!(row(lag).await, "box|4|1790000000");
    client.batch_execute("create role bi; set role bi").await.unwrap();
    row("select max(name) from sync.edge_status").await;
    row("select max(name) from sync.feed_lag").await;
    assert!(client.query("select from sync.open_conflicts", &[]).await.is_err());
    assert!(client.query("select from sync.row_versions", &[]).await.is_err());
}

#[tokio::test]
async fn the_hubs_role_owns_nothing_is_no_superuser_and_reaches_what_it_needs() {
    let client = two_tenants().await;
    let statement = "select rolsuper or rolcreaterole or rolcreatedb or rolbypassrls or rolreplication
        or exists (select from pg_class where relowner = r.oid) or exists (select from pg_proc where proowner = r.oid)
        or exists (select from pg_namespace where nspowner = r.oid)
        or exists (select from pg_auth_members where member = r.oid)
      from pg_roles r where rolname = 'waystation_hub'";
    assert!(!client.query_one(statement, &[]).await.unwrap().get::<_, bool>(0));
    client.batch_execute("create table public.later (id int); create table sync.later (id int)").await.unwrap();
    client.batch_execute("set role waystation_hub").await.unwrap();
    client
        .batch_execute(&with_ids(
            "select sync.enter('*'); update tasks set title = 'x'; delete from devices; insert into audit_logs (action, resource_type)
             values ('sync', 'edge'); select nextval('sync.seq'), nextval('sync.replica_ids');
             insert into sync.announced values (1, 1, {6a}, null); select * from sync.user_scopes;
             select * from refinery_schema_history; insert into public.later values (1); insert into sync.later values (1);
             update sync.edges set last_seen_at = now(); select * from sync.open_conflicts, sync.quarantined_rows",
        ))
        .await
        .unwrap();
    for forbidden in [
        "delete from sync.hub",
        "delete from sync.replicas",
        "delete from refinery_schema_history",
        "drop table tasks",
        "alter table tasks disable trigger all",
        "create table public.mine (id int)",
    ] {
        let error = StoreError::from(client.batch_execute(forbidden).await.expect_err(forbidden));
        assert!(matches!(error, StoreError::Forbidden(_)), "{forbidden}: {error:?}");
    }
}

#[tokio::test]
async fn an_ordinary_application_role_writes_without_any_right_in_the_sync_schema() {
    let client = two_tenants().await;
    client
        .batch_execute(&with_ids(
            "create role plain_application; grant select, insert, update, delete on all tables in schema public to plain_application;
             set role plain_application;
             insert into devices (site_id, name, type) values ({3a}, 'x', 'meter');
             insert into sites (tenant_id, name, timezone) values ({1a}, 'x', 'Europe/Paris');
             update tasks set title = 'y'; delete from tenants where id = {1a}",
        ))
        .await
        .unwrap();
}

#[tokio::test]
async fn lost_and_contended_connections_are_retryable_and_refused_statements_are_not() {
    let client = two_tenants().await;
    let error = |statement: &'static str| async {
        let error = StoreError::from(client.batch_execute(statement).await.expect_err(statement));
        client.batch_execute("rollback").await.ok();
        error
    };
    for (statement, retryable) in [
        ("do $$ begin raise exception using errcode = '40001'; end $$", true),
        ("do $$ begin raise exception using errcode = '40P01'; end $$", true),
        ("do $$ begin raise exception using errcode = '55P03'; end $$", true),
        ("do $$ begin raise exception using errcode = '53300'; end $$", true),
        ("select 1 / 0", false),
        ("select * from nowhere", false),
        ("update tasks set metadata = '[]'", false),
    ] {
        assert_eq!(error(statement).await.is_retryable(), retryable, "{statement}");
    }
    assert!(error("select pg_terminate_backend(pg_backend_pid())").await.is_retryable());
    assert!(error("select 1").await.is_retryable());
}

/// A column as the catalog and as PostgreSQL would print it: name, type, whether it may be null, an enum's labels.
fn described(column: &catalog::Column) -> String {
    let (kind, labels) = match column.kind {
        Kind::Uuid => ("uuid", String::new()),
        Kind::Text => ("text", String::new()),
        Kind::Timestamp => ("timestamp with time zone", String::new()),
        Kind::Real => ("double precision", String::new()),
        Kind::Json => ("jsonb", String::new()),
        Kind::Enum(name, labels) => (name, labels.join(",")),
    };
    format!("{} {kind} {} {labels}", column.name, column.nullable)
}

#[tokio::test]
async fn the_catalog_lists_every_synced_column_as_the_schema_has_it() {
    let client = two_tenants().await;
    let statement = "select a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || (not a.attnotnull)::text || ' '
        || coalesce((select string_agg(e.enumlabel, ',' order by e.enumsortorder) from pg_enum e where e.enumtypid = a.atttypid), '')
      from pg_attribute a
      where a.attrelid = $1::text::regclass and a.attnum > 0 and not a.attisdropped
        and not (a.attrelid = 'users'::regclass and a.attname in ('keycloak_id', 'metadata'))
      order by a.attnum";
    for table in catalog::TABLES {
        let rows = client.query(statement, &[&table.pg]).await.unwrap();
        let found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let expected: Vec<String> = table.columns.iter().map(described).collect();
        assert_eq!(found, expected, "{}", table.pg);
        let name = client.query_one("select sync.table_name($1)", &[&i16::from(table.id.0)]).await.unwrap();
        assert_eq!(name.get::<_, &str>(0), table.name);
    }
}
