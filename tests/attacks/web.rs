//! What is tried with a browser, or over the site's network, by somebody who has no session.

use sync::listener::{HEAD_BYTES_MAX, HEAD_LINES_MAX};
use tests::desk::{Desk, NAME};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How many slow clients come at once.
const SLOW: usize = 400;

/// Sends a request as it is written and returns the whole answer, or as much of it as came before the edge closed.
async fn raw(desk: &Desk, request: &str) -> String {
    let mut stream = TcpStream::connect(desk.app.config.listen).await.unwrap();
    // Whoever sends too much is answered and closed while they send.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
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

#[tokio::test]
async fn a_compressed_body_is_refused_and_not_unpacked() {
    let desk = Desk::start().await;
    let maria = desk.sign_in("maria").await;
    let before = desk.value("select count(*) from tasks").await;
    let body = b"{\"title\":\"x\"}".as_slice();
    for coding in ["gzip", "zstd", "br", "deflate", "identity, gzip", "x-unknown", "GZIP"] {
        let headers = [("content-encoding", coding), ("origin", desk.url.as_str())];
        // The bytes are sound without the coding: whoever overlooked it would take them.
        let answer = desk.send(&maria, "POST", "/api/v1/tasks", Some(("application/json", body)), &headers).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (415, Some("unsupported_coding")), "{coding}");
        assert_eq!(answer.header("accept-encoding"), "identity");
        let form = Some(("application/x-www-form-urlencoded", b"title=x".as_slice()));
        assert_eq!(desk.send(&maria, "POST", "/tasks", form, &headers).await.status, 415, "{coding}");
        let form = Some(("application/x-www-form-urlencoded", b"email=a&secret=b".as_slice()));
        assert_eq!(desk.send("", "POST", "/sign-in", form, &headers).await.status, 415, "{coding}");
    }
    assert_eq!(desk.value("select count(*) from tasks").await, before);
    let plain = [("content-encoding", "identity")];
    let taken = desk.send(&maria, "POST", "/api/v1/tasks", Some(("application/json", body)), &plain).await;
    assert_eq!(taken.status, 201, "{}", taken.text);
}

#[tokio::test]
async fn heads_are_bounded_in_lines_and_bytes() {
    let desk = Desk::start().await;
    let head = |lines: usize, bytes: usize| {
        let filler: String = (0..lines).map(|line| format!("x-{line}: {}\r\n", "a".repeat(bytes))).collect();
        format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{filler}\r\n")
    };
    for (lines, bytes, status) in [
        (50, 100, "200 "),
        (HEAD_LINES_MAX - 2, 10, "200 "),
        (HEAD_LINES_MAX, 10, "431 "),
        (10_000, 1, "431 "),
        (1, HEAD_BYTES_MAX - 1_000, "200 "),
        (1, 2 * HEAD_BYTES_MAX, "431 "),
        (1, 4 * 1024 * 1024, "431 "),
    ] {
        let answer = raw(&desk, &head(lines, bytes)).await;
        let closed = status == "431 " && answer.is_empty();
        assert!(closed || answer.starts_with(&format!("HTTP/1.1 {status}")), "{lines} x {bytes}: {answer}");
    }
    let target = format!("GET /healthz?{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "a".repeat(2 * HEAD_BYTES_MAX));
    let answer = raw(&desk, &target).await;
    assert!(answer.is_empty() || ["431", "414"].contains(&&answer[9..12]), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_who_never_finish_asking_hold_up_nobody() {
    let desk = Desk::start().await;
    let maria = desk.sign_in("maria").await;
    let begun = format!(
        "POST /api/v1/tasks HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {maria}\r\ncontent-type: application/json\r\n\
         content-length: 1000\r\n\r\n{{"
    );
    let mut open = Vec::new();
    for index in 0..SLOW {
        let mut stream = TcpStream::connect(desk.app.config.listen).await.unwrap();
        // Silence, half a line, half a head, and half a body.
        let part = match index % 4 {
            0 => "",
            1 => "GET /health",
            2 => "GET /healthz HTTP/1.1\r\nhost: loc",
            _ => &begun,
        };
        stream.write_all(part.as_bytes()).await.unwrap();
        open.push(stream);
    }
    let limit = std::time::Duration::from_secs(20);
    let head = format!("host: localhost\r\nauthorization: Bearer {maria}\r\nconnection: close\r\n");
    let body = "{\"title\":\"beside them\"}";
    let length = body.len();
    for request in [
        format!("GET /healthz HTTP/1.1\r\n{head}\r\n"),
        format!("GET / HTTP/1.1\r\n{head}\r\n"),
        format!(
            "POST /api/v1/tasks HTTP/1.1\r\n{head}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        ),
    ] {
        let answer = tokio::time::timeout(limit, raw(&desk, &request)).await.expect("it is answered beside them");
        assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
    }
    // They are all still there: nobody was served because others were thrown out.
    let mut byte = [0];
    let gone = open.iter().filter(|stream| stream.try_read(&mut byte).is_ok()).count();
    assert_eq!(gone, 0);
}
