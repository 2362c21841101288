//! What is tried at the door, and with what opens it.

use serde_json::json;
use tests::desk::{Answer, Desk, PIN};

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
