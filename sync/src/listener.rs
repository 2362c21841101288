//! Answers on a port: the hub's and the edge's, so that both bound what a stranger can hold open.
//!
//! A peer that does not send the head of a request in time loses its connection, whether it sends slowly or nothing at
//! all. How long an answer takes, and how long its body goes on, is the routes' own affair: a pull that waits and a
//! stream of events are not cut. How long a body may take to arrive is theirs too.
//!
//! Nobody can make a program run out of files: connections beyond a limit, which follows from the system's, are answered
//! 503 at once and closed. Those that are served go on.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// What somebody is told who comes when as many are served as may be.
const CROWDED: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
    content-type: text/plain\r\ncontent-length: 44\r\n\r\ntoo many connections: try again in a moment\n";

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

/// Serves until `shutdown` resolves, then takes no new request, answers what is under way and returns.
pub async fn serve(mut listener: TcpListener, router: Router, limits: Limits, shutdown: impl Future<Output = ()>) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(Duration::from_millis(limits.head_ms_max));
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let connections = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let stream = tokio::select! {
            // Sees to errors by itself: it goes on at once after a peer's, after a pause when files have run out.
            (stream, _) = Listener::accept(&mut listener) => stream,
            () = &mut shutdown => break,
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            turn_away(&stream);
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = connections.watch(http.serve_connection(TokioIo::new(stream), service));
        // What ends a connection early is the peer's doing, and nobody is left to be told.
        tokio::spawn(async move {
            drop(connection.await);
            drop(place);
        });
    }
    drop(listener);
    connections.shutdown().await;
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
        let server = tokio::spawn(serve(listener, router, LIMITS, async { drop(stopped.await) }));
        let [one, other] = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
        (one, other, go_on, stop, server)
    }

    async fn rest(stream: &mut TcpStream) -> String {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
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
