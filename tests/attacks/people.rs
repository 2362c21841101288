//! What is tried at the door, and with what opens it.

use std::collections::BTreeSet;

use edge::control::{Answer as Answered, Request};
use edge::sessions::Door;
use serde_json::{Value, json};
use tests::desk::{Answer, DEVICE_THERE, Desk, PIN, TASK_HERE};
use tokio::sync::mpsc;

async fn try_pin(desk: &Desk, email: &str, pin: &str, headers: &[(&str, &str)]) -> Answer {
    desk.ask_with("", "POST", "/session", Some(json!({"email": email, "secret": pin})), headers).await
}

#[tokio::test]
async fn one_device_that_tries_one_pin_with_many_people_is_slowed_whoever_it_says_it_is() {
    let desk = Desk::start().await;
    let mut tries = 0;
    let waits = loop {
        let email = format!("somebody-{tries}@acme.example");
        // A header names another device each time; nobody believes it.
        let forwarded = format!("10.0.0.{tries}");
        let answer =
            try_pin(&desk, &email, "123456", &[("x-forwarded-for", &forwarded), ("x-real-ip", &forwarded)]).await;
        if answer.status != 401 {
            break answer;
        }
        tries += 1;
        assert!(tries < 100, "nobody stops it");
    };
    assert_eq!((waits.status, waits.json()["code"].as_str()), (429, Some("too_many_tries")), "{}", waits.text);
    assert!((1..=15).contains(&waits.header("retry-after").parse::<u64>().unwrap()), "{}", waits.header("retry-after"));
    assert_eq!(tries, sync::peers::TRIES_FREE);
    let form = b"email=maria%40acme.example&secret=402817".as_slice();
    let form = Some(("application/x-www-form-urlencoded", form));
    let page = desk.send("", "POST", "/sign-in", form, &[("origin", &desk.url)]).await;
    assert!(page.status == 429 && page.text.contains("Too many wrong tries. Wait"), "{}", page.text);
    assert_eq!(desk.value("select count(*) from sync_lockouts where email like 'maria%'").await, "0", "no try of hers");
}

#[tokio::test]
async fn people_who_sign_in_at_one_screen_are_not_slowed_by_each_other() {
    let desk = Desk::start().await;
    for _ in 0..=sync::peers::TRIES_FREE {
        for email in ["maria@acme.example", "adam@acme.example"] {
            assert_eq!(try_pin(&desk, email, PIN, &[]).await.status, 201);
        }
    }
    // Who waits for their own mistakes costs the screen no more than those.
    for _ in 0..3 {
        assert_eq!(try_pin(&desk, "victor@acme.example", "000000", &[]).await.status, 401);
    }
    for _ in 0..2 * sync::peers::TRIES_FREE {
        assert_eq!(try_pin(&desk, "victor@acme.example", "000000", &[]).await.json()["code"], "locked_out");
    }
    assert_eq!(try_pin(&desk, "maria@acme.example", PIN, &[]).await.status, 201);
}

#[tokio::test]
async fn an_address_that_nobody_has_costs_the_work_of_a_wrong_secret() {
    let desk = Desk::start().await;
    // A verifier as the centre makes it; those of the desk are cheap.
    let verifier = sync::pg::credentials::verifier(PIN, &[7; 16]).unwrap();
    desk.sql(&format!(
        "begin immediate; update sync_self set applying = 1; update sync_credentials set verifier = '{verifier}';
         delete from sync_credentials where user_id like '%004'; update sync_self set applying = 0; commit"
    ))
    .await;
    let door = Door::default();
    let mut work = Vec::new();
    // Somebody with a wrong PIN and with the right one, nobody, somebody without a PIN here, who was suspended, and who is of
    // another tenant.
    for (email, pin) in [
        ("maria@acme.example", "000000"),
        ("maria@acme.example", PIN),
        ("nobody@acme.example", PIN),
        ("victor@acme.example", PIN),
        ("gone@acme.example", PIN),
        ("stranger@other.example", PIN),
        ("", ""),
    ] {
        let before = door.work();
        let opened = door.sign_in(&desk.app, [127, 0, 0, 1].into(), email, pin).await;
        assert_eq!(opened.is_ok(), work.len() == 1, "{email}");
        work.push(door.work() - before);
    }
    assert!(work[0] > 0 && work.iter().all(|one| *one == work[0]), "{work:?}");
}

/// The sessions that somebody sees.
async fn sessions(desk: &Desk, token: &str) -> Vec<Value> {
    let listed = desk.ask(token, "GET", "/sessions", None).await;
    assert_eq!(listed.status, 200, "{}", listed.text);
    listed.json()["items"].as_array().unwrap().clone()
}

fn id_of(session: &Value) -> String {
    session["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_sign_in_is_a_session_of_its_own_that_whoever_lost_it_can_end() {
    let desk = Desk::start().await;
    let (lost, kept, adam) = (desk.sign_in("maria").await, desk.sign_in("maria").await, desk.sign_in("adam").await);
    assert!(lost != kept, "a sign-in never goes on with a session that is there");
    let own = sessions(&desk, &kept).await;
    assert_eq!(own.len(), 2, "one's own and nobody else's: {own:?}");
    assert_eq!(own.iter().filter(|session| session["current"] == true).count(), 1);
    for session in &own {
        assert_eq!(session["name"], "maria Example");
        for time in ["created_at", "last_used_at", "expires_at"] {
            assert!(session[time].as_str().is_some_and(|text| text.ends_with('Z')), "{session}");
        }
    }
    let all = sessions(&desk, &adam).await;
    let people: BTreeSet<&str> = all.iter().filter_map(|session| session["name"].as_str()).collect();
    assert_eq!((all.len(), people), (3, ["adam Example", "maria Example"].into()), "admins see everybody's");
    // Neither the token nor what is stored of it is told.
    let told = desk.ask(&adam, "GET", "/sessions", None).await.text;
    let hashes = desk.value("select group_concat(lower(hex(token_hash))) from sync_sessions").await;
    assert!(!hashes.split(',').any(|hash| told.to_lowercase().contains(hash)) && !told.contains(&lost), "{told}");

    let lost_id = id_of(own.iter().find(|session| session["current"] == false).unwrap());
    assert_eq!(desk.ask(&kept, "DELETE", &format!("/sessions/{lost_id}"), None).await.status, 204);
    assert_eq!(desk.ask(&lost, "GET", "/me", None).await.status, 401);
    assert_eq!(desk.ask(&kept, "GET", "/me", None).await.status, 200);
    assert_eq!(desk.ask(&kept, "DELETE", &format!("/sessions/{lost_id}"), None).await.status, 404, "it is gone");
    let adams = id_of(all.iter().find(|session| session["name"] == "adam Example").unwrap());
    assert_eq!(desk.ask(&kept, "DELETE", &format!("/sessions/{adams}"), None).await.status, 404, "it is not hers");

    // The page does the same without a script.
    let page = desk.send(&adam, "GET", "/sessions", None, &[]).await;
    let marias = id_of(sessions(&desk, &kept).await.first().unwrap());
    assert!(page.text.contains(&format!("action=\"/sessions/{marias}/end\"")), "{}", page.text);
    let form = Some(("application/x-www-form-urlencoded", b"".as_slice()));
    let elsewhere =
        desk.send(&adam, "POST", &format!("/sessions/{marias}/end"), form, &[("origin", "https://evil.example")]).await;
    assert_eq!((elsewhere.status, desk.ask(&kept, "GET", "/me", None).await.status), (403, 200));
    let ended = desk.send(&adam, "POST", &format!("/sessions/{marias}/end"), form, &[("origin", &desk.url)]).await;
    assert_eq!((ended.status, desk.ask(&kept, "GET", "/me", None).await.status), (303, 401));
    let audited = "select group_concat(resource_id || ' ' || json_extract(details, '$.of')) from audit_logs
        where action = 'logout' and resource_type = 'session' and json_extract(details, '$.of') is not null order by created_at";
    let maria = "00000000-0000-4000-8000-000000000003";
    let (first, second) = (format!("{lost_id} {maria}"), format!("{marias} {maria}"));
    let audited = desk.value(audited).await;
    assert!(audited.contains(&first) && audited.contains(&second), "{audited}");
}

/// What the operator of the box gets.
async fn operate(desk: &Desk, request: Request) -> Answered {
    let (answers, mut answered) = mpsc::channel(16);
    edge::operator::perform(desk.app.clone(), request, answers).await;
    answered.recv().await.unwrap()
}

/// New emergency codes: the id and the code.
async fn codes(desk: &Desk, count: u8) -> Vec<(String, String)> {
    let Answered::EmergencyCodes(made) = operate(desk, Request::NewEmergencyCodes { count }).await else {
        panic!("no codes")
    };
    made.into_iter().map(|made| (made.id.to_string(), made.code)).collect()
}

async fn try_code(desk: &Desk, code: &str) -> Answer {
    desk.ask("", "POST", "/session", Some(json!({"code": code}))).await
}

#[tokio::test]
async fn an_emergency_code_opens_once_for_reading_and_for_half_a_day() {
    let desk = Desk::start().await;
    let made = codes(&desk, 3).await;
    let stored = desk.value("select group_concat(hex(code_hash)) from sync_emergency_codes").await;
    let (id, code) = made[0].clone();
    assert!(code.len() == 19 && !stored.contains(&code), "{code}");
    // Typed as people type.
    let typed = code.to_lowercase().replace('-', " ");
    let answer = try_code(&desk, &typed).await;
    assert_eq!((answer.status, answer.json()["person"]["role"].as_str()), (201, Some("viewer")), "{}", answer.text);
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    for path in [
        "/me",
        "/tasks",
        &format!("/tasks/{TASK_HERE}"),
        &format!("/devices/{DEVICE_THERE}"),
        "/sites",
        "/users",
        "/sync/status",
        "/sync/conflicts",
        "/export/tasks.csv",
    ] {
        assert_eq!(desk.ask(&token, "GET", path, None).await.status, 200, "{path}");
    }
    for path in ["/", "/tasks?view=all", "/devices", "/conflicts", "/sync", "/sessions"] {
        assert_eq!(desk.send(&token, "GET", path, None, &[]).await.status, 200, "{path}");
    }
    let seq = desk.value("select seq from sync_self").await;
    for (method, path, body) in [
        ("POST", "/tasks".to_owned(), json!({"title": "x"})),
        ("PATCH", format!("/tasks/{TASK_HERE}"), json!({"title": "x"})),
        ("DELETE", format!("/tasks/{TASK_HERE}"), Value::Null),
        ("POST", "/sites".to_owned(), json!({"name": "x"})),
        ("GET", "/audit".to_owned(), Value::Null),
    ] {
        let body = (!body.is_null()).then_some(body);
        assert_eq!(desk.ask(&token, method, &path, body).await.status, 403, "{method} {path}");
    }
    assert_eq!(desk.value("select seq from sync_self").await, seq, "nothing was written");
    assert_eq!(sessions(&desk, &token).await.len(), 1, "its own session and no other");
    let hours =
        "select (julianday(expires_at) - julianday(created_at)) * 24 from sync_sessions where code_id is not null";
    assert_eq!(desk.value(&format!("select round(({hours}), 3) = 12.0")).await, "1");

    for code in [&code, "0000-0000-0000-0000", ""] {
        let again = try_code(&desk, code).await;
        assert_eq!((again.status, again.json()["code"].as_str()), (401, Some("wrong_code")), "{code}");
    }
    assert_eq!(desk.ask(&token, "GET", "/me", None).await.status, 200);
    let revoke = Request::RevokeEmergencyCode(id.parse().unwrap());
    assert_eq!(operate(&desk, revoke).await, Answered::Done);
    assert_eq!(desk.ask(&token, "GET", "/me", None).await.status, 401, "its session ends with it");
    let (other, revoked) = made[1].clone();
    assert_eq!(operate(&desk, Request::RevokeEmergencyCode(other.parse().unwrap())).await, Answered::Done);
    assert_eq!(try_code(&desk, &revoked).await.status, 401);

    // By the form, the last one.
    let form = format!("code={}", made[2].1);
    let form = Some(("application/x-www-form-urlencoded", form.as_bytes()));
    let inside = desk.send("", "POST", "/sign-in", form, &[("origin", &desk.url)]).await;
    assert!(inside.status == 303 && inside.header("set-cookie").contains("HttpOnly"), "{}", inside.text);
    let door = desk.send("", "GET", "/sign-in", None, &[]).await;
    assert!(door.text.contains("href=\"/sign-in?code"), "{}", door.text);

    let audited = async |what: &str| {
        desk.value(&format!("select count(*) from audit_logs where user_id is null and {what}")).await
    };
    let by = "json_extract(details, '$.by') = 'the operator of this box'";
    assert_eq!(audited(&format!("action = 'create' and resource_type = 'emergency_code' and {by}")).await, "3");
    assert_eq!(audited(&format!("action = 'delete' and resource_type = 'emergency_code' and {by}")).await, "2");
    assert_eq!(audited(&format!("action = 'login' and json_extract(details, '$.emergency_code') = '{id}'")).await, "1");
    assert_eq!(audited("action = 'export' and json_extract(details, '$.by') = 'emergency code'").await, "1");
}

#[tokio::test]
async fn an_emergency_code_and_its_session_are_one_transaction_and_nobody_guesses_one() {
    let desk = Desk::start().await;
    let made = codes(&desk, 2).await;
    // What a plug that is pulled between the two would leave behind.
    desk.sql("create trigger no_session before insert on sync_sessions begin select raise(abort, 'pulled'); end").await;
    assert_eq!(try_code(&desk, &made[0].1).await.status, 500);
    assert_eq!(desk.value("select count(*) from sync_emergency_codes where used_at is not null").await, "0");
    desk.sql("drop trigger no_session").await;
    let both = tokio::join!(try_code(&desk, &made[0].1), try_code(&desk, &made[0].1));
    let mut statuses = [both.0.status, both.1.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 401], "two who have the same one");
    let desk = desk.restart().await;
    assert_eq!(try_code(&desk, &made[0].1).await.status, 401, "a restart makes it no better");

    let mut wrong = 0;
    let stopped = loop {
        let answer = try_code(&desk, &format!("0000-0000-0000-{wrong:04}")).await;
        if answer.status != 401 {
            break answer;
        }
        wrong += 1;
        assert!(wrong < 100, "nobody stops it");
    };
    assert_eq!((stopped.status, stopped.json()["code"].as_str()), (429, Some("too_many_tries")), "{}", stopped.text);
    assert_eq!(try_code(&desk, &made[1].1).await.status, 429, "not even the right one");
    assert_eq!(desk.value("select count(*) from sync_emergency_codes where used_at is not null").await, "1");
}
