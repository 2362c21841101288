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

    let late = "was_title=Check+the+boiler&title=Mine&was_status=open&status=blocked";
    let clash = submit(&desk, &maria, &path, late).await;
    assert_eq!(clash.status, 409, "somebody else has changed the title meanwhile");
    assert!(clash.text.contains("name=\"title\" value=\"Mine\""), "what was typed stays");
    assert!(clash.text.contains("name=\"was_title\" value=\"Check both boilers\""), "and the next try replaces theirs");
    assert_eq!(
        desk.value(&format!("select status from tasks where id = '{TASK_HERE}'")).await,
        "open",
        "nothing was written"
    );

    let wrong = submit(&desk, &maria, &path, "was_title=Check+both+boilers&title=+&was_status=open&status=open").await;
    assert!(wrong.status == 422 && wrong.text.contains("Title: must not be blank"), "{}", wrong.text);
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
        assert_eq!(submit(&desk, token, &path, "was_title=a&title=b").await.status, 409, "not what it was filled with");
        assert_eq!(submit(&desk, token, &path, "was_status=open&status=done").await.status, 403);
    }
    assert_eq!(desk.value("select seq from sync_self").await, before, "no row was written");
    let nothing = page(&desk, &maria, "/nothing").await;
    assert!(nothing.status == 404 && nothing.header("content-type").starts_with("text/html"), "a page for people");
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
