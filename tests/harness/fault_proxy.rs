//! The link between an edge and its hubs, which a test breaks on purpose.
//!
//! It reads HTTP/1.1 message by message, so that a cut falls on a chosen byte of a chosen request or answer. It keeps
//! everything that passed. It runs on a thread of its own: a test that blocks does not stop the network.
//!
//! A fault happens once. When it has happened the link is [`Link::Refused`] until the test heals it, so nothing passes
//! between the fault and the moment the test has looked at its effect.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::wait::Stopwatch;

pub use http::{Message, position};
use http::{Wire, first_boundary};

mod http;

const EXCHANGES_SHOWN: usize = 12;
/// Bytes of one packet, and how long a sender waits before it sends one again (RFC 6298, 2.1).
const PACKET_BYTES: usize = 536;
const RESEND_MS: f64 = 1_000.0;

/// What the link does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Passes everything.
    Up,
    /// Resets every connection.
    Refused,
    /// Takes connections and bytes, and passes nothing.
    Silent,
    /// Answers every request itself with status 200, as a captive portal does.
    Portal {
        /// The answer's media type.
        media_type: &'static str,
        /// The answer's body.
        body: &'static str,
    },
    /// Answers every request itself with these bytes, as a proxy on the way does that cannot pass it on.
    Answers(&'static str),
    /// Answers every request itself with what the hub last answered to one of the same route, as a proxy with a stale store does.
    Stale,
    /// Passes nothing more, ever; the proxy ends.
    Closed,
}

/// One of the protocol's routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/sync/v1/enroll`
    Enroll,
    /// `/sync/v1/hello`
    Hello,
    /// `/sync/v1/push`
    Push,
    /// `/sync/v1/pull`
    Pull,
}

impl Route {
    /// Its path.
    pub fn path(self) -> &'static str {
        match self {
            Self::Enroll => "/sync/v1/enroll",
            Self::Hello => "/sync/v1/hello",
            Self::Push => "/sync/v1/push",
            Self::Pull => "/sync/v1/pull",
        }
    }
}

/// Which of the two messages is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What the edge sends.
    Request,
    /// What the hub answers. The request was delivered.
    Answer,
}

/// Where a message is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Nothing of it passes. Of an answer: after the commit, before the answer.
    Before,
    /// In the middle of the headers.
    InHeaders,
    /// At a line's end when the message ends in good order, else at the end of a compressed frame's header or block.
    AtFrameBoundary,
    /// In the middle of the body.
    MidRow,
    /// Everything but the last byte passes.
    LastByte,
}

/// How a cut shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The connection ends as if in order.
    Fin,
    /// The connection is reset.
    Rst,
    /// The message is well-formed and shorter: a middlebox cut the text and framed it anew.
    Shortened,
}

/// One cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Of the next message of this route.
    pub route: Route,
    /// Of the request or of the answer.
    pub part: Part,
    /// Where.
    pub at: Position,
    /// How.
    pub ending: Ending,
}

/// A request that reached the proxy, and the answer that the hub gave it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// What the edge sent.
    pub request: Message,
    /// What the hub answered, if it did.
    pub answer: Option<Message>,
    /// Whether a fault cut one of them.
    pub cut: bool,
}

impl Exchange {
    /// Sends the request once more, byte for byte, to the hub on a port of loopback; returns the answer's status.
    pub async fn send_again(&self, port: u16) -> u16 {
        let client = crate::client::plain();
        let head = String::from_utf8_lossy(&self.request.head).into_owned();
        let mut lines = head.lines();
        let path = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a request has a path");
        let mut request = client.post(format!("http://127.0.0.1:{port}{path}")).body(self.request.body.clone());
        for line in lines.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").expect("a header has a value");
            if !["host", "content-length", "transfer-encoding"].contains(&name.to_ascii_lowercase().as_str()) {
                request = request.header(name, value);
            }
        }
        request.send().await.expect("the hub answers").status().as_u16()
    }
}

/// What is said differently on the way, as by a program of another version.
#[derive(Clone, Copy, Debug)]
pub struct Alteration {
    /// In messages of this route.
    pub route: Route,
    /// In the requests or in the answers.
    pub part: Part,
    /// The text, which has to change if it can.
    pub change: fn(&str) -> String,
}

/// A narrow line that loses packets: when it is free again, each way, and the dice.
struct Slow {
    bits_per_second: f64,
    loss: f64,
    watch: Stopwatch,
    free_at_ms: [f64; 2],
    random: SmallRng,
}

impl Slow {
    /// How long until a message has passed, in milliseconds. One way is one queue; a packet that is lost is sent again when
    /// its sender has waited in vain.
    fn takes_ms(&mut self, part: Part, bytes: usize) -> f64 {
        let way = usize::from(part == Part::Answer);
        let mut takes_ms = bytes as f64 * 8_000.0 / self.bits_per_second;
        for _ in 0..bytes.div_ceil(PACKET_BYTES) {
            while self.random.random_bool(self.loss) {
                takes_ms += RESEND_MS;
            }
        }
        let now_ms = self.watch.ms();
        self.free_at_ms[way] = self.free_at_ms[way].max(now_ms) + takes_ms;
        self.free_at_ms[way] - now_ms
    }
}

/// A running proxy.
pub struct FaultProxy {
    port: u16,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    link: watch::Sender<Link>,
    state: Mutex<State>,
}

struct State {
    upstreams: Vec<u16>,
    next_upstream: usize,
    fault: Option<Fault>,
    alteration: Option<Alteration>,
    slow: Option<Slow>,
    /// The next request of this route is delivered twice.
    twice: Option<Route>,
    /// Answers of this route come so many milliseconds late.
    late: Option<(Route, u64)>,
    exchanges: Vec<Exchange>,
    bytes_up: u64,
    bytes_down: u64,
}

/// What becomes of a connection after one exchange.
enum After {
    Next,
    Finish,
    Reset,
}

impl FaultProxy {
    /// Starts a proxy before the hub on `upstream`, a port of loopback.
    pub fn start(upstream: u16) -> Self {
        let state = State {
            upstreams: vec![upstream],
            next_upstream: 0,
            fault: None,
            alteration: None,
            slow: None,
            twice: None,
            late: None,
            exchanges: Vec::new(),
            bytes_up: 0,
            bytes_down: 0,
        };
        let shared = Arc::new(Shared { link: watch::Sender::new(Link::Up), state: Mutex::new(state) });
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound listener has an address").port();
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || run(listener, shared)
        });
        Self { port, shared, thread: Some(thread) }
    }

    /// Where the edge finds it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From the next request on, the requests go to these hubs in turn.
    pub fn set_upstreams(&self, ports: &[u16]) {
        self.state().upstreams = ports.to_vec();
    }

    /// Changes the link now. Connections under way end, unless it becomes silent.
    pub fn set_link(&self, link: Link) {
        self.shared.link.send_replace(link);
    }

    /// Resets everything under way and whatever is tried.
    pub fn cut(&self) {
        self.set_link(Link::Refused);
    }

    /// Passes everything again, at once and once. A fault that has not happened is forgotten.
    pub fn heal(&self) {
        {
            let mut state = self.state();
            (state.fault, state.slow, state.twice, state.late) = (None, None, None, None);
        }
        self.set_link(Link::Up);
    }

    /// Changes what passes, from now on.
    pub fn alter(&self, alteration: Option<Alteration>) {
        self.state().alteration = alteration;
    }

    /// From now on a line of so many bits a second each way, on which packets are lost with this probability.
    pub fn slow_down(&self, bits_per_second: u32, loss: f64) {
        self.state().slow = Some(Slow {
            bits_per_second: f64::from(bits_per_second),
            loss,
            watch: Stopwatch::start(),
            free_at_ms: [0.0; 2],
            random: SmallRng::seed_from_u64(u64::from(bits_per_second)),
        });
    }

    /// Delivers the next request of a route twice, on two connections at once; the edge gets the answer to one of them.
    pub fn duplicate(&self, route: Route) {
        self.state().twice = Some(route);
    }

    /// From now on answers of a route come late, and those of others overtake them.
    pub fn delay(&self, route: Route, late_ms: u64) {
        self.state().late = Some((route, late_ms));
    }

    /// Cuts the next message that fits.
    pub fn set_fault(&self, fault: Fault) {
        self.state().fault = Some(fault);
    }

    /// Whether the fault has happened; it is over when the link is down.
    pub fn fault_happened(&self) -> bool {
        self.state().fault.is_none() && *self.shared.link.borrow() == Link::Refused
    }

    /// Everything that passed, or was to pass, in the order of the requests' arrival.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.state().exchanges.clone()
    }

    /// The exchanges of one route.
    pub fn exchanges_of(&self, route: Route) -> Vec<Exchange> {
        let start = format!("POST {} ", route.path());
        let fits = |exchange: &Exchange| exchange.request.first_line().starts_with(&start);
        self.exchanges().into_iter().filter(fits).collect()
    }

    /// Bytes that reached the hub and bytes that reached the edge.
    pub fn bytes_passed(&self) -> (u64, u64) {
        let state = self.state();
        (state.bytes_up, state.bytes_down)
    }

    /// Where `canary` was seen, inflated or not, in anything that the hub answered.
    pub fn answers_with(&self, canary: &str) -> Vec<String> {
        let holds = |message: &Message| {
            message.text().contains(canary) || position(&message.bytes(), canary.as_bytes()).is_some()
        };
        let told = |exchange: &Exchange| exchange.answer.as_ref().is_some_and(holds);
        self.exchanges().iter().filter(|exchange| told(exchange)).map(|found| found.request.first_line()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the link on port {} saw last:", self.port);
            let exchanges = self.exchanges();
            for exchange in exchanges.iter().rev().take(EXCHANGES_SHOWN).rev() {
                let answer = exchange.answer.as_ref().map(|answer| (answer.first_line(), answer.text().len()));
                let (line, length) = (exchange.request.first_line(), exchange.request.text().len());
                eprintln!("{line} of {length} bytes, cut {}, answered {answer:?}", exchange.cut);
            }
        }
        self.set_link(Link::Closed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the proxy on port {} panicked", self.port);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds the state")
    }

    fn next_upstream(&self) -> SocketAddr {
        let mut state = self.state();
        let port = state.upstreams[state.next_upstream % state.upstreams.len()];
        state.next_upstream += 1;
        (Ipv4Addr::LOCALHOST, port).into()
    }

    /// Takes the fault if this message is the one, and the link goes down with it: nothing else may pass in between.
    fn take_fault(&self, path: &str, part: Part) -> Option<Fault> {
        let mut state = self.state();
        let fault = state.fault.filter(|fault| path.contains(fault.route.path()) && fault.part == part)?;
        state.fault = None;
        Some(fault)
    }

    fn take_twice(&self, path: &str) -> bool {
        self.state().twice.take_if(|route| path.contains(route.path())).is_some()
    }

    /// Waits as long as a message takes on a slow line.
    async fn pass(&self, part: Part, path: &str, bytes: usize) {
        let takes_ms = {
            let mut state = self.state();
            let late = state.late.filter(|(route, _)| part == Part::Answer && path.contains(route.path()));
            let late_ms = late.map_or(0.0, |(_, late_ms)| late_ms as f64);
            late_ms + state.slow.as_mut().map_or(0.0, |slow| slow.takes_ms(part, bytes))
        };
        if takes_ms > 0.0 {
            let never = std::future::pending::<()>();
            // Nothing else ends this wait.
            let _ = timeout(Duration::from_secs_f64(takes_ms / 1000.0), never).await;
        }
    }

    fn altered(&self, path: &str, message: Message, part: Part) -> Message {
        let alteration = self.state().alteration;
        match alteration.filter(|alteration| path.contains(alteration.route.path()) && alteration.part == part) {
            Some(Alteration { change, .. }) => message.with_text(change(&message.text()).as_bytes()),
            None => message,
        }
    }

    fn record(&self, request: &Message) -> usize {
        let mut state = self.state();
        state.exchanges.push(Exchange { request: request.clone(), answer: None, cut: false });
        state.exchanges.len() - 1
    }
}

fn run(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        listener.set_nonblocking(true).expect("a listener has this mode");
        let listener = TcpListener::from_std(listener).expect("the runtime takes listeners");
        let mut link = shared.link.subscribe();
        loop {
            tokio::select! {
                closed = link.wait_for(|link| *link == Link::Closed) => {
                    closed.expect("the sender is ours");
                    return;
                }
                accepted = listener.accept() => {
                    let (stream, _) = accepted.expect("loopback accepts");
                    tokio::spawn(connection(stream, Arc::clone(&shared)));
                }
            }
        }
    });
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let mut link = shared.link.subscribe();
    let mut wire = Wire::new(stream);
    loop {
        let now = *link.borrow_and_update();
        let after = match now {
            Link::Refused | Link::Closed => After::Reset,
            Link::Silent => {
                // A closed sender is a closed proxy, and the reset that follows is right then too.
                drop(link.wait_for(|link| *link != Link::Silent).await);
                After::Reset
            }
            Link::Up | Link::Portal { .. } | Link::Answers(_) | Link::Stale => tokio::select! {
                biased;
                // What was under way is lost with the link, also when the link is up again by now.
                _ = link.changed() => if *link.borrow() == Link::Silent { continue } else { After::Reset },
                after = exchange(&mut wire, &shared, now) => after.unwrap_or(After::Reset),
            },
        };
        match after {
            After::Next => {}
            After::Finish => return wire.finish().await,
            After::Reset => return wire.reset(),
        }
    }
}

async fn exchange(client: &mut Wire, shared: &Shared, link: Link) -> io::Result<After> {
    let Some(request) = client.request().await? else { return Ok(After::Finish) };
    let index = shared.record(&request);
    if let Link::Portal { media_type, body } = link {
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\n\r\n{body}");
        client.write(head.as_bytes()).await?;
        return Ok(After::Next);
    }
    if let Link::Answers(answer) = link {
        client.write(answer.as_bytes()).await?;
        return Ok(After::Finish);
    }
    if link == Link::Stale {
        let line = request.first_line();
        let stored = shared.state().exchanges.iter().rev().find_map(|earlier| {
            let answer = earlier.answer.clone()?;
            (earlier.request.first_line() == line).then_some(answer)
        });
        client.write(&stored.map_or_else(Vec::new, |answer| answer.bytes())).await?;
        return Ok(After::Finish);
    }
    let request = shared.altered(&request.first_line(), request, Part::Request);
    let path = request.first_line();
    let mut hub = Wire::new(TcpStream::connect(shared.next_upstream()).await?);
    if let Some(fault) = shared.take_fault(&path, Part::Request) {
        shared.state().exchanges[index].cut = true;
        let (sent, answered) = (cut(&request, fault), fault.ending == Ending::Shortened);
        hub.write(&sent).await?;
        shared.state().bytes_up += sent.len() as u64;
        // A shortened request is whole to the hub, which may act on it before the link goes down.
        let answer = if answered { Some(hub.answer().await?) } else { None };
        shared.state().exchanges[index].answer.clone_from(&answer);
        if let Some(answer) = answer {
            client.write(&answer.bytes()).await?;
        }
        return Ok(end(hub, fault, shared).await);
    }
    let sent = request.bytes();
    shared.pass(Part::Request, &path, sent.len()).await;
    if shared.take_twice(&path) {
        let mut first = Wire::new(TcpStream::connect(shared.next_upstream()).await?);
        first.write(&sent).await?;
        // Its answer, which the hub may hold for long, goes nowhere.
        tokio::spawn(async move { drop(first.answer().await) });
    }
    hub.write(&sent).await?;
    shared.state().bytes_up += sent.len() as u64;
    let answer = tokio::select! {
        answer = hub.answer() => shared.altered(&path, answer?, Part::Answer),
        () = client.closed() => return Ok(After::Finish),
    };
    shared.state().exchanges[index].answer = Some(answer.clone());
    let fault = shared.take_fault(&path, Part::Answer);
    shared.state().exchanges[index].cut = fault.is_some();
    let sent = fault.map_or_else(|| answer.bytes(), |fault| cut(&answer, fault));
    shared.pass(Part::Answer, &path, sent.len()).await;
    client.write(&sent).await?;
    shared.state().bytes_down += sent.len() as u64;
    match fault {
        None => Ok(After::Next),
        Some(fault) => Ok(end(hub, fault, shared).await),
    }
}

/// Ends the hub's side of a cut exchange, takes the link down, and says how the edge's side ends.
async fn end(hub: Wire, fault: Fault, shared: &Shared) -> After {
    let after = match fault.ending {
        Ending::Fin | Ending::Shortened => {
            hub.finish().await;
            After::Finish
        }
        Ending::Rst => {
            hub.reset();
            After::Reset
        }
    };
    shared.link.send_replace(Link::Refused);
    after
}

/// What passes of a message.
fn cut(message: &Message, fault: Fault) -> Vec<u8> {
    let whole = message.bytes();
    let head = message.head.len();
    if fault.ending == Ending::Shortened {
        let text = message.text();
        let kept = match fault.at {
            Position::Before | Position::InHeaders => 0,
            // The last line counts the others, so this cut is the one that only it can tell.
            Position::AtFrameBoundary => text.trim_end().rfind('\n').map_or(0, |end| end + 1),
            Position::MidRow => text.len() / 2,
            Position::LastByte => text.trim_end().len().saturating_sub(1),
        };
        return message.with_text(&text.as_bytes()[..kept]).bytes();
    }
    let kept = match fault.at {
        Position::Before => 0,
        Position::InHeaders => head / 2,
        Position::AtFrameBoundary => head + (whole.len() - message.raw.len() - head) + boundary(message),
        Position::MidRow => head + message.raw.len() / 2,
        Position::LastByte => whole.len() - 1,
    };
    whole[..kept].to_vec()
}

/// Of a chunked body the first chunk's end; otherwise where its compressed form has a boundary.
fn boundary(message: &Message) -> usize {
    if message.raw == message.body {
        return first_boundary(&message.body);
    }
    let size_line = position(&message.raw, b"\r\n").map_or(0, |end| end + 2);
    let digits = String::from_utf8_lossy(&message.raw[..size_line]);
    let size = usize::from_str_radix(digits.trim(), 16).unwrap_or_default();
    (size_line + size + 2).min(message.raw.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const TEXT: &str = "{\"one\":1}\n{\"two\":2}\n{\"end\":2}\n";

    /// A hub that says what it got of the body, in a header, and answers with [`TEXT`].
    async fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut wire = Wire::new(stream);
                    while let Ok(Some(request)) = wire.request().await {
                        let got = request.text().len();
                        let head = format!("HTTP/1.1 200 OK\r\ngot: {got}\r\ncontent-length: {}\r\n\r\n", TEXT.len());
                        wire.write(format!("{head}{TEXT}").as_bytes()).await.unwrap();
                    }
                });
            }
        });
        port
    }

    async fn push(proxy: &FaultProxy) -> (Vec<u8>, bool) {
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).await else {
            return (Vec::new(), true);
        };
        let length = TEXT.len();
        let request =
            format!("POST /sync/v1/push HTTP/1.1\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{TEXT}");
        if stream.write_all(request.as_bytes()).await.is_err() {
            return (Vec::new(), true);
        }
        let mut answer = vec![0; 4096];
        let mut read = 0;
        loop {
            match stream.read(&mut answer[read..]).await {
                Ok(0) => return (answer[..read].to_vec(), false),
                Ok(bytes) => read += bytes,
                Err(_) => return (answer[..read].to_vec(), true),
            }
            if read > 0 && answer[..read].ends_with(TEXT.as_bytes()) {
                return (answer[..read].to_vec(), false);
            }
        }
    }

    #[tokio::test]
    async fn what_is_not_cut_passes_and_is_recorded() {
        let proxy = FaultProxy::start(echo().await);
        let (answer, _) = push(&proxy).await;
        assert!(answer.ends_with(TEXT.as_bytes()));
        let exchanges = proxy.exchanges_of(Route::Push);
        assert_eq!(exchanges.len(), 1);
        assert_eq!(exchanges[0].request.text(), TEXT);
        assert_eq!(proxy.answers_with("two"), vec!["POST /sync/v1/push HTTP/1.1"]);
        assert!(proxy.answers_with("canary").is_empty());
        assert!(proxy.bytes_passed().0 > TEXT.len() as u64);
    }

    #[tokio::test]
    async fn an_answer_is_cut_at_the_chosen_byte_and_the_link_stays_down_until_it_is_healed() {
        let proxy = FaultProxy::start(echo().await);
        let (whole, _) = push(&proxy).await;
        let body = whole.len() - TEXT.len();
        let positions = [
            (Position::Before, 0),
            (Position::InHeaders, body / 2),
            (Position::AtFrameBoundary, body + TEXT.len() / 2),
            (Position::LastByte, whole.len() - 1),
        ];
        for (at, passes) in positions {
            for ending in [Ending::Fin, Ending::Rst] {
                proxy.set_fault(Fault { route: Route::Push, part: Part::Answer, at, ending });
                assert!(!proxy.fault_happened());
                let (answer, reset) = push(&proxy).await;
                // A reset may overtake the bytes before it.
                assert!(answer.len() == passes || (reset && answer.len() < passes), "{at:?} {ending:?}");
                assert_eq!(reset, ending == Ending::Rst, "{at:?} {ending:?}");
                assert!(proxy.fault_happened());
                assert_eq!(push(&proxy).await, (Vec::new(), true), "the link is down");
                proxy.heal();
                assert_eq!(push(&proxy).await.0, whole);
            }
        }
    }

    #[tokio::test]
    async fn a_shortened_answer_ends_in_good_order_without_its_last_line() {
        let proxy = FaultProxy::start(echo().await);
        let fault =
            Fault { route: Route::Push, part: Part::Answer, at: Position::AtFrameBoundary, ending: Ending::Shortened };
        proxy.set_fault(fault);
        let (answer, reset) = push(&proxy).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.ends_with("\r\n\r\n{\"one\":1}\n{\"two\":2}\n") && !reset, "{answer}");
        assert!(answer.contains("content-length: 20\r\n"), "{answer}");
    }

    #[tokio::test]
    async fn a_cut_request_does_not_reach_the_hub_whole() {
        let proxy = FaultProxy::start(echo().await);
        for at in [Position::Before, Position::InHeaders, Position::AtFrameBoundary, Position::MidRow] {
            let fault = Fault { route: Route::Push, part: Part::Request, at, ending: Ending::Fin };
            proxy.set_fault(fault);
            let (answer, _) = push(&proxy).await;
            assert!(answer.is_empty(), "{at:?}: {}", String::from_utf8_lossy(&answer));
            proxy.heal();
        }
        assert!(proxy.exchanges().iter().all(|exchange| exchange.cut && exchange.answer.is_none()));
    }

    #[tokio::test]
    async fn a_portal_answers_for_the_hub() {
        let proxy = FaultProxy::start(echo().await);
        proxy.set_link(Link::Portal { media_type: "text/html", body: "<html>{\"end\":2}\n" });
        let (answer, _) = timeout(Duration::from_secs(1), async {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).await.unwrap();
            stream.write_all(b"POST /sync/v1/pull HTTP/1.1\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            let mut answer = vec![0; 4096];
            let read = stream.read(&mut answer).await.unwrap();
            (answer[..read].to_vec(), false)
        })
        .await
        .unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n"));
    }

    #[tokio::test]
    async fn a_cut_link_resets_what_is_under_way() {
        let proxy = FaultProxy::start(echo().await);
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).await.unwrap();
        stream.write_all(b"POST /sync/v1/push HTTP/1.1\r\ncontent-length: 5\r\n\r\nab").await.unwrap();
        proxy.cut();
        let mut byte = [0];
        assert!(stream.read(&mut byte).await.is_err());
    }
}
