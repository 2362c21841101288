//! Somebody on the site's network who listens in, or stands in for the box.

use std::fs;

use serde_json::{Value, json};
use tests::client;
use tests::deployment::{Deployment, Edge, HEADQUARTERS};
use tests::wait::eventually;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An edge that serves its pages by TLS on loopback, as it would on a network; the hub has a CA for pages, or none yet.
async fn world(with_ca: bool) -> Deployment {
    let world = Deployment::start(&[HEADQUARTERS]).await;
    if with_ca {
        give_ca(&world).await;
    }
    let edge = world.edge(0);
    edge.kill();
    fs::write(world.directory().join("edge.toml"), "pages = \"tls\"\n").expect("it can be written");
    edge.spawn();
    world
}

async fn give_ca(world: &Deployment) {
    world.hub_command(&["ca", "pages"]).await.succeeded();
    let settings = world.directory().join("hub.toml");
    fs::write(settings, "pages_ca = \"hub-tls/pages-ca.crt\"\n").expect("it can be written");
    world.hub(0).kill();
    world.hub(0).start();
}

fn ca(world: &Deployment) -> String {
    fs::read_to_string(world.directory().join("hub-tls/pages-ca.crt")).expect("the hub has made it")
}

fn url(edge: &Edge, path: &str) -> String {
    format!("https://127.0.0.1:{}{path}", edge.port())
}

/// What the port answers to somebody who speaks plain HTTP.
async fn in_plain_text(edge: &Edge, request: &str) -> std::io::Result<String> {
    let mut plain = TcpStream::connect(("127.0.0.1", edge.port())).await?;
    plain.write_all(request.as_bytes()).await?;
    let mut told = String::new();
    plain.read_to_string(&mut told).await?;
    Ok(told)
}

/// What a box says that runs; its API may not be reached.
async fn until_pages(edge: &Edge, how: &str) -> Value {
    let mut status = Value::Null;
    eventually("the edge runs", async || {
        let told = in_plain_text(edge, "GET / HTTP/1.1\r\n\r\n").await.map_err(|error| error.to_string())?;
        if told.is_empty() { Err(edge.log()) } else { Ok(()) }
    })
    .await;
    eventually(&format!("pages are {how}"), async || {
        let said = edge.command(&["status", "--json"]).await;
        status = serde_json::from_str(&said.stdout).map_err(|error| format!("{error}: {said}"))?;
        if status["pages"] == how { Ok(()) } else { Err(format!("{status}\n{}", edge.log())) }
    })
    .await;
    status
}

#[tokio::test]
async fn pages_are_served_by_tls_that_the_hubs_ca_vouches_for_and_a_session_cannot_leave_it() {
    let world = world(true).await;
    let edge = world.edge(0);
    let status = until_pages(edge, "tls").await;
    assert!(status["pages_certificate_ends_at"].as_str().is_some_and(|end| end.len() == 27), "{status}");
    let trusting = client::trusting(&ca(&world));
    world.hub_command_with(&["user", "set-pin", "admin@acme-corp.com"], "271828\n").await.succeeded();
    let mut cookie = String::new();
    eventually("the PIN has come", async || {
        let answer = trusting
            .post(url(edge, "/api/v1/session"))
            .json(&json!({"email": "admin@acme-corp.com", "secret": "271828"}))
            .send()
            .await
            .map_err(|error| error.to_string())?;
        let Some(header) = answer.headers().get("set-cookie") else { return Err(answer.status().to_string()) };
        cookie = header.to_str().expect("it is text").to_owned();
        Ok(())
    })
    .await;
    let port = edge.port();
    assert!(cookie.starts_with(&format!("__Host-waystation-{port}=")), "{cookie}");
    for attribute in ["; Secure", "; HttpOnly", "; SameSite=Strict", "; Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let session = cookie.split(';').next().expect("a cookie has a value");
    let me = trusting.get(url(edge, "/api/v1/me")).header("cookie", session).send().await.expect("it answers");
    assert_eq!(me.status().as_u16(), 200);
    // A cookie of the name that plain HTTP would have is nobody's: another program on this host could have set it.
    let planted = session.replace("__Host-", "");
    let me = trusting.get(url(edge, "/api/v1/me")).header("cookie", planted).send().await.expect("it answers");
    assert_eq!(me.status().as_u16(), 401);
    // Whoever trusts another CA is warned.
    world.hub_command(&["ca", "pages", "--dir", "other"]).await.succeeded();
    let other = fs::read_to_string(world.directory().join("other/pages-ca.crt")).expect("it was made");
    let refused = client::trusting(&other).get(url(edge, "/healthz")).send().await.expect_err("another CA");
    assert!(format!("{refused:?}").contains("UnknownIssuer"), "{refused:?}");
    // In plain text nothing is served.
    let request = format!("GET /api/v1/me HTTP/1.1\r\nhost: 127.0.0.1\r\ncookie: {session}\r\n\r\n");
    let told = in_plain_text(edge, &request).await.expect("it is answered");
    assert!(told.starts_with("HTTP/1.1 400 ") && told.contains("https://") && !told.contains("acme"), "{told}");
}

#[tokio::test]
async fn before_the_hub_has_signed_a_certificate_nobody_is_served_and_then_everybody_is() {
    let world = world(false).await;
    let edge = world.edge(0);
    until_pages(edge, "no_certificate").await;
    eventually("the hub was asked", async || {
        let log = edge.log();
        if log.contains("signs no certificates for pages") { Ok(()) } else { Err(log) }
    })
    .await;
    let doctor = edge.command(&["doctor"]).await;
    assert!(doctor.stdout.contains("hub ca pages") && doctor.code == Some(1), "{doctor}");
    world.hub_command(&["ca", "pages", "--dir", "unknown"]).await.succeeded();
    let any = fs::read_to_string(world.directory().join("unknown/pages-ca.crt")).expect("it was made");
    client::trusting(&any).get(url(edge, "/healthz")).send().await.expect_err("there is no certificate to show");
    give_ca(&world).await;
    until_pages(edge, "tls").await;
    let answer = client::trusting(&ca(&world)).get(url(edge, "/healthz")).send().await.expect("it is trusted");
    assert_eq!(answer.status().as_u16(), 200);
}

#[tokio::test]
async fn a_certificate_that_ends_within_ten_months_is_replaced_by_itself_and_warned_of_in_the_last_sixty_days() {
    let world = world(true).await;
    let edge = world.edge(0);
    until_pages(edge, "tls").await;
    edge.kill();
    let file = edge.data().join("page-certificate.json");
    let first = fs::read_to_string(&file).expect("it is kept");
    let mut kept: Value = serde_json::from_str(&first).expect("it is JSON");
    let day_s = 24 * 60 * 60;
    let now_s = kept["not_after"].as_i64().expect("a number") - 365 * day_s;
    kept["not_after"] = json!(now_s + 59 * day_s);
    fs::write(&file, kept.to_string()).expect("it can be written");
    world.hub(0).kill();
    edge.spawn();
    until_pages(edge, "tls").await;
    let doctor = edge.command(&["doctor"]).await;
    assert!(doctor.stdout.contains("good for 58 days") || doctor.stdout.contains("good for 59 days"), "{doctor}");
    assert!(doctor.stdout.contains("should have been renewed by itself"), "{doctor}");
    world.hub(0).start();
    eventually("another one is kept", async || {
        let now = fs::read_to_string(&file).map_err(|error| error.to_string())?;
        let now: Value = serde_json::from_str(&now).map_err(|error| error.to_string())?;
        let renewed = now["not_after"].as_i64() > Some(now_s + 300 * day_s) && now["key"] != kept["key"];
        if renewed { Ok(()) } else { Err(edge.log()) }
    })
    .await;
    let answer = client::trusting(&ca(&world)).get(url(edge, "/trust")).send().await.expect("it is trusted");
    assert_eq!(answer.status().as_u16(), 200);
}

#[tokio::test]
async fn the_page_for_phones_shows_the_fingerprint_of_the_ca_and_hands_it_out() {
    let world = world(true).await;
    let edge = world.edge(0);
    until_pages(edge, "tls").await;
    let trusting = client::trusting(&ca(&world));
    let get = async |path: &str| {
        let answer = trusting.get(url(edge, path)).send().await.expect("it answers");
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        let kind = answer.headers()["content-type"].to_str().expect("it is text").to_owned();
        (kind, answer.text().await.expect("a body"))
    };
    assert_eq!(get("/trust/ca.crt").await, ("application/x-x509-ca-cert".to_owned(), ca(&world)));
    let (kind, image) = get("/trust/code.svg").await;
    assert!(kind == "image/svg+xml" && image.contains("<svg"), "{kind} {image}");
    let (_, page) = get("/trust").await;
    let fingerprint = edge::page_tls::fingerprint(&ca(&world));
    assert!(fingerprint.len() == 95 && page.contains(&fingerprint), "{fingerprint}\n{page}");
    assert!(page.contains(&url(edge, "/trust")), "{page}");
}
