//! A connection to PostgreSQL that breaks at a chosen call.
//!
//! It reads the frontend/backend protocol, version 3 (PostgreSQL's manual, chapter 55), message by message. Counted are the
//! calls of transactions: each request of a client between the beginning of one and its end that the server answers as a
//! whole. Single statements, with which a hub asks every few milliseconds whether there is news, are not counted.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// When a connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the server has the call.
    Before,
    /// After the server has done it, before the client knows.
    After,
}

/// Which calls are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Every one of a transaction.
    Any,
    /// Its `COMMIT`.
    Commit,
}

/// Which call breaks its connection, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    call: Call,
    number: u32,
    moment: Moment,
}

#[derive(Debug, Default)]
struct State {
    plan: Option<Plan>,
    calls: u32,
}

/// A proxy before a PostgreSQL server.
#[derive(Debug)]
pub struct PostgresProxy {
    port: u16,
    state: Arc<Mutex<State>>,
    closed: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// A message's kind and body.
type Message = (u8, Vec<u8>);

/// The server has done a call.
const READY: u8 = b'Z';

impl PostgresProxy {
    /// One before the server on a port of this machine.
    ///
    /// # Panics
    /// When no port can be had.
    pub fn start(server: u16) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket can be asked not to block");
        let port = listener.local_addr().expect("a listener has an address").port();
        let (closed, until_closed) = watch::channel(false);
        let shared = Arc::clone(&state);
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(accept(listener, server, shared, until_closed));
        };
        Self { port, state, closed, thread: Some(std::thread::spawn(work)) }
    }

    /// The same URL with the server's port replaced by the proxy's.
    pub fn url(&self, url: &str, server: u16) -> String {
        url.replace(&format!(":{server}/"), &format!(":{}/", self.port))
    }

    /// Breaks the connection of the n-th call from now on, counted from 1, once.
    pub fn fail(&self, call: Call, number: u32, moment: Moment) {
        *lock(&self.state) = State { plan: Some(Plan { call, number, moment }), calls: 0 };
    }

    /// Forgets the plan; whether it was carried out.
    pub fn take_failed(&self) -> bool {
        lock(&self.state).plan.take().is_none()
    }
}

impl Drop for PostgresProxy {
    fn drop(&mut self) {
        self.closed.send_replace(true);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("nobody panics with the lock")
}

async fn accept(
    listener: std::net::TcpListener,
    server: u16,
    state: Arc<Mutex<State>>,
    mut closed: watch::Receiver<bool>,
) {
    let listener = TcpListener::from_std(listener).expect("a listener of this runtime");
    let mut clients = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            _ = closed.changed() => return,
            Ok((client, _)) = listener.accept() => {
                let state = Arc::clone(&state);
                clients.spawn(async move { serve(client, server, state).await.unwrap_or_default() });
            }
        }
    }
}

/// Passes a connection's messages on until one side ends, or until it is broken.
async fn serve(client: TcpStream, server: u16, state: Arc<Mutex<State>>) -> std::io::Result<()> {
    let server = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, server))).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let first = read_startup(&mut from_client).await?;
    to_server.write_all(&first).await?;
    let is_broken = AtomicBool::new(false);
    let answers = async {
        loop {
            let answer = read_message(&mut from_server).await?;
            if !is_broken.load(Ordering::SeqCst) {
                send(&mut to_client, &answer).await?;
            } else if answer.0 == READY {
                return Ok(());
            }
        }
    };
    let calls = async {
        let mut in_transaction = false;
        loop {
            let message = read_message(&mut from_client).await?;
            in_transaction = in_transaction || begins(&message);
            let moment = if in_transaction && is_call(&message) { count(&state, is_commit(&message)) } else { None };
            if moment == Some(Moment::Before) {
                return Ok(());
            }
            if moment == Some(Moment::After) {
                is_broken.store(true, Ordering::SeqCst);
            }
            send(&mut to_server, &message).await?;
            if moment == Some(Moment::After) {
                return std::future::pending().await;
            }
            in_transaction = in_transaction && !ends(&message);
        }
    };
    tokio::select! {
        ended = answers => ended,
        ended = calls => ended,
    }
}

/// Counts a call; when it is the one of the plan, when its connection breaks.
fn count(state: &Mutex<State>, is_commit: bool) -> Option<Moment> {
    let mut state = lock(state);
    let plan = state.plan?;
    state.calls += u32::from(is_commit || plan.call == Call::Any);
    if state.calls != plan.number {
        return None;
    }
    state.plan = None;
    Some(plan.moment)
}

/// A simple query, or the end of a series of messages of an extended one.
fn is_call(message: &Message) -> bool {
    matches!(message.0, b'Q' | b'S')
}

fn begins(message: &Message) -> bool {
    says(message, b"begin") || says(message, b"start transaction")
}

fn is_commit(message: &Message) -> bool {
    says(message, b"commit")
}

fn ends(message: &Message) -> bool {
    is_commit(message) || says(message, b"rollback\0")
}

fn says(message: &Message, words: &[u8]) -> bool {
    message.0 == b'Q' && message.1.get(..words.len()).is_some_and(|head| head.eq_ignore_ascii_case(words))
}

async fn read_startup(from: &mut OwnedReadHalf) -> std::io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    let mut message = length.to_be_bytes().to_vec();
    message.resize(usize::try_from(length).unwrap_or(4).max(4), 0);
    from.read_exact(&mut message[4..]).await?;
    Ok(message)
}

async fn read_message(from: &mut OwnedReadHalf) -> std::io::Result<Message> {
    let kind = from.read_u8().await?;
    let length = usize::try_from(from.read_u32().await?).unwrap_or(4).max(4);
    let mut body = vec![0; length - 4];
    from.read_exact(&mut body).await?;
    Ok((kind, body))
}

async fn send(to: &mut OwnedWriteHalf, (kind, body): &Message) -> std::io::Result<()> {
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    let mut message = vec![*kind];
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(body);
    to.write_all(&message).await
}
