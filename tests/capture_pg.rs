//! The centre's capture as other programs meet it: whatever plain SQL does to a synced row leaves exactly one stamp.

#[path = "capture/apply.rs"]
mod apply;
#[path = "capture/centre.rs"]
mod centre;
#[path = "capture/health.rs"]
mod health;
#[path = "capture/order.rs"]
mod order;

use centre::{Case, Centre, check, check_scope};

#[tokio::test]
async fn every_form_of_insert_stamps_the_row_whole() {
    check(&[
        Case {
            name: "one row",
            write: "insert into tasks (id, tenant_id, title) values ({n1}, {t1}, 'x')",
            stamps: &["tasks n1: *"],
        },
        Case {
            name: "several rows",
            write: "insert into tasks (id, tenant_id, title) values ({n1}, {t1}, 'x'), ({n2}, {t2}, 'y')",
            stamps: &["tasks n1: *", "tasks n2@t2: *"],
        },
        Case {
            name: "rows of a query",
            write: "insert into sites (id, tenant_id, name) select {n1}, tenant_id, name from sites where id = {s1}",
            stamps: &["sites n1: *"],
        },
        Case {
            name: "a device whose tenant a trigger fills in",
            write: "insert into devices (id, site_id, name, type) values ({n1}, {s1}, 'x', 'sensor')",
            stamps: &["devices n1: *"],
        },
        Case {
            name: "a tenant, under its own id, and a user, under nobody's",
            write: "insert into tenants (id, name, slug) values ({n1}, 'x', 'x');
                    insert into users (id, email) values ({n2}, 'x@y')",
            stamps: &["tenants n1: *", "users n2: *"],
        },
        Case {
            name: "a credential",
            write: "insert into sync.credentials (id, tenant_id, user_id, site_id, verifier)
                    values ({n1}, {t1}, {u2}, {s2}, '$argon2id$x')",
            stamps: &["credentials n1: *"],
        },
        Case {
            name: "on conflict do nothing, with a conflict",
            write: "insert into tasks (id, tenant_id, title) values ({k1}, {t1}, 'x') on conflict do nothing",
            stamps: &[],
        },
        Case {
            name: "on conflict do update, with and without a conflict",
            write: "insert into tasks (id, tenant_id, title) values ({k1}, {t1}, 'x'), ({n1}, {t1}, 'x')
                    on conflict (id) do update set title = excluded.title",
            stamps: &["tasks k1: title updated_at", "tasks n1: *"],
        },
        Case {
            name: "merge, all three ways",
            write: "merge into tasks using (values ({k1}::uuid, 'x'), ({k2}, 'gone'), ({n1}, 'y')) as given (id, title)
                      on tasks.id = given.id
                    when matched and given.title = 'gone' then delete
                    when matched then update set title = given.title
                    when not matched then insert (id, tenant_id, title) values (given.id, {t1}, given.title)",
            stamps: &["tasks k1: title updated_at", "tasks k2: -", "tasks n1: *"],
        },
        Case {
            name: "an id that was deleted before",
            write: "delete from tasks where id = {k1}; insert into tasks (id, tenant_id, title) values ({k1}, {t1}, 'x')",
            stamps: &["tasks k1: * (was deleted)"],
        },
        Case {
            name: "a session in replica role",
            write: "set session_replication_role = replica;
                    insert into tasks (id, tenant_id, title) values ({n1}, {t1}, 'x')",
            stamps: &["tasks n1: *"],
        },
    ])
    .await;
}

#[tokio::test]
async fn an_update_stamps_the_registers_that_changed() {
    check(&[
        Case {
            name: "one column, and updated_at by its trigger",
            write: "update tasks set title = 'x' where id = {k1}",
            stamps: &["tasks k1: title updated_at"],
        },
        Case {
            name: "columns that win together, under their lead",
            write: "update tasks set completed_at = now() where id = {k1};
                    update sites set longitude = 1, latitude = 1 where id = {s1}",
            stamps: &["sites s1: latitude updated_at", "tasks k1: status updated_at"],
        },
        Case {
            name: "updated_at alone",
            write: "update tasks set updated_at = '2001-01-01' where id = {k1}",
            stamps: &["tasks k1: updated_at"],
        },
        Case {
            name: "update from another table, each row its own registers",
            write: "update tasks set title = given.title, priority = given.priority
                    from (values ({k1}::uuid, 'x', 'medium'::task_priority), ({k2}, 'title k2', 'urgent')) as given (id, title, priority)
                    where tasks.id = given.id",
            stamps: &["tasks k1: title updated_at", "tasks k2: priority updated_at"],
        },
        Case {
            name: "to null and from null",
            write: "update tasks set user_id = null, description = 'x' where id = {k1}",
            stamps: &["tasks k1: description updated_at user_id"],
        },
        Case {
            name: "the same column twice in one transaction, back to what it was",
            write: "begin; update tasks set title = 'x' where id = {k1}; update tasks set title = 'title k1' where id = {k1}; commit",
            stamps: &["tasks k1: title updated_at"],
        },
        Case {
            name: "different columns in two statements of one transaction",
            write: "begin; update tasks set title = 'x' where id = {k1}; update tasks set priority = 'low' where id = {k1}; commit",
            stamps: &["tasks k1: priority title updated_at"],
        },
        Case {
            name: "two data-modifying CTEs, of which the first gets the row",
            write: "with one as (update tasks set title = 'x' where id = {k1} returning id),
                         two as (update tasks set title = 'y' where id = {k1} returning id)
                    select * from one, two",
            stamps: &["tasks k1: title updated_at"],
        },
        Case {
            name: "a row with a nested write by a trigger of another program",
            write: "create function touch() returns trigger language plpgsql as
                      $$ begin update tasks set priority = 'low' where id = new.id and priority <> 'low'; return null; end $$;
                    create trigger touch after insert or update on tasks for each row execute function touch();
                    update tasks set title = 'x' where id = {k1};
                    insert into tasks (id, tenant_id, title) values ({n1}, {t1}, 'x')",
            stamps: &["tasks k1: priority title updated_at", "tasks n1: *"],
        },
    ])
    .await;
}

#[tokio::test]
async fn what_changes_nothing_of_the_catalog_leaves_no_stamp() {
    check(&[
        Case { name: "no row found", write: "update tasks set title = 'x' where id = {n1}", stamps: &[] },
        Case { name: "no row deleted", write: "delete from tasks where id = {n1}", stamps: &[] },
        Case { name: "the same value", write: "update tasks set title = title", stamps: &[] },
        Case {
            name: "a column of the centre only",
            write: "update users set keycloak_id = 'x', metadata = '{\"a\": 1}', updated_at = updated_at where id = {u1}",
            stamps: &["users u1: updated_at"],
        },
        Case {
            name: "a column of the centre only, without its trigger",
            write: "alter table users disable trigger users_move_updated_at;
                    update users set keycloak_id = 'x' where id = {u1}",
            stamps: &[],
        },
        Case {
            name: "a savepoint rolled back",
            write: "begin; savepoint a; update tasks set title = 'x'; rollback to a;
                    update tasks set priority = 'low' where id = {k2}; commit",
            stamps: &["tasks k2: priority updated_at"],
        },
        Case {
            name: "a transaction rolled back",
            write: "begin; delete from tenants; rollback",
            stamps: &[],
        },
        Case {
            name: "an error caught in a block",
            write: "do $$ begin
                      update tasks set title = 'x';
                      raise exception 'x';
                    exception when others then null; end $$",
            stamps: &[],
        },
        Case {
            name: "an exact zero of another sign",
            write: "alter table sites disable trigger sites_move_updated_at;
                    update sites set latitude = '-0' where id = {s2}",
            stamps: &[],
        },
    ])
    .await;
}

#[tokio::test]
async fn metadata_is_stamped_key_by_key() {
    check(&[
        Case {
            name: "a key added, one changed, one removed, one left",
            write: "update tasks set metadata = '{\"added\": 1, \"changed\": 2, \"left\": 3}' where id = {k1};",
            stamps: &["tasks k1: metadata.added metadata.changed metadata.removed updated_at"],
        },
        Case {
            name: "odd names",
            write: r#"update tasks set metadata = metadata || '{"": 1, "a.b": 1, "*": 1, "-": 1, "\"": 1, "é\n": 1, "metadata.": 1}'
                      where id = {k1}"#,
            stamps: &["tasks k1: metadata. metadata.\" metadata.* metadata.- metadata.a.b metadata.metadata. metadata.é\n updated_at"],
        },
        Case {
            name: "null is a value",
            write: r#"update tasks set metadata = metadata || '{"changed": null}' where id = {k1}"#,
            stamps: &["tasks k1: metadata.changed updated_at"],
        },
        Case {
            name: "a number written in another way",
            write: r#"update tasks set metadata = metadata || '{"changed": 1.0}', updated_at = now() where id = {k1}"#,
            stamps: &["tasks k1: metadata.changed updated_at"],
        },
        Case {
            name: "the same object in another order",
            write: r#"update tasks set metadata = '{"removed": 1, "left": 3, "changed": 1}' where id = {k1}"#,
            stamps: &[],
        },
        Case {
            name: "a nested value, under its top-level key",
            write: r#"update tasks set metadata = jsonb_set(metadata, '{left}', '{"deep": {"x": 1}}') where id = {k1}"#,
            stamps: &["tasks k1: metadata.left updated_at"],
        },
    ])
    .await;
}

#[tokio::test]
async fn a_cascade_is_captured_whatever_fires_first() {
    check(&[
        Case {
            name: "set null and cascade on one row",
            write: "delete from users where id = {u1}",
            stamps: &[
                "users u1: -",
                "user_tenant_associations m1: -",
                "user_site_assignments a1: -",
                "user_site_assignments a2: assigned_by updated_at",
                "credentials c1: -",
                "tasks k1: updated_at user_id",
            ],
        },
        Case {
            name: "set null before cascade on one row",
            write: "alter table user_site_assignments drop constraint user_site_assignments_user_exists;
                    alter table user_site_assignments add constraint user_site_assignments_user_exists
                      foreign key (user_id) references users (id) on delete cascade deferrable;
                    delete from users where id = {u1}",
            stamps: &[
                "users u1: -",
                "user_tenant_associations m1: -",
                "user_site_assignments a1: -",
                "user_site_assignments a2: assigned_by updated_at",
                "credentials c1: -",
                "tasks k1: updated_at user_id",
            ],
        },
        Case {
            name: "a row that is updated for one user and deleted with another, its update captured last",
            write: "delete from users where id in ({u1}, {u2})",
            stamps: &[
                "users u1: -",
                "users u2: -",
                "user_tenant_associations m1: -",
                "user_tenant_associations m2: -",
                "user_tenant_associations m3@t2: -",
                "user_site_assignments a1: -",
                "user_site_assignments a2: -",
                "credentials c1: -",
                "tasks k1: updated_at user_id",
            ],
        },
        Case {
            name: "two references of one row, cleared by one statement",
            write: "delete from sites where id = {s1}",
            stamps: &[
                "sites s1: -",
                "user_site_assignments a1: -",
                "user_site_assignments a2: -",
                "credentials c1: -",
                "devices d1: -",
                "devices d2: -",
                "tasks k1: device_id site_id updated_at",
            ],
        },
        Case {
            name: "a whole tenant",
            write: "delete from tenants where id = {t2}",
            stamps: &["tenants t2: -", "user_tenant_associations m3@t2: -", "sites s9@t2: -", "tasks k9@t2: -"],
        },
    ])
    .await;
}

#[tokio::test]
async fn truncate_is_a_delete_of_every_row() {
    check(&[
        Case { name: "one table", write: "truncate tasks", stamps: &["tasks k1: -", "tasks k2: -", "tasks k9@t2: -"] },
        Case {
            name: "cascading",
            write: "truncate devices cascade",
            stamps: &["devices d1: -", "devices d2: -", "tasks k1: -", "tasks k2: -", "tasks k9@t2: -"],
        },
        Case {
            name: "in replica role",
            write: "set session_replication_role = replica; truncate sync.credentials",
            stamps: &["credentials c1: -"],
        },
        Case {
            name: "a row that was deleted while the triggers were off",
            write: "alter table tasks disable trigger user; delete from tasks where id = {k1};
                    alter table tasks enable trigger user; truncate tasks",
            stamps: &["tasks k1: -", "tasks k2: -", "tasks k9@t2: -"],
        },
        Case {
            name: "followed by new rows under the old ids",
            write: "truncate tasks; insert into tasks (id, tenant_id, title) values ({k1}, {t1}, 'x')",
            stamps: &["tasks k1: * (was deleted)", "tasks k2: -", "tasks k9@t2: -"],
        },
    ])
    .await;

    let centre = Centre::new().await;
    let error = centre.write("begin isolation level repeatable read; truncate tasks").await.unwrap_err();
    let message = error.as_db_error().unwrap().message().to_owned();
    assert_eq!(message, "truncate of public.tasks needs isolation level read committed");
}

#[tokio::test]
async fn a_new_key_is_a_delete_and_an_insert() {
    check(&[
        Case {
            name: "a new id",
            write: "update tasks set id = {n1} where id = {k1}",
            stamps: &["tasks k1: -", "tasks n1: *"],
        },
        Case {
            name: "a chain of ids",
            write: "alter table tasks drop constraint tasks_are_identified_by_id;
                    alter table tasks add constraint tasks_are_identified_by_id primary key (id) deferrable;
                    update tasks set id = case id when {k1} then {k2} else {n1} end::uuid where id in ({k1}, {k2})",
            stamps: &[
                "tasks k1: -",
                "tasks k2: device_id metadata.changed metadata.left metadata.removed site_id title updated_at user_id",
                "tasks n1: *",
            ],
        },
        Case {
            name: "a swap of ids",
            write: "alter table tasks drop constraint tasks_are_identified_by_id;
                    alter table tasks add constraint tasks_are_identified_by_id primary key (id) deferrable;
                    update tasks set id = case id when {k1} then {k2} else {k1} end::uuid where id in ({k1}, {k2})",
            stamps: &[
                "tasks k1: device_id metadata.changed metadata.left metadata.removed site_id title updated_at user_id",
                "tasks k2: device_id metadata.changed metadata.left metadata.removed site_id title updated_at user_id",
            ],
        },
        Case {
            name: "another tenant",
            write: "update tasks set tenant_id = {t2} where id = {k2}",
            stamps: &["tasks k2: -", "tasks k2@t2: *"],
        },
        Case {
            name: "another tenant and back in one transaction",
            write: "begin; update tasks set tenant_id = {t2} where id = {k2};
                    update tasks set tenant_id = {t1} where id = {k2}; commit",
            stamps: &["tasks k2: * (was deleted)", "tasks k2@t2: -"],
        },
        Case {
            name: "deleted and inserted by one statement",
            write: "with gone as (delete from tasks where id = {k2} returning *)
                    insert into tasks (id, tenant_id, title) select id, tenant_id, 'x' from gone",
            stamps: &["tasks k2: *"],
        },
        Case {
            name: "inserted and deleted again by another program's trigger",
            write: "create function refuse() returns trigger language plpgsql as
                      $$ begin delete from tasks where id = new.id; return null; end $$;
                    create trigger refuse after insert on tasks for each row execute function refuse();
                    insert into tasks (id, tenant_id, title) values ({n1}, {t1}, 'x')",
            stamps: &["tasks n1: -"],
        },
    ])
    .await;
}

#[tokio::test]
async fn a_row_that_was_written_while_the_triggers_were_off_stops_nobody() {
    let off =
        "alter table tasks disable trigger user; insert into tasks (id, tenant_id, title) values ({n1}, {t1}, 'x');
               alter table tasks enable trigger user; ";
    let cases = [
        ("updated", "update tasks set title = 'y' where id = {n1}", "tasks n1: * title"),
        ("deleted", "delete from tasks where id = {n1}", "tasks n1: -"),
        ("given another id", "update tasks set id = {n2} where id = {n1}", "tasks n1: -|tasks n2: *"),
        ("truncated", "truncate tasks", "tasks k1: -|tasks k2: -|tasks n1: -|tasks k9@t2: -"),
    ];
    for (name, write, stamps) in cases {
        let stamps = stamps.split('|').collect::<Vec<_>>();
        check(&[Case { name, write: &format!("{off}{write}"), stamps: &stamps }]).await;
    }
    check(&[Case {
        name: "a dead row that was revived unseen, then updated",
        write: "delete from tasks where id = {k2};
                alter table tasks disable trigger user; insert into tasks (id, tenant_id, title) values ({k2}, {t1}, 'x');
                alter table tasks enable trigger user; update tasks set title = 'y' where id = {k2}",
        stamps: &["tasks k2: * title (was deleted)"],
    }])
    .await;
}

#[tokio::test]
async fn copy_by_psql_stamps_every_row() {
    let centre = Centre::new().await;
    let before = centre.versions().await;
    centre.psql("copy tasks (id, tenant_id, title) from stdin;\n{n1}\t{t1}\tx\n{n2}\t{t2}\ty\n\\.\n");
    assert_eq!(centre.stamps_since(&before).await, ["tasks n1: *", "tasks n2@t2: *"]);
}

#[tokio::test]
async fn a_dead_row_keeps_its_last_values_exactly() {
    let centre = Centre::new().await;
    centre
        .write(
            "update tasks set description = 'é\"', due_date = '2026-01-02 03:04:05.000006+01' where id = {k1};
                  update sites set latitude = 0.1::float8 + 0.2, longitude = 1e-300 where id = {s2}",
        )
        .await
        .unwrap();
    let expected = [
        centre.json("select to_jsonb(t) from tasks t where id = {k1}").await,
        centre.json("select to_jsonb(s) from sites s where id = {s2}").await,
        centre.json("select to_jsonb(u) - '{keycloak_id,metadata}'::text[] from users u where id = {u3}").await,
    ];
    centre
        .write(
            "set timezone = 'Asia/Kathmandu'; set extra_float_digits = -10; delete from tasks where id = {k1};
                  delete from sites where id = {s2}; delete from users where id = {u3}",
        )
        .await
        .unwrap();
    let found = [
        centre.json("select last_row from sync.row_versions where row_id = {k1}").await,
        centre.json("select last_row from sync.row_versions where row_id = {s2}").await,
        centre.json("select last_row from sync.row_versions where row_id = {u3}").await,
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_reference_to_a_user_that_comes_goes_or_moves_is_told_to_the_scope() {
    check_scope(&[
        (
            "a membership given",
            "insert into user_tenant_associations (user_id, tenant_id) values ({u3}, {t1})",
            &["u3@t1"],
        ),
        ("a membership changed", "update user_tenant_associations set role = 'viewer'", &[]),
        ("a membership taken", "delete from user_tenant_associations where id = {m1}", &["u1@t1"]),
        (
            "an assignment by somebody",
            "insert into user_site_assignments (user_id, site_id, tenant_id, assigned_by)
          values ({u3}, {s2}, {t1}, {u2})",
            &["u2@t1", "u3@t1"],
        ),
        ("an assigner forgotten", "update user_site_assignments set assigned_by = null where id = {a2}", &["u1@t1"]),
        ("a task for nobody", "insert into tasks (tenant_id, title) values ({t1}, 'x')", &[]),
        (
            "many tasks for one",
            "insert into tasks (tenant_id, title, user_id)
          select {t1}, 'x', {u3} from generate_series(1, 9)",
            &["u3@t1"],
        ),
        ("a task handed on", "update tasks set user_id = {u2} where id = {k1}", &["u1@t1", "u2@t1"]),
        ("a task edited", "update tasks set title = 'x'", &[]),
        (
            "a task moved to another tenant",
            "update tasks set tenant_id = {t2}, site_id = null, device_id = null
          where id = {k1}",
            &["u1@t1", "u1@t2"],
        ),
        ("a task given another id", "update tasks set id = {n1} where id = {k1}", &["u1@t1"]),
        ("a user deleted", "delete from users where id = {u1}", &["u1@t1"]),
        ("a table emptied", "truncate user_site_assignments", &["u1@t1", "u2@t1"]),
        (
            "a row of our own apply",
            "begin; set local sync.applying = 'on';
          insert into sync.announced (txid, table_id, row_id, final)
            select pg_current_xact_id()::text::bigint, 8, id, to_jsonb(tasks) || jsonb_build_object('user_id', {u3})
            from tasks where id = {k1};
          update tasks set user_id = {u3} where id = {k1}; delete from sync.announced; commit",
            &["u1@t1", "u3@t1"],
        ),
    ])
    .await;
}
