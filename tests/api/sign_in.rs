//! Who comes in, and for how long.

use serde_json::json;
use tests::desk::{Desk, PIN};

use super::refused;

#[tokio::test]
async fn wrong_secrets_are_counted_across_restarts() {
    let mut desk = Desk::start().await;
    let sign_in = |email: &str, secret: &str| Some(json!({"email": email, "secret": secret}));
    assert_eq!(desk.ask("", "POST", "/session", sign_in(" MARIA@Acme.example ", PIN)).await.status, 201, "in any case");
    // Somebody's address and nobody's get the same answers.
    for email in ["maria@acme.example", "nobody@acme.example"] {
        for _ in 0..3 {
            let answer = desk.ask("", "POST", "/session", sign_in(email, "000000")).await;
            refused(&answer, 401, "wrong_credentials", None);
        }
        let locked = desk.ask("", "POST", "/session", sign_in(email, PIN)).await;
        refused(&locked, 429, "locked_out", None);
        assert!((1..=5).contains(&locked.header("retry-after").parse::<u64>().unwrap()));
    }
    desk = desk.restart().await;
    for email in ["maria@acme.example", "nobody@acme.example"] {
        refused(&desk.ask("", "POST", "/session", sign_in(email, PIN)).await, 429, "locked_out", None);
    }
    assert_eq!(
        desk.ask("", "POST", "/session", sign_in("adam@acme.example", PIN)).await.status,
        201,
        "nobody else waits"
    );
    let failed =
        desk.value("select count(*) from audit_logs where action = 'login_failed' and user_id is not null").await;
    assert_eq!(failed, "3");
    // A new PIN from the centre ends the wait.
    desk.sql(
        "begin immediate; update sync_self set applying = 1;
         update sync_credentials set updated_at = '2999-01-01T00:00:00.000000Z' where user_id like '%003';
         update sync_self set applying = 0; commit",
    )
    .await;
    assert_eq!(desk.ask("", "POST", "/session", sign_in("maria@acme.example", PIN)).await.status, 201);
}

#[tokio::test]
async fn only_members_come_in_and_only_while_they_are() {
    let desk = Desk::start().await;
    let body = |email: &str| Some(json!({"email": email, "secret": PIN}));
    for email in ["gone@acme.example", "stranger@other.example"] {
        refused(&desk.ask("", "POST", "/session", body(email)).await, 401, "wrong_credentials", None);
    }
    for token in ["", "x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        let answer = desk.ask(token, "GET", "/tasks", None).await;
        refused(&answer, 401, "unauthorized", None);
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    let maria = desk.sign_in("maria").await;
    assert_eq!(
        desk.value("select count(*) from sync_sessions where hex(token_hash) like '%' || hex('a') || '%' and 0").await,
        "0"
    );
    desk.sql("update sync_sessions set expires_at = '2020-01-01T00:00:00.000000Z'").await;
    refused(&desk.ask(&maria, "GET", "/me", None).await, 401, "unauthorized", None);
    let maria = desk.sign_in("maria").await;
    desk.sql("update sync_sessions set last_seen_at = '2020-01-01T00:00:00.000000Z'").await;
    refused(&desk.ask(&maria, "GET", "/me", None).await, 401, "unauthorized", None);
    let maria = desk.sign_in("maria").await;
    desk.sql(
        "begin immediate; update sync_self set applying = 1;
         update user_tenant_associations set status = 'suspended' where user_id like '%003';
         update sync_self set applying = 0; commit",
    )
    .await;
    refused(&desk.ask(&maria, "GET", "/me", None).await, 401, "unauthorized", None);
}

#[tokio::test]
async fn a_cookie_counts_only_on_our_own_pages() {
    let desk = Desk::start().await;
    let answer = desk.ask("", "POST", "/session", Some(json!({"email": "adam@acme.example", "secret": PIN}))).await;
    let set = answer.header("set-cookie").to_owned();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict"), "{set}");
    let cookie = set.split(';').next().unwrap();
    let origin = desk.url.clone();
    let cases: &[(&[(&str, &str)], u16)] = &[
        (&[("origin", &origin)], 201),
        (&[("sec-fetch-site", "same-origin")], 201),
        (&[("origin", "http://evil.example")], 403),
        (&[("origin", "null")], 403),
        (&[("sec-fetch-site", "cross-site"), ("origin", &origin)], 403),
        (&[("sec-fetch-site", "same-site")], 403),
        (&[], 403),
    ];
    for (headers, status) in cases {
        let mut headers = headers.to_vec();
        headers.push(("cookie", cookie));
        let answer = desk.ask_with("", "POST", "/tasks", Some(json!({"title": "x"})), &headers).await;
        assert_eq!(answer.status, *status, "{headers:?}: {}", answer.text);
        assert_eq!(desk.ask_with("", "GET", "/tasks", None, &headers).await.status, 200, "reading is free");
    }
}
