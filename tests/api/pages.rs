//! The pages, as a browser without scripts meets them.

use tests::desk::{Answer, DEVICE_HERE, Desk, PEOPLE, PIN, TASK_HERE, TASK_THERE};

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn somebody_signs_in_by_the_form_and_out_again() {
    let desk = Desk::start().await;
    let away = page(&desk, "", "/tasks/1?x").await;
    assert_eq!((away.status, away.header("location")), (303, "/sign-in?next=%2Ftasks%2F1%3Fx"));
    let wrong = submit(&desk, "", "/sign-in", "email=maria%40acme.example&secret=000000&next=%2Fdevices").await;
    assert_eq!(wrong.status, 401);
    assert!(wrong.text.contains("value=\"maria@acme.example\""), "the address stays");
    assert!(wrong.text.contains("value=\"/devices\"") && !wrong.text.contains("000000"), "{}", wrong.text);
    for (next, location) in
        [("%2Fdevices", "/devices"), ("https%3A%2F%2Fevil.example", "/"), ("%2F%2Fevil.example", "/")]
    {
        let form = format!("email=maria%40acme.example&secret={PIN}&next={next}");
        let inside = submit(&desk, "", "/sign-in", &form).await;
        assert_eq!((inside.status, inside.header("location")), (303, location));
        assert!(inside.header("set-cookie").contains("HttpOnly; SameSite=Strict"), "{}", inside.header("set-cookie"));
    }
    let maria = desk.sign_in("maria").await;
    assert_eq!(submit(&desk, &maria, "/sign-out", "").await.header("location"), "/sign-in");
    assert_eq!(page(&desk, &maria, "/").await.status, 303);
}

#[tokio::test]
async fn text_from_anywhere_is_only_text() {
    let desk = Desk::start().await;
    let maria = desk.sign_in("maria").await;
    let evil = "<script>alert(1)</script>\"><img src=x onerror=alert(2)>''{{7*7}}";
    let quoted = evil.replace('\'', "''");
    let me = PEOPLE[2].id;
    desk.sql(&format!(
        "update tasks set title = '{quoted}', description = '{quoted}', user_id = '{me}', device_id = '{DEVICE_HERE}',
           metadata = json_object('{quoted}', '{quoted}') where id = '{TASK_HERE}';
         update devices set name = '{quoted}', serial_number = '{quoted}', metadata = json_object('{quoted}', '{quoted}')
           where id = '{DEVICE_HERE}';
         update sites set name = '{quoted}';
         insert into sync_conflicts (id, tbl, row_id, kind, register, winner, loser) values
           ('00000000-0000-4000-8000-00000000c0de', 8, '{TASK_HERE}', 'edit_edit', 'title',
            json_object('dot', json_array(1, 1, 1), 'value', '{quoted}'), json_object('dot', json_array(8, 1, 1), 'value', '{quoted}'))"
    ))
    .await;
    for path in
        ["/", "/?view=all&q=%3Cscript%3E", "/devices", "/conflicts", "/sync", "/sign-in?next=%22%3E%3Cscript%3E"]
    {
        harmless(&page(&desk, &maria, path).await, path);
    }
    for path in [format!("/tasks/{TASK_HERE}"), format!("/devices/{DEVICE_HERE}")] {
        let page = page(&desk, &maria, &path).await;
        harmless(&page, &path);
        assert!(
            page.text.contains("&#60;script&#62;") || page.text.contains("&lt;script&gt;"),
            "{path} shows it as text"
        );
    }
}

#[tokio::test]
async fn a_form_writes_only_what_was_changed() {
    let desk = Desk::start().await;
    let maria = desk.sign_in("maria").await;
    let path = format!("/tasks/{TASK_HERE}");
    let filled = page(&desk, &maria, &path).await;
    assert!(filled.text.contains("name=\"was_title\" value=\"Check the boiler\""), "{}", filled.text);
    desk.sql(&format!("update tasks set priority = 'urgent' where id = '{TASK_HERE}'")).await;
    let form = "was_title=Check+the+boiler&title=Check+both+boilers&was_priority=medium&priority=medium\
                &was_due_date=&due_date=2026-07-01T10%3A30&was_description=&description=a%0D%0Ab";
    let saved = submit(&desk, &maria, &path, form).await;
    assert_eq!((saved.status, saved.header("location")), (303, format!("{path}?saved").as_str()));
    let row = format!(
        "select title || '|' || priority || '|' || due_date || '|' || description from tasks where id = '{TASK_HERE}'"
    );
    assert_eq!(
        desk.value(&row).await,
        "Check both boilers|urgent|2026-07-01T08:30:00.000000Z|a\nb",
        "the site's time, and one line end"
    );

    let old = base(&filled);
    let blank = format!("base={old}&was_title=Check+the+boiler&title=+&was_priority=medium&priority=low");
    let wrong = submit(&desk, &maria, &path, &blank).await;
    assert!(wrong.status == 422 && wrong.text.contains("Title: must not be blank"), "{}", wrong.text);
    assert_eq!(base(&wrong), old, "the page is as old as before");
    assert!(wrong.text.contains("name=\"was_title\" value=\"Check the boiler\""), "{}", wrong.text);
    assert!(wrong.text.contains("<option value=\"low\" selected>"), "what was typed stays");
    let done = submit(&desk, &maria, &path, "was_status=open&status=done&back=list").await;
    assert_eq!((done.status, done.header("location")), (303, "/"), "one tap in the list leads back to it");
    assert_eq!(
        desk.value(&format!("select status || (completed_at is null) from tasks where id = '{TASK_HERE}'")).await,
        "done0"
    );
    let made = submit(
        &desk,
        &maria,
        "/tasks",
        "title=New+one&was_title=&priority=high&was_priority=&status=open&was_status=&user_id=&was_user_id=",
    )
    .await;
    assert_eq!(made.status, 303, "{}", made.text);
    assert_eq!(desk.value("select count(*) from audit_logs where resource_type = 'task'").await, "3");
    let device =
        submit(&desk, &maria, &format!("/devices/{DEVICE_HERE}"), "was_serial_number=SN-Boiler&serial_number=SN-Gate")
            .await;
    assert!(device.status == 409 && device.text.contains("Gate has it already"), "{}", device.text);
}

#[tokio::test]
async fn two_people_on_old_pages_of_one_task_lose_nothing_and_know_of_each_other() {
    let desk = Desk::start().await;
    let (maria, adam) = (desk.sign_in("maria").await, desk.sign_in("adam").await);
    let path = format!("/tasks/{TASK_HERE}");
    desk.sql(&format!("update tasks set priority = 'low' where id = '{TASK_HERE}'")).await;
    let old = base(&page(&desk, &maria, &path).await);
    let first = format!("base={old}&was_title=Check+the+boiler&title=Boiler+1&was_priority=low&priority=high");
    assert_eq!(submit(&desk, &adam, &path, &first).await.status, 303);
    let second = format!("base={old}&was_title=Check+the+boiler&title=Boiler+2&was_description=&description=wet");
    assert_eq!(submit(&desk, &maria, &path, &second).await.status, 303, "nobody is asked to type again");

    let row = format!("select title || '|' || priority || '|' || description from tasks where id = '{TASK_HERE}'");
    assert_eq!(desk.value(&row).await, "Boiler 2|high|wet");
    let listed = desk.ask(&maria, "GET", "/sync/conflicts", None).await.json();
    let items = listed["items"].as_array().expect("a list");
    assert_eq!(items.len(), 1, "different columns meet without a conflict: {listed}");
    let lost = &items[0];
    assert_eq!(
        (&lost["kind"], &lost["column"], &lost["status"]),
        (&"edit_edit".into(), &"title".into(), &"open".into())
    );
    assert_eq!((&lost["loser"]["value"], &lost["loser"]["person"]), (&"Boiler 1".into(), &"adam Example".into()));
    assert_eq!((&lost["winner"]["value"], &lost["winner"]["person"]), (&"Boiler 2".into(), &"maria Example".into()));
    let dots = "select json_extract(c.loser, '$.dot[1]') < json_extract(c.winner, '$.dot[1]')
        and json_extract(c.winner, '$.dot') = json_extract(r.dots, '$.title') and c.pending = 1
        from sync_conflicts c join sync_rows r on r.tbl = c.tbl and r.row_id = c.row_id";
    assert_eq!(desk.value(dots).await, "1", "both are writes of this replica, and the record waits for the hub");
    assert!(page(&desk, &adam, &format!("{path}?saved")).await.text.contains("Two people wrote the same"));

    let known = base(&page(&desk, &maria, &path).await);
    let third = format!("base={known}&was_title=Boiler+2&title=Boiler+3");
    assert_eq!(submit(&desk, &maria, &path, &third).await.status, 303);
    assert_eq!(desk.value("select count(*) from sync_conflicts").await, "1", "what was seen is overwritten");
    let id = lost["id"].as_str().expect("an id");
    let restored = desk.ask(&maria, "POST", &format!("/sync/conflicts/{id}/restore"), None).await;
    assert_eq!(restored.status, 200, "{}", restored.text);
    assert!(desk.value(&row).await.starts_with("Boiler 1|"));
}

#[tokio::test]
async fn a_form_sent_after_its_task_was_deleted_brings_it_back_with_what_was_typed() {
    let desk = Desk::start().await;
    let (maria, adam) = (desk.sign_in("maria").await, desk.sign_in("adam").await);
    let path = format!("/tasks/{TASK_HERE}");
    desk.sql(&format!("update tasks set priority = 'low', device_id = '{DEVICE_HERE}' where id = '{TASK_HERE}'")).await;
    let old = base(&page(&desk, &maria, &path).await);
    desk.sql(&format!("delete from devices where id = '{DEVICE_HERE}'")).await;
    assert_eq!(desk.ask(&adam, "DELETE", &format!("/tasks/{TASK_HERE}"), None).await.status, 204);
    let nothing = format!("base={old}&was_title=Check+the+boiler&title=Check+the+boiler");
    assert_eq!(submit(&desk, &maria, &path, &nothing).await.status, 404, "nothing was typed, so nothing comes back");
    let blank = submit(&desk, &maria, &path, &format!("base={old}&was_title=a&title=+&description=wet")).await;
    assert!(blank.status == 422 && blank.text.contains(">wet</textarea>"), "{}", blank.text);
    let typed = format!("base={old}&was_title=Check+the+boiler&title=It+leaks");
    assert_eq!(submit(&desk, &maria, &path, &typed).await.status, 303);
    let row = format!("select title || priority || (device_id is null) from tasks where id = '{TASK_HERE}'");
    assert_eq!(desk.value(&row).await, "It leakslow1");
    let lost = desk.ask(&maria, "GET", "/sync/conflicts", None).await.json()["items"].clone();
    assert_eq!((lost.as_array().map(Vec::len), &lost[0]["kind"]), (Some(1), &"edit_delete".into()), "{lost}");
    assert_eq!(
        (&lost[0]["loser"]["person"], &lost[0]["winner"]["person"]),
        (&"adam Example".into(), &"maria Example".into())
    );
    assert_eq!(submit(&desk, &maria, "/tasks/00000000-0000-4000-8000-00000000dead", &typed).await.status, 404);
}

#[tokio::test]
async fn forms_of_other_sites_and_people_without_rights_change_nothing() {
    let desk = Desk::start().await;
    let (maria, victor) = (desk.sign_in("maria").await, desk.sign_in("victor").await);
    let before = desk.value("select seq from sync_self").await;
    let bytes = b"was_title=Check+the+boiler&title=x".as_slice();
    for headers in [&[("origin", "https://evil.example")][..], &[("sec-fetch-site", "cross-site")], &[]] {
        for path in [
            format!("/tasks/{TASK_HERE}"),
            format!("/tasks/{TASK_HERE}/delete"),
            "/tasks".to_owned(),
            "/sign-in".to_owned(),
        ] {
            let answer = desk.send(&maria, "POST", &path, Some((FORM, bytes)), headers).await;
            assert_eq!(answer.status, 403, "{path} {headers:?}: {}", answer.text);
        }
    }
    for (token, id) in [(&victor, TASK_HERE), (&maria, TASK_THERE)] {
        let path = format!("/tasks/{id}");
        let shown = page(&desk, token, &path).await;
        assert!(shown.text.contains("<fieldset disabled>") && !shown.text.contains(">Save<"), "{}", shown.text);
        assert_eq!(submit(&desk, token, &path, "was_title=a&title=b").await.status, 403);
        assert_eq!(submit(&desk, token, &path, "was_status=open&status=done").await.status, 403);
    }
    assert_eq!(desk.value("select seq from sync_self").await, before, "no row was written");
    let nothing = page(&desk, &maria, "/nothing").await;
    assert!(nothing.status == 404 && nothing.header("content-type").starts_with("text/html"), "a page for people");
}

/// What a page says that it had seen of its row, ready to be sent.
#[track_caller]
fn base(page: &Answer) -> String {
    let field = page.text.split_once("name=\"base\" value=\"").expect("a form says what it had seen").1;
    let value = field.split_once('"').expect("an attribute ends").0;
    let text = value.replace("&quot;", "\"").replace("&#34;", "\"");
    let encode = |c: char| if c.is_ascii_alphanumeric() { c.to_string() } else { format!("%{:02X}", u32::from(c)) };
    text.chars().map(encode).collect()
}

async fn page(desk: &Desk, token: &str, path: &str) -> Answer {
    desk.send(token, "GET", path, None, &[("accept", "text/html")]).await
}

async fn submit(desk: &Desk, token: &str, path: &str, form: &str) -> Answer {
    desk.send(token, "POST", path, Some((FORM, form.as_bytes())), &[("origin", &desk.url)]).await
}

#[track_caller]
fn harmless(page: &Answer, path: &str) {
    assert_eq!(page.status, 200, "{path}");
    for markup in ["<script", "<img src=x", "style=\"", "onerror=alert(2)>\"", "javascript:"] {
        assert!(!page.text.contains(markup), "{markup} in {path}: {}", page.text);
    }
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'self';"), "{policy}");
    assert_eq!((page.header("x-content-type-options"), page.header("cache-control")), ("nosniff", "no-store"));
}
