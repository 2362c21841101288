//! Lists: which rows, in which order, page by page.

use tests::desk::{DEVICE_HERE, Desk, HERE, THERE};

#[tokio::test]
async fn pages_neither_skip_nor_repeat_while_rows_come_and_go() {
    let desk = Desk::start().await;
    let adam = desk.sign_in("adam").await;
    desk.sql(&format!(
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 40)
         insert into tasks (title, site_id, priority, due_date, status) select 'T' || i, '{HERE}',
           case i % 4 when 0 then 'low' when 1 then 'medium' when 2 then 'high' else 'urgent' end,
           case when i % 5 = 0 then null else printf('2026-01-%02dT00:00:00.000000Z', 1 + i % 7) end, 'blocked' from n"
    ))
    .await;
    for sort in ["", "due_date", "-due_date", "-priority,due_date", "title", "-status,-title,id", "completed_at"] {
        let whole = list(&desk, &adam, &format!("/tasks?status=blocked&limit=500&sort={sort}")).await.0;
        assert_eq!(whole.len(), 40, "{sort}");
        let (mut seen, mut cursor, mut page) = (Vec::new(), String::new(), 0);
        loop {
            let (items, next) = list(&desk, &adam, &format!("/tasks?status=blocked&limit=7&sort={sort}{cursor}")).await;
            seen.extend(items);
            let Some(next) = next else { break };
            cursor = format!("&cursor={next}");
            page += 1;
            // One row that sorts first comes, and one that was read already goes.
            desk.sql(&format!(
                "insert into tasks (title, site_id, status, priority, due_date)
                   values (' first', '{HERE}', 'cancelled', 'urgent', '2020-01-01T00:00:00.000000Z');
                 update tasks set status = 'cancelled' where id = '{}'",
                seen[page - 1]
            ))
            .await;
        }
        assert_eq!(seen, whole, "{sort}");
        desk.sql(
            "delete from tasks where title = ' first'; update tasks set status = 'blocked' where status = 'cancelled'",
        )
        .await;
    }
    let sorted = desk.ask(&adam, "GET", "/tasks?status=blocked&sort=-priority,due_date&limit=12", None).await.json();
    let keys: Vec<_> = sorted["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| (task["priority"].clone(), task["due_date"].clone()))
        .collect();
    assert!(keys[..10].iter().all(|(priority, _)| priority == "urgent"), "{keys:?}");
    assert!(keys[8].1.is_null() && keys[9].1.is_null() && !keys[7].1.is_null(), "nulls come last: {keys:?}");
}

#[tokio::test]
async fn filters_choose_rows() {
    let desk = Desk::start().await;
    let maria = desk.sign_in("maria").await;
    let me = "00000000-0000-4000-8000-000000000003";
    desk.sql(&format!(
        "insert into tasks (title, description, site_id, device_id, user_id, priority, due_date, status) values
           ('A 100% test', null, '{HERE}', '{DEVICE_HERE}', '{me}', 'high', '2026-01-10T00:00:00.000000Z', 'done'),
           ('B', 'with WATER', '{THERE}', null, null, 'urgent', '2026-01-20T00:00:00.000000Z', 'blocked')"
    ))
    .await;
    let cases: &[(&str, &[&str])] = &[
        ("/tasks?status=done", &["A 100% test"]),
        ("/tasks?status=done,blocked&sort=title", &["A 100% test", "B"]),
        ("/tasks?status=done&status=blocked&sort=-title", &["B", "A 100% test"]),
        ("/tasks?priority=urgent", &["B"]),
        ("/tasks?user_id=me", &["A 100% test"]),
        (&format!("/tasks?user_id={me}"), &["A 100% test"]),
        (&format!("/tasks?site_id={THERE}&sort=title"), &["B", "Oil the gate"]),
        (&format!("/tasks?device_id={DEVICE_HERE}"), &["A 100% test"]),
        ("/tasks?due_before=2026-01-20T00:00:00Z", &["A 100% test"]),
        ("/tasks?due_after=2026-01-20", &["B"]),
        ("/tasks?due_after=2026-01-10T01:00:00%2B01:00&due_before=2026-01-11", &["A 100% test"]),
        ("/tasks?q=100%25", &["A 100% test"]),
        ("/tasks?q=water", &["B"]),
        ("/tasks?q=_", &[]),
        ("/devices?q=boil", &["Boiler"]),
        ("/devices?serial_number=SN-Gate", &["Gate"]),
        (&format!("/devices?site_id={HERE}&type=sensor&status=offline"), &["Boiler"]),
        ("/sites?sort=-name", &["Warehouse", "Headquarters"]),
        ("/sites?q=ware", &["Warehouse"]),
    ];
    for (path, expected) in cases {
        let answer = desk.ask(&maria, "GET", path, None).await;
        let items = answer.json()["items"].as_array().cloned().unwrap_or_else(|| panic!("{path}: {}", answer.text));
        let found: Vec<_> =
            items.iter().map(|row| row.get("title").unwrap_or_else(|| &row["name"]).as_str().unwrap()).collect();
        assert_eq!(found, *expected, "{path}");
    }
}

async fn list(desk: &Desk, token: &str, path: &str) -> (Vec<String>, Option<String>) {
    let answer = desk.ask(token, "GET", path, None).await;
    let page = answer.json();
    let items = page["items"].as_array().unwrap_or_else(|| panic!("{path}: {}", answer.text));
    let ids = items.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    (ids, page["next"].as_str().map(str::to_owned))
}
