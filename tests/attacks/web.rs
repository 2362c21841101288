//! What is tried with a browser, or over the site's network, by somebody who has no session.

use tests::desk::{Desk, NAME};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Sends a request as it is written and returns the whole answer.
async fn raw(desk: &Desk, request: &str) -> String {
    let mut stream = TcpStream::connect(desk.app.config.listen).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[track_caller]
fn misdirected(answer: &str, request: &str) {
    assert!(answer.starts_with("HTTP/1.1 421 "), "{request}\n{answer}");
    for part in ["content-type: application/problem+json", "\"code\":\"wrong_host\"", "content-security-policy: "] {
        assert!(answer.contains(part), "{request}\n{answer}");
    }
}

#[tokio::test]
async fn a_name_that_was_pointed_at_this_box_gets_nothing_from_any_route() {
    let desk = Desk::start().await;
    let port = desk.app.config.listen.port();
    let token = desk.sign_in("olga").await;
    for path in edge::api::paths().into_iter().chain(["/docs/", "/nothing"]) {
        for host in [format!("evil.example:{port}"), format!("127.0.0.1.evil.example:{port}")] {
            let request = format!(
                "GET {} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n",
                path.replace(['{', '}'], "")
            );
            misdirected(&raw(&desk, &request).await, &request);
        }
    }
    let seq = desk.value("select seq from sync_self").await;
    let body = "{\"title\":\"x\"}";
    for head in [
        "host: evil.example".to_owned(),
        // Two, of which one is right; and none at all.
        format!("host: 127.0.0.1:{port}\r\nhost: evil.example"),
        "x-forwarded-host: localhost".to_owned(),
        "host: evil.example\r\nx-forwarded-host: localhost".to_owned(),
        "host: evil.example\r\nforwarded: host=localhost".to_owned(),
    ] {
        let request = format!(
            "POST /api/v1/tasks HTTP/1.1\r\n{head}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        misdirected(&raw(&desk, &request).await, &request);
    }
    let absolute =
        format!("GET http://evil.example/healthz HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n");
    misdirected(&raw(&desk, &absolute).await, &absolute);
    assert_eq!(desk.value("select seq from sync_self").await, seq, "nothing was written");
}

#[tokio::test]
async fn the_names_and_addresses_that_a_technician_types_are_answered() {
    let desk = Desk::start().await;
    let port = desk.app.config.listen.port();
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let (machine, capital) = (machine.trim(), NAME.to_uppercase());
    let short = machine.split('.').next().unwrap();
    for host in ["127.0.0.1", "10.20.30.40", "[::1]", "localhost", machine, &format!("{short}.local"), NAME, &capital] {
        for host in [host.to_owned(), format!("{host}:{port}")] {
            let request = format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            let answer = raw(&desk, &request).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{request}\n{answer}");
        }
    }
}
