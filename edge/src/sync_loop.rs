//! Drives the session: carries out what it says, and reports what happened.
//!
//! One task waits for one closed enum of wake-ups; hello, push, pull and apply run as tasks of their own, at most one of
//! each. Local writes of this process wake it at once, those of other programs within [`WATCH_MS`]. All decisions
//! about what comes next are the session's; all storing is `exchange`'s.

use std::time::Duration;

use rusqlite::Connection;
use sync::merge::limits::{LONG_POLL_MS, STUCK_MS};
use sync::session::{Action, Failure, PushResult, Session, State, Verdict};
use sync::sqlite::apply::Applied;
use sync::sqlite::comparison::{Comparison, Terms};
use sync::sqlite::outbox::RETRY_REFUSED_MS;
use sync::sqlite::receipts::Receipt;
use sync::sqlite::{self, self_state, status};
use sync::wire::frames::PulledPage;
use sync::wire::recovery::Verification;
use tokio::sync::{oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use crate::App;
use crate::credential::{Credential, CredentialError};
use crate::data_dir::DataDir;
use crate::exchange::{Exchange, Greeting, StepError};
use crate::hub_client::HubClient;
use crate::sync_handle::{Link, LinkState, SyncPort, SyncRequest};
use crate::trust::{self, Trust};

/// How often the file is looked at for writes of other programs, in milliseconds.
pub const WATCH_MS: u64 = 30;

/// Exchanges with the hub until every handle is gone, from the moment on when there is a credential.
pub async fn run(app: App, mut port: SyncPort) {
    let Some(hub) = hub_of(&app, &mut port).await else { return };
    let exchange = Exchange::new(app.clone(), hub);
    SyncLoop::new(app, exchange, port).run().await;
}

/// Waits for a credential; `None` when nobody will give one any more.
async fn hub_of(app: &App, port: &mut SyncPort) -> Option<HubClient> {
    loop {
        let (state, why) = match client_of(app).await {
            Ok(hub) => return Some(hub),
            Err(NoClient::Unenrolled(why)) => (LinkState::Unenrolled, why),
            Err(NoClient::Unusable(why)) => (LinkState::Offline, why),
        };
        let last_error = Some(why.clone());
        port.link.send_replace(Link { state, last_error, ..Link::default() });
        loop {
            match port.requests.recv().await? {
                SyncRequest::Enrolled => break,
                // Whoever asked may have gone.
                SyncRequest::Now(answer) => _ = answer.send(Err(why.clone())),
                SyncRequest::Verify(answer) => _ = answer.send(Err(why.clone())),
            }
        }
    }
}

/// Why there is no client, in words for a person.
pub(crate) enum NoClient {
    /// There is no credential, or it cannot be read.
    Unenrolled(String),
    /// There is one, and its hub is not to be spoken to.
    Unusable(String),
}

impl From<NoClient> for String {
    fn from((NoClient::Unenrolled(why) | NoClient::Unusable(why)): NoClient) -> Self {
        why
    }
}

/// A client with this edge's credential.
pub(crate) async fn client_of(app: &App) -> Result<HubClient, NoClient> {
    let unenrolled = |error: CredentialError| NoClient::Unenrolled(error.to_string());
    let credential = Credential::load(&DataDir::new(&app.config.data).credential()).map_err(unenrolled)?;
    let nobody = || NoClient::Unenrolled("this edge is not enrolled: run edge enroll".to_owned());
    let credential = credential.ok_or_else(nobody)?;
    let unusable = |error: &dyn std::error::Error| NoClient::Unusable(error.to_string());
    let state = app.db.read(|connection| self_state::load(connection)).await.map_err(|error| unusable(&error))?;
    let url = app.config.hub.as_deref().unwrap_or(&credential.hub);
    let trust = Trust { ca: credential.ca, plain_http: app.config.plain_http, hub_ms: trust::hub_ms(&state) };
    let hub = HubClient::new(app.clock, url, &trust, Some(&credential.identity.credential));
    Ok(hub.map_err(|error| unusable(&error))?.within(app.budget.clone()))
}

/// What the loop wakes up for.
enum Wake {
    Asked(Option<SyncRequest>),
    Written,
    Done(Step),
    Time,
}

/// A step that came to its end.
enum Step {
    Greeted(Result<Greeting, StepError>),
    Pushed(u64, Result<Option<Receipt>, StepError>),
    Pulled(u64, Result<PulledPage, StepError>),
    Applied(u64, Result<Applied, StepError>),
    Retried(Result<bool, StepError>),
    Reidentified(Result<(), StepError>),
    Compared(Result<Box<(Comparison, bool)>, StepError>),
    VerifyAsked(Result<(), StepError>),
    /// It was dropped, or noted something that nobody waits for.
    Nothing,
}

/// Somebody who wants an exchange now.
struct Waiter {
    answer: oneshot::Sender<Result<(), String>>,
    stage: Stage,
}

/// The first push or pull whose end counts for a waiter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Pushing(u64),
    Pulling(u64),
}

struct SyncLoop {
    app: App,
    exchange: Exchange,
    port: SyncPort,
    session: Session,
    steps: JoinSet<Step>,
    notes: JoinSet<()>,
    pushes: u64,
    pulls: u64,
    pulling: Option<AbortHandle>,
    page: Option<(u64, PulledPage)>,
    /// How to begin the comparison that the hub asked for.
    terms: Option<Terms>,
    comparison: Option<Comparison>,
    verifiers: Vec<oneshot::Sender<Result<Verification, String>>>,
    waiters: Vec<Waiter>,
    link: Link,
    /// Since when the hub has been reachable, something waits and nothing was acknowledged, by the monotonic clock.
    unacknowledged_since_ms: Option<u64>,
    retry_ms: u64,
}

impl SyncLoop {
    fn new(app: App, exchange: Exchange, port: SyncPort) -> Self {
        let retry_ms = app.clock.monotonic_ms() + RETRY_REFUSED_MS;
        Self {
            app,
            exchange,
            port,
            session: Session::new(),
            steps: JoinSet::new(),
            notes: JoinSet::new(),
            pushes: 0,
            pulls: 0,
            pulling: None,
            page: None,
            terms: None,
            comparison: None,
            verifiers: Vec::new(),
            waiters: Vec::new(),
            link: Link::default(),
            unacknowledged_since_ms: None,
            retry_ms,
        }
    }

    async fn run(mut self) {
        let mut written = self.app.db.written();
        let mut watcher = Watcher::new(&DataDir::new(&self.app.config.data).database());
        loop {
            self.act();
            self.publish();
            match self.wait(&mut written, &mut watcher).await {
                Wake::Asked(None) => return,
                Wake::Asked(Some(request)) => self.handle_request(request).await,
                Wake::Written => {
                    self.port.changed.send_modify(|count| *count = count.wrapping_add(1));
                    self.session.handle_written();
                }
                Wake::Done(step) => self.handle_step(step),
                Wake::Time => self.handle_time(),
            }
        }
    }

    async fn wait(&mut self, written: &mut watch::Receiver<u64>, watcher: &mut Watcher) -> Wake {
        let now_ms = self.now_ms();
        let until_ms = self.session.poll_timeout().unwrap_or(u64::MAX).min(self.retry_ms);
        let pause = Duration::from_millis(until_ms.saturating_sub(now_ms));
        tokio::select! {
            request = self.port.requests.recv() => Wake::Asked(request),
            Ok(()) = written.changed() => Wake::Written,
            () = watcher.changed() => Wake::Written,
            Some(done) = self.steps.join_next() => match done {
                Ok(step) => Wake::Done(step),
                Err(error) if error.is_cancelled() => Wake::Done(Step::Nothing),
                Err(_) => Wake::Done(Step::Greeted(Err(StepError::Broken))),
            },
            Some(_) = self.notes.join_next() => Wake::Done(Step::Nothing),
            () = sleep(pause) => Wake::Time,
        }
    }

    fn now_ms(&self) -> u64 {
        self.app.clock.monotonic_ms()
    }

    /// Does what the session says until it says no more.
    fn act(&mut self) {
        while let Some(action) = self.session.poll(self.now_ms()) {
            let exchange = self.exchange.clone();
            match action {
                Action::Abort => {
                    self.steps = JoinSet::new();
                    self.pulling = None;
                    self.page = None;
                }
                Action::Hello => _ = self.steps.spawn(async move { Step::Greeted(exchange.greet().await) }),
                Action::Reidentify => {
                    self.steps.spawn(async move { Step::Reidentified(exchange.reidentify().await) });
                }
                Action::Reconcile => self.reconcile(),
                Action::Push => {
                    self.pushes += 1;
                    let now_ms = self.now_ms();
                    self.unacknowledged_since_ms.get_or_insert(now_ms);
                    let number = self.pushes;
                    self.steps.spawn(async move { Step::Pushed(number, exchange.push().await) });
                }
                Action::Pull { wait } => self.pull(wait && self.waiters.is_empty()),
                Action::Apply => {
                    let (number, page) = self.page.take().expect("the session applies only what has arrived");
                    self.steps.spawn(async move { Step::Applied(number, exchange.apply(page).await) });
                }
            }
        }
    }

    fn reconcile(&mut self) {
        let exchange = self.exchange.clone();
        match (self.comparison.take(), self.terms.take()) {
            (Some(comparison), _) => {
                self.steps.spawn(async move { Step::Compared(exchange.compare(comparison).await.map(Box::new)) });
            }
            (None, Some(terms)) => {
                self.steps.spawn(async move {
                    let begun = exchange.begin_comparison(terms).await;
                    Step::Compared(begun.map(|comparison| Box::new((comparison, false))))
                });
            }
            // A hub that wants a comparison and does not say how is asked again.
            (None, None) => self.session.handle_reconciled(true, self.now_ms(), self.app.clock.jitter()),
        }
    }

    fn handle_compared(&mut self, comparison: Comparison, complete: bool) {
        self.heard();
        if complete {
            let found = comparison.found().clone();
            tracing::info!(
                rows = found.rows,
                differing = found.differing,
                bytes = found.bytes,
                "compared with the centre"
            );
            for answer in self.verifiers.drain(..) {
                // Whoever asked may have gone.
                let _ = answer.send(Ok(found.clone()));
            }
        } else {
            self.comparison = Some(comparison);
        }
        self.session.handle_reconciled(complete, self.now_ms(), self.app.clock.jitter());
    }

    fn pull(&mut self, wait: bool) {
        self.pulls += 1;
        let (exchange, number) = (self.exchange.clone(), self.pulls);
        let wait_ms = if wait { LONG_POLL_MS } else { 0 };
        self.pulling = Some(self.steps.spawn(async move { Step::Pulled(number, exchange.pull(wait_ms).await) }));
    }

    async fn handle_request(&mut self, request: SyncRequest) {
        match request {
            SyncRequest::Now(answer) => {
                self.session.handle_sync_now();
                self.waiters.push(Waiter { answer, stage: Stage::Pushing(self.pushes + 1) });
            }
            SyncRequest::Verify(answer) => {
                self.verifiers.push(answer);
                let exchange = self.exchange.clone();
                self.steps.spawn(async move { Step::VerifyAsked(exchange.ask_comparison().await) });
            }
            SyncRequest::Enrolled => self.begin_anew().await,
        }
    }

    /// The edge has got another identity. Nothing that was asked under the former one is of use.
    async fn begin_anew(&mut self) {
        match client_of(&self.app).await {
            Ok(hub) => self.exchange = Exchange::new(self.app.clone(), hub),
            Err(none) => return self.fail(none.into()),
        }
        self.steps = JoinSet::new();
        (self.pulling, self.page, self.terms, self.comparison) = (None, None, None, None);
        self.session = Session::new();
    }

    fn handle_time(&mut self) {
        let now_ms = self.now_ms();
        if now_ms < self.retry_ms {
            return;
        }
        self.retry_ms = now_ms + RETRY_REFUSED_MS;
        if self.session.state() == State::Online {
            let exchange = self.exchange.clone();
            self.steps.spawn(async move { Step::Retried(exchange.retry_refused().await) });
        }
    }

    fn handle_step(&mut self, step: Step) {
        match step {
            Step::Greeted(Ok(greeting)) => self.handle_greeting(greeting),
            Step::Pushed(number, Ok(receipt)) => self.handle_receipt(number, receipt),
            Step::Pulled(number, Ok(page)) => {
                self.heard();
                self.link.heard_time(page.head.unix_ms, self.now_ms());
                if let Some(rows) = page.head.rows_total {
                    self.link.progress.rows_pulled_goal = Some(self.link.progress.rows_pulled + rows);
                }
                self.pulling = None;
                self.page = Some((number, page));
                self.session.handle_page();
            }
            Step::Applied(number, Ok(applied)) => self.handle_applied(number, applied),
            Step::Compared(Ok(compared)) => self.handle_compared(compared.0, compared.1),
            Step::VerifyAsked(Ok(())) => self.session.handle_failure(Failure::Fenced, self.now_ms(), 0),
            Step::Reidentified(Ok(())) => self.session.handle_reidentified(self.now_ms(), self.app.clock.jitter()),
            Step::Retried(Ok(true)) => self.session.handle_written(),
            Step::Retried(Ok(false)) | Step::Nothing => {}
            Step::Greeted(Err(error))
            | Step::Pushed(_, Err(error))
            | Step::Pulled(_, Err(error))
            | Step::Applied(_, Err(error))
            | Step::Reidentified(Err(error))
            | Step::Compared(Err(error))
            | Step::VerifyAsked(Err(error))
            | Step::Retried(Err(error)) => self.handle_failure(&error),
        }
    }

    fn handle_greeting(&mut self, Greeting { verdict, terms, hub_ms }: Greeting) {
        self.heard();
        self.comparison = None;
        self.terms = terms;
        self.link.heard_time(hub_ms, self.now_ms());
        self.session.handle_welcome(verdict, self.now_ms());
        match verdict {
            Verdict::Ok => {}
            Verdict::Reidentify | Verdict::Reconcile => {
                tracing::warn!(reason = reason_of(verdict), "the exchange heals");
            }
            Verdict::UpgradeHub | Verdict::Revoked => self.fail(reason_of(verdict)),
        }
    }

    fn handle_receipt(&mut self, number: u64, receipt: Option<Receipt>) {
        let mut nothing_waits = true;
        let result = match receipt {
            None | Some(Receipt::Stale) => PushResult::Empty,
            Some(Receipt::Taken { settled, more, busy }) => {
                self.heard();
                self.link.progress.rows_pushed += settled;
                nothing_waits = !more && !busy;
                if settled > 0 {
                    self.unacknowledged_since_ms = None;
                }
                PushResult::Answered { more, busy }
            }
        };
        self.session.handle_pushed(result, self.now_ms());
        if nothing_waits {
            self.unacknowledged_since_ms = None;
            self.begin_pulling(number);
        }
    }

    /// Those who wait have pushed all: what they wait for now is a pull that begins after that.
    fn begin_pulling(&mut self, pushed: u64) {
        let mut any = false;
        for waiter in &mut self.waiters {
            if matches!(waiter.stage, Stage::Pushing(from) if pushed >= from) {
                waiter.stage = Stage::Pulling(self.pulls + 1);
                any = true;
            }
        }
        if any && let Some(pulling) = self.pulling.take() {
            // The session goes on waiting for a page; only the question is asked anew, and without patience.
            pulling.abort();
            self.pull(false);
        }
    }

    fn handle_applied(&mut self, number: u64, applied: Applied) {
        self.link.progress.rows_pulled += applied.rows;
        if applied.complete {
            self.link.progress.rows_pulled_goal = None;
        }
        if applied.found > 0 {
            self.session.handle_written();
        }
        self.session.handle_applied(applied.complete);
        if self.session.caught_up() {
            let served = |waiter: &mut Waiter| matches!(waiter.stage, Stage::Pulling(from) if number >= from);
            for waiter in self.waiters.extract_if(.., served) {
                // Whoever asked may have gone.
                let _ = waiter.answer.send(Ok(()));
            }
        }
    }

    fn handle_failure(&mut self, error: &StepError) {
        if !error.is_the_hubs() {
            self.unacknowledged_since_ms = None;
        }
        if let StepError::Store(error) = error {
            self.app.storage.notice(error);
        }
        // Failures of the database are the operator's, and are logged where they are handled: here.
        match error.failure() {
            Failure::Local => tracing::error!(%error, "the exchange failed"),
            _ => tracing::info!(%error, "the exchange failed"),
        }
        self.session.handle_failure(error.failure(), self.now_ms(), self.app.clock.jitter());
        match error.failure() {
            // The next hello tells why, and heals it: whoever waits goes on waiting.
            Failure::Fenced => self.link.last_error = Some(error.to_string()),
            _ => self.fail(error.to_string()),
        }
    }

    fn fail(&mut self, reason: String) {
        for waiter in self.waiters.drain(..) {
            // Whoever asked may have gone.
            let _ = waiter.answer.send(Err(reason.clone()));
        }
        for answer in self.verifiers.drain(..) {
            let _ = answer.send(Err(reason.clone()));
        }
        self.link.progress.rows_pulled_goal = None;
        if self.link.last_error.as_ref() != Some(&reason) {
            let (exchange, reason) = (self.exchange.clone(), reason.clone());
            self.notes.spawn(async move { exchange.note_failure(reason).await });
        }
        self.link.last_error = Some(reason);
    }

    fn heard(&mut self) {
        self.link.last_exchange_ms = Some(self.app.clock.unix_ms());
        self.link.last_error = None;
    }

    fn publish(&mut self) {
        self.link.state = self.state();
        self.link.caught_up = self.session.caught_up();
        self.port.link.send_if_modified(|published| {
            let changed = *published != self.link;
            published.clone_from(&self.link);
            changed
        });
    }

    fn state(&self) -> LinkState {
        match self.session.state() {
            State::Revoked => LinkState::Revoked,
            State::UpgradeHub => LinkState::UpgradeHub,
            _ if self.is_stuck() => LinkState::Stuck,
            State::Offline => LinkState::Offline,
            State::Online => LinkState::Online,
            State::Hydrating | State::Reconciling => LinkState::Hydrating,
        }
    }

    /// Whether the hub answers, and yet nothing that waits has been acknowledged for too long.
    fn is_stuck(&self) -> bool {
        self.unacknowledged_since_ms.is_some_and(|since_ms| self.now_ms().saturating_sub(since_ms) >= STUCK_MS)
    }
}

fn reason_of(verdict: Verdict) -> String {
    let reason = match verdict {
        Verdict::Ok => "the hub goes on",
        Verdict::Reidentify => "this edge is a copy or was restored: it gets a new id, and what waits is kept",
        Verdict::Reconcile => "this edge or the centre was restored: the two are compared, and what waits is kept",
        Verdict::UpgradeHub => "the hub is older than this edge: upgrade the hub; what waits is kept",
        Verdict::Revoked => "the hub has revoked this edge; what waits is kept",
    };
    reason.to_owned()
}

/// Notices commits of any connection to the file, our own included.
struct Watcher {
    connection: Option<Connection>,
    version: Option<i64>,
    ticks: Interval,
}

impl Watcher {
    fn new(database: &std::path::Path) -> Self {
        let connection = sqlite::open_reader(database);
        if let Err(error) = &connection {
            tracing::warn!(%error, "writes of other programs will be noticed late: the file cannot be watched");
        }
        let mut ticks = interval(Duration::from_millis(WATCH_MS));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { connection: connection.ok(), version: None, ticks }
    }

    /// Returns when somebody has committed. Nothing is lost when it is dropped while it waits.
    async fn changed(&mut self) {
        loop {
            self.ticks.tick().await;
            // It reads one page that is in memory, without a lock on the file's content.
            let version = self.connection.as_ref().and_then(|connection| status::data_version(connection).ok());
            if std::mem::replace(&mut self.version, version) != version {
                return;
            }
        }
    }
}
