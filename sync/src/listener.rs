//! Answers on a port: the hub's and the edge's, so that both bound what a stranger can hold open.
//!
//! A peer that does not send the head of a request in time loses its connection, whether it sends slowly or nothing at
//! all. How long an answer takes, and how long its body goes on, is the routes' own affair: a pull that waits and a
//! stream of events are not cut. How long a body may take to arrive is theirs too.
//!
//! Nobody can make a program run out of files: connections beyond a limit, which follows from the system's, are answered
//! 503 at once and closed. Those that are served go on.
//!
//! With TLS, a handshake is part of its own connection: it takes a place, has as long as a head may take, and holds up
//! nobody who comes after it. Nothing is said in plain text there, so who comes when all places are taken is only closed; with
//! one exception, for people whose browser tried plain HTTP first ([`Tls::hint`]).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::serve::Listener;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
pub use tokio_rustls::TlsAcceptor;

/// What somebody is told who comes when as many are served as may be.
const CROWDED: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
    content-type: text/plain\r\ncontent-length: 44\r\n\r\ntoo many connections: try again in a moment\n";

/// Lines of a request's head. More are answered 431.
pub const HEAD_LINES_MAX: usize = 100;
/// Bytes of a request's head. More are answered 431, or 414 when they are the target's.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// How a listener speaks TLS.
#[derive(Clone)]
pub struct Tls {
    /// What accepts it.
    pub acceptor: TlsAcceptor,
    /// Whether somebody who speaks plain HTTP is told, in plain text, to speak TLS. Nothing of what they asked is looked at.
    pub hint: bool,
}

/// What somebody is told who speaks plain HTTP where TLS is spoken.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\n\
    content-length: 66\r\n\r\nthis box speaks TLS: put https:// in front of its name or address\n";
/// The first byte of a TLS handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;

/// What a listener lets others hold open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long the head of a request may take to arrive, in milliseconds.
    pub head_ms_max: u64,
    /// How many connections are answered at once.
    pub connections_max: usize,
}

impl Limits {
    /// At most `connections_max` connections, less when the process may open fewer files than that and `files_kept` of its
    /// own; `connections_min` in any case.
    pub fn of_process(head_ms_max: u64, connections_max: usize, files_kept: usize, connections_min: usize) -> Self {
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let files = files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
        let connections_max = files.saturating_sub(files_kept).clamp(connections_min, connections_max);
        Self { head_ms_max, connections_max }
    }
}

/// Serves until `shutdown` resolves, then takes no new request, answers what is under way and returns. With an acceptor
/// every connection is TLS.
pub async fn serve(
    mut listener: TcpListener,
    router: Router,
    limits: Limits,
    tls: Option<Tls>,
    shutdown: impl Future<Output = ()>,
) {
    let head = Duration::from_millis(limits.head_ms_max);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head);
    http.max_headers(HEAD_LINES_MAX).max_buf_size(HEAD_BYTES_MAX);
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let connections = GracefulShutdown::new();
    // Dropped at the end: a handshake has no request under way that would have to be waited for.
    let (ending, ended) = watch::channel(());
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let (stream, peer) = tokio::select! {
            // Sees to errors by itself: it goes on at once after a peer's, after a pause when files have run out.
            accepted = Listener::accept(&mut listener) => accepted,
            () = &mut shutdown => break,
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            if tls.is_none() {
                turn_away(&stream);
            }
            continue;
        };
        let (http, router, watcher) = (http.clone(), router.clone(), connections.watcher());
        let Some(Tls { acceptor, hint }) = tls.clone() else {
            tokio::spawn(async move {
                answer(stream, peer, &http, router, watcher).await;
                drop(place);
            });
            continue;
        };
        let handshake = timeout(head, async move {
            match hint && speaks_otherwise(&stream).await {
                true => None,
                false => acceptor.accept(stream).await.ok(),
            }
        });
        let mut ended = ended.clone();
        tokio::spawn(async move {
            let stream = tokio::select! {
                stream = handshake => stream,
                _ = ended.changed() => return,
            };
            // Who does not finish, or does not trust our certificate, has been told by an alert if that was possible.
            if let Ok(Some(stream)) = stream {
                answer(stream, peer, &http, router, watcher).await;
            }
            drop(place);
        });
    }
    drop((listener, ending));
    connections.shutdown().await;
}

/// Answers what is asked on one connection. Each request says in its [`ConnectInfo`] who is at the other end.
async fn answer<S>(stream: S, peer: SocketAddr, http: &http1::Builder, router: Router, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let routes = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        routes.call(request)
    });
    // What ends a connection early is the peer's doing, and nobody is left to be told.
    drop(watcher.watch(http.serve_connection(TokioIo::new(stream), service)).await);
}

/// Whether somebody begins with anything but a handshake. They are told to speak TLS, if they take it at once.
async fn speaks_otherwise(stream: &TcpStream) -> bool {
    let mut first = [0];
    let begins = matches!(stream.peek(&mut first).await, Ok(1)) && first[0] != HANDSHAKE;
    if begins {
        // What is left unread would have the answer thrown away with the connection.
        let _ = stream.try_read(&mut [0; 8192]);
        let _ = stream.try_write(PLAIN);
    }
    begins
}

/// Says why, if the peer takes it at once, and closes.
fn turn_away(stream: &TcpStream) {
    // Whoever does not take it learns of it by the closing.
    let _ = stream.try_write(CROWDED);
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::sync::Mutex;
    use std::task::{Context, Poll, ready};

    use axum::body::{Body, Bytes, HttpBody};
    use axum::routing::get;
    use hyper::body::Frame;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

    use super::*;

    const LIMITS: Limits = Limits { head_ms_max: 200, connections_max: 3 };

    /// A body that begins at once and ends when it is told.
    struct Late(Option<oneshot::Receiver<()>>);

    impl HttpBody for Late {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let Some(told) = &mut self.0 else { return Poll::Ready(None) };
            let _ = ready!(Pin::new(told).poll(context));
            self.0 = None;
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"late")))))
        }
    }

    /// Two connections, in this order, to a server with one route that streams; how to let that go on, and how to stop.
    async fn start() -> (TcpStream, TcpStream, oneshot::Sender<()>, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
        let (go_on, told) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let told = Arc::new(Mutex::new(Some(told)));
        let late = move || {
            let told = told.lock().unwrap().take();
            async move { Body::new(Late(told)) }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(late));
        let server = tokio::spawn(serve(listener, router, LIMITS, None, async { drop(stopped.await) }));
        let [one, other] = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
        (one, other, go_on, stop, server)
    }

    async fn rest(stream: &mut TcpStream) -> String {
        let mut rest = Vec::new();
        let read = timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
        read.expect("the connection is closed in time").unwrap();
        String::from_utf8(rest).unwrap()
    }

    #[tokio::test]
    async fn half_a_head_and_silence_lose_their_connections_while_an_answer_goes_on() {
        let (mut asks, mut slow, go_on, _stop, _server) = start().await;
        let mut silent = TcpStream::connect(asks.peer_addr().unwrap()).await.unwrap();
        asks.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut status = [0; 15];
        asks.read_exact(&mut status).await.unwrap();
        assert_eq!(status, *b"HTTP/1.1 200 OK");
        slow.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
        rest(&mut slow).await;
        assert_eq!(rest(&mut silent).await, "");
        go_on.send(()).unwrap();
        assert!(rest(&mut asks).await.contains("late"), "longer than a head may take, and whole");
    }

    #[tokio::test]
    async fn whoever_comes_when_all_places_are_taken_is_told_and_the_place_of_who_leaves_is_free() {
        let (asks, other, _go_on, _stop, _server) = start().await;
        let address = asks.peer_addr().unwrap();
        let third = TcpStream::connect(address).await.unwrap();
        let mut fourth = TcpStream::connect(address).await.unwrap();
        let told = rest(&mut fourth).await;
        assert!(told.starts_with("HTTP/1.1 503 ") && told.ends_with("try again in a moment\n"), "{told}");
        let (head, body) = told.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{told}");
        drop((asks, other, third));
        loop {
            let mut next = TcpStream::connect(address).await.unwrap();
            // Whoever was turned away may find the connection closed while they write.
            let _ = next.write_all(b"GET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
            let mut text = String::new();
            if next.read_to_string(&mut text).await.is_ok() && text.starts_with("HTTP/1.1 404 ") {
                break;
            }
        }
    }

    /// A server that speaks TLS, what trusts it, and how to stop it.
    async fn start_tls(limits: Limits) -> (SocketAddr, TlsConnector, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let server = server.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let server = server.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let client = client.with_root_certificates(roots).with_no_client_auth();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let router = Router::new().route("/", get(|| async { "well" }));
        let tls = Some(Tls { acceptor: TlsAcceptor::from(Arc::new(server)), hint: true });
        let server = tokio::spawn(serve(listener, router, limits, tls, async { drop(stopped.await) }));
        (address, TlsConnector::from(Arc::new(client)), stop, server)
    }

    async fn ask_by_tls(address: SocketAddr, connector: &TlsConnector) -> String {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn a_handshake_that_never_comes_holds_up_nobody() {
        let (address, connector, _stop, _server) = start_tls(Limits { head_ms_max: 3_600_000, ..LIMITS }).await;
        let _silent = TcpStream::connect(address).await.unwrap();
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(&[0x16, 0x03]).await.unwrap();
        let asked = timeout(Duration::from_secs(20), ask_by_tls(address, &connector)).await;
        let text = asked.expect("it is answered beside them");
        assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("well"), "{text}");
    }

    #[tokio::test]
    async fn whoever_speaks_plain_http_to_tls_is_told_so_and_gets_nothing() {
        let (address, connector, _stop, _server) = start_tls(LIMITS).await;
        let mut plain = TcpStream::connect(address).await.unwrap();
        plain.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let told = rest(&mut plain).await;
        assert!(told.starts_with("HTTP/1.1 400 ") && told.contains("https://") && !told.contains("well"), "{told}");
        let (head, body) = told.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{told}");
        assert!(ask_by_tls(address, &connector).await.ends_with("well"));
    }

    #[tokio::test]
    async fn handshakes_lose_their_places_in_time_and_who_comes_meanwhile_is_not_told_in_plain_text() {
        let (address, connector, _stop, _server) = start_tls(LIMITS).await;
        let mut streams = Vec::new();
        for _ in 0..=LIMITS.connections_max {
            streams.push(TcpStream::connect(address).await.unwrap());
        }
        for stream in &mut streams {
            assert_eq!(rest(stream).await, "");
        }
        assert!(ask_by_tls(address, &connector).await.ends_with("well"), "their places are free again");
    }

    #[tokio::test]
    async fn the_end_waits_for_no_handshake() {
        let (address, connector, stop, server) = start_tls(Limits { head_ms_max: 3_600_000, ..LIMITS }).await;
        let mut silent = TcpStream::connect(address).await.unwrap();
        // What comes to be after it was accepted after it.
        let stream = TcpStream::connect(address).await.unwrap();
        let connecting = connector.connect("localhost".try_into().unwrap(), stream);
        let idle = timeout(Duration::from_secs(20), connecting).await.expect("it is answered beside it").unwrap();
        stop.send(()).unwrap();
        assert_eq!(rest(&mut silent).await, "");
        server.await.unwrap();
        drop(idle);
    }

    #[tokio::test]
    async fn the_end_waits_for_what_is_under_way_and_for_nothing_else() {
        // What is answered on the second connection was asked after the first one had been accepted.
        let (mut idle, mut asks, go_on, stop, server) = start().await;
        asks.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        asks.read_exact(&mut [0; 15]).await.unwrap();
        stop.send(()).unwrap();
        assert_eq!(rest(&mut idle).await, "");
        assert!(TcpStream::connect(asks.peer_addr().unwrap()).await.is_err(), "nobody listens any more");
        assert!(!server.is_finished());
        go_on.send(()).unwrap();
        assert!(rest(&mut asks).await.contains("late"));
        server.await.unwrap();
    }
}
