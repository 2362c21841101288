//! What a plain client may not write, and what is filled in for it.

use rusqlite::types::Value;
use tests::mirror::{CLIENTS, Client, Mirror};

use super::check;

#[test]
fn tables_kept_at_the_centre_refuse_every_write() {
    check(
        "insert into users (id, email) values ('$x', 'x@acme.example'); update users set email = 'x'; delete from tenants;
         replace into tenants (id, name, slug) values ('$t', 'x', 'x'); update or ignore tenants set name = 'x';
         delete from sync_credentials; delete from user_site_assignments;
         insert or ignore into sync_credentials (tenant_id, user_id, site_id, verifier) values ('$t', '$u', '$s', 'x');",
        &[
            "users is kept at the centre: change it there",
            "users is kept",
            "tenants is kept",
            "tenants is kept",
            "tenants is kept",
            "user_site_assignments is kept",
            "sync_credentials is kept",
        ],
        "",
    );
}

#[test]
fn a_tenant_left_out_is_filled_in_without_a_second_stamp() {
    check(
        "insert into sites (id, name) values ('$m', 'm'); insert into tasks (id, title) values ('$n', 'n');
         update tasks set tenant_id = null where id = '$n';
         update tasks set tenant_id = null, title = 'x';",
        &["cannot be emptied", "cannot be emptied"],
        "sites m: {5.1} 5.1 *; base {}
         tasks n: {5.2} 5.2 *; base {}",
    );
    for client in CLIENTS {
        let mirror = Mirror::new();
        mirror
            .run(client, "insert into tasks (title) values ('n'); replace into tasks (id, title) values ('$a', 'a');");
        assert_eq!(mirror.value("select count(*) from tasks where tenant_id = '$t'"), Value::Integer(3));
        let form = "select id glob '????????-????-4???-[89ab]???-????????????' from tasks where title = 'n'";
        assert_eq!(mirror.value(form), Value::Integer(1));
    }
}

#[test]
fn audit_records_only_grow_and_wait_in_the_outbox() {
    let record = "insert into audit_logs (id, action, resource_type) values ('$x', 'create', 'task');";
    for client in CLIENTS {
        let mirror = Mirror::new();
        let script = format!(
            "{record} update audit_logs set action = 'read'; delete from audit_logs; {}",
            record.replace("insert", "insert or replace")
        );
        let errors = mirror.run(client, &script);
        assert!(errors.len() == 3 && errors.iter().all(|error| error.contains("only grows")), "{errors:?}");
        assert_eq!(mirror.value("select id from sync_audit_outbox"), Value::Text(tests::mirror::id('x')));
    }
}

#[test]
fn what_is_no_text_is_refused_and_whatever_is_text_passes() {
    let broken = [
        "char(0)",
        "'a' || char(0) || 'b'",
        "cast(x'4bfc636865' as text)",
        "cast(x'3231b043' as text)",
        "cast(x'fffe' as text)",
        "cast(x'61e282' as text)",
        "'Küche 21°C' || cast(x'80' as text)",
    ];
    let sound = [
        "'Küche 21°C, 5 µm'",
        "'ключ 鍵 🔑'",
        "char(65533)",
        "char(65534) || 'a' || char(65535)",
        "char(128) || char(191) || char(1)",
        "''",
    ];
    for client in [Client::Program { recursive: false }, Client::Linked { recursive: false }] {
        let mirror = Mirror::new();
        let all = |text: &str| {
            format!(
                "update tasks set title = {text} where id = '$a'; update tasks set description = {text};
                 insert into tasks (title) values ({text}); insert or ignore into devices (site_id, name, type) values ('$s', {text}, 'meter');
                 update or ignore sites set address = {text}; replace into tasks (id, title) values ('$b', {text});
                 update tasks set metadata = '{{\"k\":\"' || {text} || '\"}}' where id = '$a';"
            )
        };
        for text in broken {
            let errors = mirror.run(client, &all(text));
            assert!(
                errors.len() == 7 && errors.iter().all(|error| error.contains("takes no text")),
                "{text}: {errors:#?}"
            );
            assert_eq!(mirror.pending(), "", "{text}");
        }
        for text in sound {
            let errors = mirror.run(client, &all(text).replace("update tasks set metadata", "select 1; --"));
            assert_eq!(errors, Vec::<String>::new(), "{client:?} {text}");
        }
    }
    // What came here in another way is not in the way of mending it.
    let mirror = Mirror::new();
    mirror.connection().execute_batch("update sync_self set applying = 1; update tasks set title = cast(x'fffe' as text), description = title; update tasks set description = title; update sync_self set applying = 0").unwrap();
    assert_eq!(
        mirror.run(CLIENTS[0], "update tasks set title = 'mended'; update tasks set description = null;"),
        Vec::<String>::new()
    );
}

#[test]
fn a_row_of_another_tenant_is_refused() {
    check(
        "insert into tasks (id, tenant_id, title) values ('$m', '$x', 'theirs');
         update sites set tenant_id = '$x'; update or ignore devices set tenant_id = '$x', name = 'x';
         insert or replace into tasks (id, tenant_id, title) values ('$a', '$x', 'theirs');
         insert into tasks (id, tenant_id, title) values ('$m', '$t', 'ours');",
        &["tasks.tenant_id is not the tenant", "sites.tenant_id is", "devices.tenant_id is", "tasks.tenant_id is"],
        "tasks m: {5.1} 5.1 *; base {}",
    );
    let mirror = Mirror::new();
    mirror.connection().execute_batch("update sync_self set tenant_id = null").unwrap();
    let before = "insert into sites (tenant_id, name) values ('$x', 'made before anybody knew the tenant');";
    assert_eq!(mirror.run(CLIENTS[0], before), Vec::<String>::new());
}

#[test]
fn checks_bind_plain_clients() {
    let refused = [
        "insert into tasks (id, title) values ('ABCDEF00-0000-4000-8000-000000000000', 'x');",
        "insert into tasks (id, title) values ('abcdef00-0000-4000-8000-00000000000-', 'x');",
        "insert into tasks (title, status) values ('x', 'finished');",
        "insert into tasks (title, due_date) values ('x', '2026-01-01 10:00:00');",
        "insert into tasks (title, due_date) values ('x', '2026-02-31T10:00:00.000000Z');",
        "insert into tasks (title, due_date) values ('x', '2026-01-01T10:00:00.12   Z');",
        "insert into tasks (title, metadata) values ('x', '[]');",
        "insert into tasks (title, metadata) values ('x', 'no json');",
        r#"insert into tasks (title, metadata) values ('x', '{"a":"\u0000"}');"#,
        "insert into tasks (title) values (x'00');",
        "insert into sites (name, latitude) values ('x', 91);",
        "insert into sites (name, latitude) values ('x', 9e999);",
        "insert into devices (site_id, name, type) values ('$s', 'x', 'toaster');",
        "insert into devices (site_id, name, type) values ('S', 'x', 'meter');",
        "update tasks set user_id = 'U';",
    ];
    for client in [Client::Program { recursive: false }, Client::Linked { recursive: false }] {
        let mirror = Mirror::new();
        for script in refused {
            let errors = mirror.run(client, script);
            assert!(errors.len() == 1 && !errors[0].contains("no such"), "{client:?}: {script} {errors:?}");
        }
        let fine = r#"insert into tasks (title, metadata) values ('x', '{"a":"\\u0000"}');"#;
        assert_eq!(mirror.run(client, fine), Vec::<String>::new());
    }
}

#[test]
fn a_key_that_is_no_uuid_is_refused_also_while_checks_are_off() {
    let off = "pragma ignore_check_constraints = on;";
    let scripts = [
        "insert into tasks (id, title) values ('T-4711', 'x');",
        "insert or ignore into tasks (id, title) values ('ABCDEF00-0000-4000-8000-000000000000', 'x');",
        "replace into sites (id, name) values ('', 'x');",
        "update or replace devices set id = 'D1';",
    ];
    for client in CLIENTS {
        let mirror = Mirror::new();
        for script in scripts {
            let errors = mirror.run(client, &format!("{off} {script}"));
            assert!(errors.len() == 1 && errors[0].contains(".id is a uuid"), "{client:?}: {script} {errors:?}");
        }
        assert_eq!(mirror.pending(), "");
        let fine =
            format!("{off} insert into tasks (title) values ('x'); update tasks set id = '$y' where title = 'x';");
        assert_eq!(mirror.run(client, &fine), Vec::<String>::new());
    }
}
