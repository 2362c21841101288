//! Our own apply and everybody who pretends to be it: a row is skipped if it was announced, and for no other reason.

use super::centre::{Case, Centre, check};

#[tokio::test]
async fn apply_is_skipped_for_announced_rows_and_for_nothing_else() {
    let announce =
        "begin; set local sync.applying = 'on'; set local role waystation_hub; set local waystation.tenant = '*';
      insert into sync.announced (txid, table_id, row_id, final) select pg_current_xact_id()::text::bigint, ";
    let end = "; delete from sync.announced; commit";
    let k2 = "to_jsonb(tasks) || '{\"title\": \"x\"}' from tasks where id = {k2}; ";
    let update = "update tasks set title = 'x' where id = {k2}";
    let lower = "create function lower_title() returns trigger language plpgsql as
        $$ begin new.title := lower(new.title); return new; end $$;
      create trigger lower_title before insert or update on tasks for each row execute function lower_title(); ";
    let cases: &[(&str, String, &[&str])] = &[
        ("an update as announced", format!("{announce} 8, id, {k2} {update}{end}"), &[]),
        (
            "a second column moves along",
            format!("{announce} 8, id, {k2} update tasks set title = 'x', priority = 'low' where id = {{k2}}{end}"),
            &["tasks k2: priority"],
        ),
        (
            "another row moves along",
            format!("{announce} 8, id, {k2} update tasks set title = 'x' where id in ({{k2}}, {{k9}}){end}"),
            &["tasks k9@t2: title"],
        ),
        ("another table's row has the same id", format!("{announce} 7, id, {k2} {update}{end}"), &["tasks k2: title"]),
        (
            "an insert as announced",
            format!("{announce} 8, {{n1}}, to_jsonb(tasks) || jsonb_build_object('id', {{n1}}) from tasks where id = {{k2}};
              insert into tasks select (jsonb_populate_record(tasks, jsonb_build_object('id', {{n1}}))).* from tasks
              where id = {{k2}}{end}"),
            &["(alive without a version) tasks n1"],
        ),
        (
            "another program's trigger normalises an update",
            format!("{lower} {announce} 8, id, to_jsonb(tasks) || '{{\"title\": \"X\"}}' from tasks where id = {{k2}};
              update tasks set title = 'X' where id = {{k2}}{end}"),
            &["tasks k2: title"],
        ),
        (
            "another program's trigger normalises an insert",
            format!("{lower} {announce} 8, {{n1}}, to_jsonb(tasks) || jsonb_build_object('id', {{n1}}, 'title', 'X')
                from tasks where id = {{k2}};
              insert into tasks select (jsonb_populate_record(tasks, jsonb_build_object('id', {{n1}}, 'title', 'X'))).*
              from tasks where id = {{k2}}{end}"),
            &["tasks n1: * title"],
        ),
        (
            "a delete as announced",
            format!("{announce} 8, id, null from tasks where id = {{k2}}; delete from tasks where id = {{k2}}{end}"),
            &["(dead without a stamp) tasks k2"],
        ),
        (
            "a delete that cascades",
            format!("{announce} 4, {{s1}}, null; delete from sites where id = {{s1}}{end}"),
            &[
                "(dead without a stamp) sites s1",
                "user_site_assignments a1: -",
                "user_site_assignments a2: -",
                "credentials c1: -",
                "devices d1: -",
                "devices d2: -",
                "tasks k1: device_id site_id",
            ],
        ),
        (
            "an announced row is deleted by somebody's trigger",
            format!("create function refuse() returns trigger language plpgsql as
                $$ begin delete from tasks where id = new.id; return null; end $$;
              create trigger refuse after update on tasks for each row execute function refuse();
              {announce} 8, id, {k2} {update}{end}"),
            &["tasks k2: -"],
        ),
        (
            "an announced delete that somebody's trigger undoes",
            format!("create function keep() returns trigger language plpgsql as
                $$ begin insert into tasks select old.*; return null; end $$;
              create trigger keep after delete on tasks for each row execute function keep();
              {announce} 8, id, null from tasks where id = {{k2}}; delete from tasks where id = {{k2}}{end}"),
            &["tasks k2: *"],
        ),
        ("nobody announced anything", format!("begin; set local sync.applying = 'on'; {update}; commit"), &["tasks k2: title"]),
        (
            "announced by another transaction",
            format!("insert into sync.announced select 1, 8, id, {k2}
              begin; set local sync.applying = 'on'; {update}; commit; delete from sync.announced"),
            &["tasks k2: title"],
        ),
        (
            "the setting was used before and is empty now",
            format!("begin; set local sync.applying = 'on'; commit; {update}"),
            &["tasks k2: title updated_at"],
        ),
    ];
    for (name, write, stamps) in cases {
        check(&[Case { name, write, stamps }]).await;
    }
}

#[tokio::test]
async fn an_application_role_writes_without_any_right_on_sync_and_hides_nothing() {
    let centre = Centre::new().await;
    let role = format!("app_{}", centre.database);
    centre.write(&format!("create role {role}; grant select, insert, update, delete, truncate on all tables in schema public to {role};
                           set role {role}; set sync.applying = 'on'")).await.unwrap();
    let before = centre.versions().await;
    centre
        .write(
            "insert into tasks (id, tenant_id, title, user_id) values ({n1}, {t1}, 'x', {u1});
                update tasks set title = 'y' where id = {k1}; delete from tasks where id = {k2}",
        )
        .await
        .unwrap();
    assert_eq!(centre.stamps_since(&before).await, ["tasks k1: title", "tasks k2: -", "tasks n1: *"]);
    for refused in [
        "insert into sync.announced values (pg_current_xact_id()::text::bigint, 8, {k1}, null)",
        "update sync.row_versions set txid = 0",
        "select nextval('sync.seq')",
    ] {
        let error = centre.write(refused).await.unwrap_err();
        assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{refused}");
    }
    centre.write("truncate tasks").await.unwrap();
}
