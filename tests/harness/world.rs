//! A simulated run: one centre, several sites of one tenant, and a network between them that fails.
//!
//! Each site drives the real session, outbox, receipts and apply on a real database, as the edge's sync loop does, but
//! in virtual time and in one thread. A run is a function of its seed. What happened is written to a trace; what came
//! out is judged by `checkers`.

use std::collections::{BTreeMap, BTreeSet};

use sync::catalog;
use sync::merge::ids::ReplicaId;
use sync::session::{Action, Failure, PushResult, Session, Verdict};
use sync::sqlite::outbox::RETRY_REFUSED_MS;
use sync::sqlite::receipts::{Receipt, acknowledge};
use sync::sqlite::{apply, directory, outbox};
use sync::wire::frames::{read_answer, read_page};
use sync::wire::message::{Hello, Welcome};
use uuid::Uuid;

use crate::centre::{CENTRE, Centre, Refused, SentPage, Temper};
use crate::checkers::{Outcome, Replica};
use crate::journal::{Journal, Key};
use crate::network::{ANSWER_MS_MAX, CALM, Network, Weather};
use crate::site::{Blank, Site};

/// The tenant of a simulated run.
pub const TENANT: Uuid = Uuid::from_u128(0xa000);
/// When simulated runs begin, in Unix milliseconds: 2026-01-01.
pub const BEGIN_MS: u64 = 1_767_225_600_000;
/// How long a run may take to come to rest after everything is mended, in milliseconds.
pub const REST_MS_MAX: u64 = 10 * 60 * 1000;
/// How long the hub holds a pull when it has nothing, in milliseconds.
const HOLD_MS: u64 = 25_000;

/// One site with the process that runs there.
#[derive(Debug)]
pub struct Node {
    /// Its database.
    pub site: Site,
    /// Its conversation with the hub.
    pub session: Session,
    /// Whether its link is up.
    pub link_up: bool,
    /// Its clock less the world's, in milliseconds.
    pub skew_ms: i64,
    waiting: BTreeSet<u64>,
    arrived: Option<SentPage>,
    wake_ms: Option<u64>,
}

/// Something that happens at a time.
#[derive(Debug)]
pub enum Event {
    /// A site's timer.
    Wake(usize),
    /// A request arrives at the centre.
    Request(Envelope, Request),
    /// An answer arrives at a site.
    Answer(Envelope, Answer),
    /// A site has waited long enough.
    GiveUp(Envelope),
    /// A site sends once more what was refused.
    Retry(usize),
    /// The schedule's next step.
    Step,
}

/// Whose message it is.
#[derive(Clone, Copy, Debug)]
pub struct Envelope {
    site: usize,
    ticket: u64,
    answered: bool,
    sent_ms: u64,
}

/// What a site asks.
#[derive(Clone, Debug)]
pub enum Request {
    /// For a session.
    Hello(Hello),
    /// To take a batch.
    Push(Uuid, Vec<u8>),
    /// For a page.
    Pull(Option<String>, bool),
}

/// What the centre says.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To a hello.
    Welcome(Welcome),
    /// To a push.
    Pushed(Vec<u8>),
    /// To a push that it does not take.
    Refused(Refused),
    /// To a pull.
    Page(SentPage),
}

/// A simulated run.
#[derive(Debug)]
pub struct World {
    /// The centre.
    pub centre: Centre,
    /// How the centre behaves.
    pub temper: Temper,
    /// The sites.
    pub nodes: Vec<Node>,
    /// Time, chance, and the messages under way.
    pub network: Network<Event>,
    /// Every write.
    pub journal: Journal,
    /// What happened, a line each.
    pub trace: Vec<String>,
    /// What must never happen and did.
    pub violations: Vec<String>,
    batches: Vec<Vec<u8>>,
    pages: Vec<(usize, Vec<u8>)>,
    tickets: u64,
}

impl World {
    /// A world at rest with `sites` empty sites.
    pub fn new(seed: u64, sites: usize, weather: Weather, temper: Temper, blank: &Blank) -> Self {
        let mut network = Network::new(BEGIN_MS, seed, weather);
        let mut centre = Centre::default();
        let nodes = (0..sites).map(|index| {
            let replica = ReplicaId(CENTRE + 1 + u32::try_from(index).expect("few sites"));
            let fence = centre.enroll(replica, format!("{:08x}", network.below(1 << 30)));
            Node::new(Site::new(blank, replica, TENANT, fence))
        });
        let nodes: Vec<Node> = nodes.collect();
        (0..nodes.len()).for_each(|site| network.at(BEGIN_MS + RETRY_REFUSED_MS, Event::Retry(site)));
        Self {
            centre,
            temper,
            nodes,
            network,
            journal: Journal::default(),
            trace: Vec::new(),
            violations: Vec::new(),
            batches: Vec::new(),
            pages: Vec::new(),
            tickets: 0,
        }
    }

    /// Notes what happened.
    pub fn note(&mut self, line: String) {
        let ms = self.network.now_ms - BEGIN_MS;
        self.trace.push(format!("{ms:>9} {line}"));
    }

    /// A site's clock, in Unix milliseconds.
    pub fn clock_of(&self, site: usize) -> u64 {
        u64::try_from(self.signed_clock_of(site)).unwrap_or(0)
    }

    fn signed_clock_of(&self, site: usize) -> i64 {
        i64::try_from(self.network.now_ms).expect("a simulated time fits") + self.nodes[site].skew_ms
    }

    /// Runs a statement at a site as a plain client does.
    pub fn write_at(&mut self, site: usize, sql: &str) {
        let clock = self.signed_clock_of(site);
        let node = &mut self.nodes[site];
        node.site.set_clock(clock);
        let result = node.site.write(sql, &mut self.journal);
        self.nodes[site].session.handle_written();
        self.note(format!("site {site}: {sql} -> {result:?}"));
        self.drive(site);
    }

    /// The process of a site dies and starts again. The database is kept.
    pub fn restart(&mut self, site: usize) {
        let node = &mut self.nodes[site];
        node.session = Session::new();
        node.waiting.clear();
        node.arrived = None;
        // A new process has its own monotonic clock; its first hello is sent at once all the same.
        node.wake_ms = None;
        self.note(format!("site {site}: restarts"));
        self.drive(site);
    }

    /// Carries out the next event. Returns whether it is the schedule's turn, or `None` when nothing happens any more.
    pub fn advance(&mut self) -> Option<bool> {
        match self.network.step()? {
            Event::Step => return Some(true),
            Event::Wake(site) => {
                self.nodes[site].wake_ms = None;
                self.drive(site);
            }
            Event::Request(envelope, request) => self.receive(envelope, request),
            Event::Retry(site) => {
                self.network.at(self.network.now_ms + RETRY_REFUSED_MS, Event::Retry(site));
                let node = &mut self.nodes[site];
                if outbox::retry_refused(&mut node.site.connection).expect("refusals can be lifted") > 0 {
                    node.session.handle_written();
                    self.drive(site);
                }
            }
            Event::Answer(envelope, answer) => {
                if self.nodes[envelope.site].waiting.remove(&envelope.ticket) {
                    self.take(envelope.site, answer);
                    self.drive(envelope.site);
                }
            }
            Event::GiveUp(envelope) => {
                if self.nodes[envelope.site].waiting.contains(&envelope.ticket) {
                    self.note(format!("site {}: no answer", envelope.site));
                    self.fail(envelope.site, Failure::Unreachable);
                    self.drive(envelope.site);
                }
            }
        }
        Some(false)
    }

    fn fail(&mut self, site: usize, failure: Failure) {
        let jitter = u64::try_from(self.network.below(1001)).expect("a small number");
        self.nodes[site].session.handle_failure(failure, self.network.now_ms, jitter);
    }

    /// Does what a site's session says until it says no more.
    pub fn drive(&mut self, site: usize) {
        let now_ms = self.network.now_ms;
        while let Some(action) = self.nodes[site].session.poll(now_ms) {
            match action {
                Action::Abort => {
                    self.nodes[site].waiting.clear();
                    self.nodes[site].arrived = None;
                }
                Action::Hello => {
                    let hello = self.hello(site);
                    self.send(site, Request::Hello(hello));
                }
                Action::Reidentify | Action::Reconcile => {
                    self.violations.push(format!("site {site} is told that somebody was restored, and nobody was"));
                }
                Action::Push => self.push(site),
                Action::Pull { wait } => {
                    let cursor = self.nodes[site].site.this().cursor;
                    self.send(site, Request::Pull(cursor, wait));
                }
                Action::Apply => self.apply(site),
            }
        }
        let node = &mut self.nodes[site];
        if let Some(until_ms) = node.session.poll_timeout().filter(|until_ms| node.wake_ms != Some(*until_ms)) {
            node.wake_ms = Some(until_ms);
            self.network.at(until_ms, Event::Wake(site));
        }
    }

    fn hello(&self, site: usize) -> Hello {
        let clock = self.clock_of(site);
        let here = &self.nodes[site].site;
        let this = here.this();
        Hello {
            replica: this.replica.0,
            seq: this.seq,
            fence: this.fence,
            in_flight: outbox::load(&here.connection).expect("our own batch can be read").map(|sent| sent.batch),
            cursor: this.cursor,
            schema: 1,
            app_version: "simulated".to_owned(),
            unix_ms: clock,
            report: here.counts().report(clock),
            incarnation: this.incarnation,
            reconcile: this.reconcile,
            forked: false,
        }
    }

    fn push(&mut self, site: usize) {
        let batch = Uuid::from_u128(rand::Rng::random(&mut self.network.random));
        let clock = self.clock_of(site);
        match self.nodes[site].site.prepare(batch, clock) {
            None => self.nodes[site].session.handle_pushed(PushResult::Empty, self.network.now_ms),
            Some(in_flight) => {
                self.batches.push(in_flight.body.clone());
                self.send(site, Request::Push(in_flight.batch, in_flight.body));
            }
        }
    }

    fn apply(&mut self, site: usize) {
        let clock = self.clock_of(site);
        let node = &mut self.nodes[site];
        let sent = node.arrived.take().expect("a page arrived");
        let page = read_page(&sent.body).expect("the centre sends whole pages");
        let applied = apply::page(&mut node.site.connection, &page, clock).expect("a page can be applied");
        if applied.forked {
            self.violations.push(format!("site {site} takes its own writes for another's"));
        }
        for (row, seen) in &sent.seen {
            node.site.knowledge.learn(*row, seen);
        }
        if applied.found > 0 {
            node.session.handle_written();
        }
        node.session.handle_applied(applied.complete);
        if applied.refused > 0 {
            self.violations.push(format!("site {site} could not store {} rows", applied.refused));
        }
        self.note(format!("site {site}: applies {applied:?}"));
        self.pages.push((site, sent.body));
    }

    fn send(&mut self, site: usize, request: Request) {
        self.tickets += 1;
        let fate = self.network.send(self.nodes[site].link_up);
        let now_ms = self.network.now_ms;
        let envelope = Envelope { site, ticket: self.tickets, answered: fate.answered, sent_ms: now_ms };
        self.nodes[site].waiting.insert(envelope.ticket);
        let what = match &request {
            Request::Hello(_) => "hello".to_owned(),
            Request::Push(batch, body) => format!("push {} of {} bytes", &batch.to_string()[..8], body.len()),
            Request::Pull(cursor, wait) => format!("pull {cursor:?} wait {wait}"),
        };
        self.note(format!("site {site}: sends {what}, {fate:?}"));
        if let Some(again_ms) = fate.repeats_ms {
            self.network.at(again_ms, Event::Request(envelope, request.clone()));
        }
        match fate.arrives_ms {
            Some(there_ms) => self.network.at(there_ms, Event::Request(envelope, request)),
            None => self.network.at(now_ms + 1, Event::GiveUp(envelope)),
        }
        self.network.at(now_ms + ANSWER_MS_MAX, Event::GiveUp(envelope));
    }

    fn receive(&mut self, envelope: Envelope, request: Request) {
        let now_ms = self.network.now_ms;
        let replica = self.nodes[envelope.site].site.replica;
        let answer = match &request {
            Request::Hello(hello) => Answer::Welcome(self.centre.hello(hello, now_ms)),
            Request::Push(batch, body) => {
                let seen = self.nodes[envelope.site].site.batches.get(batch).cloned().unwrap_or_default();
                let random = &mut self.network.random;
                let taken =
                    self.centre.push(body, self.temper, &seen, now_ms, || rand::Rng::random_range(random, 0..1000));
                taken.map_or_else(Answer::Refused, Answer::Pushed)
            }
            Request::Pull(cursor, wait) => {
                let idle = !self.centre.has_news(replica, cursor.as_deref());
                if *wait && idle && now_ms < envelope.sent_ms + HOLD_MS {
                    self.network.at(now_ms + 200, Event::Request(envelope, request));
                    return;
                }
                let rows_max = 1 + self.network.below(12);
                Answer::Page(self.centre.pull(replica, cursor.as_deref(), rows_max, now_ms))
            }
        };
        if let Answer::Refused(Refused::Forged(what)) = &answer {
            self.violations.push(format!("the centre took site {} for a forger: {what}", envelope.site));
        }
        if envelope.answered && self.nodes[envelope.site].link_up {
            let back_ms = now_ms + self.network.latency();
            self.network.at(back_ms, Event::Answer(envelope, answer));
        }
    }

    fn take(&mut self, site: usize, answer: Answer) {
        let now_ms = self.network.now_ms;
        let clock = self.clock_of(site);
        match answer {
            Answer::Welcome(welcome) => {
                if Verdict::from(welcome.verdict) != Verdict::Ok {
                    self.violations.push(format!("site {site} is taken for a copy: {:?}", welcome.verdict));
                }
                let node = &mut self.nodes[site];
                let tx = node.site.connection.transaction().expect("nothing else is open");
                directory::replace(&tx, &welcome.directory).expect("a directory can be stored");
                tx.commit().expect("a commit in memory succeeds");
                outbox::retry_refused(&mut node.site.connection).expect("refusals can be lifted");
                node.session.handle_welcome(welcome.verdict.into(), now_ms);
            }
            Answer::Pushed(body) => {
                let answer = read_answer(&body).expect("the centre sends whole answers");
                let node = &mut self.nodes[site];
                let receipt = acknowledge(&mut node.site.connection, &answer, clock).expect("an answer can be stored");
                self.note(format!("site {site}: {receipt:?}"));
                match receipt {
                    Receipt::Stale => self.fail(site, Failure::Unreachable),
                    Receipt::Taken { more, busy, .. } => {
                        self.nodes[site].session.handle_pushed(PushResult::Answered { more, busy }, now_ms);
                    }
                }
            }
            Answer::Refused(refused) => {
                self.violations.push(format!("site {site} is refused: {refused:?}"));
                self.fail(site, Failure::Verdict(Verdict::Reidentify));
            }
            Answer::Page(page) => {
                self.nodes[site].arrived = Some(page);
                self.nodes[site].session.handle_page();
            }
        }
    }

    /// Mends everything and runs on until the world is at rest. What keeps it from resting is a violation.
    pub fn come_to_rest(&mut self) {
        self.network.weather = CALM;
        self.temper = Temper::default();
        for site in 0..self.nodes.len() {
            self.nodes[site].link_up = true;
            self.restart(site);
        }
        let limit_ms = self.network.now_ms + REST_MS_MAX;
        while !self.is_at_rest() {
            if self.network.now_ms > limit_ms || self.advance().is_none() {
                let waits: Vec<String> = self.nodes.iter().map(|node| format!("{:?}", node.site.counts())).collect();
                self.violations.push(format!("the world does not come to rest: {}", waits.join("; ")));
                return;
            }
        }
    }

    fn is_at_rest(&self) -> bool {
        self.nodes.iter().all(|node| {
            let cursor = node.site.this().cursor;
            node.session.caught_up()
                && node.site.counts().nothing_waits()
                && !self.centre.has_news(node.site.replica, cursor.as_deref())
        })
    }

    /// What came out, for the checkers.
    pub fn outcome(&mut self) -> Outcome {
        let row = |key: &Key| (*key, self.nodes[0].site.rows().remove(key));
        let rows: Vec<Key> = self.nodes[0].site.rows().into_keys().collect();
        let rows = rows.iter().map(row).filter_map(|(key, registers)| Some((key, registers?))).collect();
        let mut replicas = vec![Replica {
            name: "centre".to_owned(),
            dump: self.centre.dump(),
            versions: self.centre.versions(),
            conflicts: self.centre.conflicts.values().map(|(conflict, _)| conflict.clone()).collect(),
            waits: false,
            seq: None,
        }];
        for node in &mut self.nodes {
            replicas.push(Replica {
                name: format!("site {}", node.site.replica),
                dump: node.site.dump(),
                versions: node.site.versions(),
                conflicts: node.site.conflicts(),
                waits: !node.site.counts().nothing_waits(),
                seq: Some((node.site.replica.0, node.site.this().seq)),
            });
        }
        Outcome { journal: self.journal.clone(), rows, replicas, violations: self.violations.clone() }
    }

    /// Delivers everything once more, to the centre and to the sites.
    pub fn deliver_again(&mut self) {
        for body in std::mem::take(&mut self.batches) {
            self.centre.replay(&body, self.network.now_ms);
        }
        for (site, body) in std::mem::take(&mut self.pages) {
            let clock = self.clock_of(site);
            let here = &mut self.nodes[site].site;
            let mut page = read_page(&body).expect("the centre sends whole pages");
            // Rows of the centre alone come in order and are replaced; only what is merged can come twice. A conflict
            // that waits for nothing is a copy of the centre's, and is replaced likewise.
            let merged =
                |table: &str| catalog::by_name(table).is_some_and(|table| table.direction == catalog::Direction::Both);
            page.rows.retain(|row| merged(&row.table));
            page.conflicts.clear();
            page.end.cursor = here.this().cursor.expect("a site at rest has a cursor");
            apply::page(&mut here.connection, &page, clock).expect("a page can be applied");
        }
    }

    /// The versions that the sites hold, for comparing.
    pub fn site_versions(&self) -> Vec<BTreeMap<Key, String>> {
        self.nodes.iter().map(|node| node.site.versions()).collect()
    }
}

impl Node {
    fn new(site: Site) -> Self {
        let (session, link_up) = (Session::new(), true);
        Self { site, session, link_up, skew_ms: 0, waiting: BTreeSet::new(), arrived: None, wake_ms: None }
    }
}
