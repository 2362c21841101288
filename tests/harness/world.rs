//! A simulated run: one centre, several sites of one tenant, and a network between them that fails.
//!
//! Each site drives the real session, outbox, receipts, apply, reidentify and comparison on a real database, as the edge's
//! sync loop does, but in virtual time and in one thread. A run is a function of its seed. What happened is written to a
//! trace; what came out is judged by `checkers`.

mod answers;
mod disasters;
mod exchange;
mod requests;

use std::collections::{BTreeMap, BTreeSet};

use sync::catalog;
use sync::session::{Failure, Session};
use sync::sqlite::apply;
use sync::sqlite::comparison::{Comparison, Terms};
use sync::sqlite::outbox::{self, RETRY_REFUSED_MS};
use sync::sqlite::reconcile::Theirs;
use sync::sqlite::reidentify::Taken;
use sync::wire::frames::read_page;
use sync::wire::message::PullRow;
use uuid::Uuid;

pub use self::requests::{Answer, Envelope, Request};
use crate::centre::{Centre, Database, SentPage, Temper, name_of};
use crate::checkers::{Outcome, Replica};
use crate::coverage::Coverage;
use crate::journal::{Journal, Key, Seen};
use crate::network::{CALM, Network, Weather};
use crate::site::{Blank, Copy, Site};

/// The tenant of a simulated run.
pub const TENANT: Uuid = Uuid::from_u128(0xa000);
/// When simulated runs begin, in Unix milliseconds: 2026-01-01.
pub const BEGIN_MS: u64 = 1_767_225_600_000;
/// How long a run may take to come to rest after everything is mended, in milliseconds.
pub const REST_MS_MAX: u64 = 10 * 60 * 1000;

/// How long what is refused waits for a centre that has what it refers to, in milliseconds.
const MEND_MS: u64 = 60_000;

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
    /// Whether it was never restored, nor copied, nor given a new id.
    pub whole: bool,
    waiting: BTreeSet<u64>,
    arrived: Option<SentPage>,
    wake_ms: Option<u64>,
    forked: bool,
    task: Task,
    terms: Option<Terms>,
    comparison: Option<Comparison>,
}

/// What a site waits for beside pushes and pulls.
#[derive(Debug)]
enum Task {
    Nothing,
    /// The answer to what was in flight when the hub asked for a comparison.
    Answered(Terms),
    Accepted,
    Reidentified(Taken),
    Compared(Comparison),
    Offered(Comparison, Vec<Theirs>, Vec<PullRow>, BTreeMap<Key, Seen>),
    Verified(Comparison),
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
    /// What was broken and reached.
    pub coverage: Coverage,
    /// Copies of sites' files, with whose they are.
    pub copies: Vec<(usize, Copy)>,
    /// Backups of the centre.
    pub backups: Vec<Database>,
    lost: Seen,
    /// Registers of writes that only a conflict still held, and that was lost.
    unlisted: BTreeSet<(usize, Option<String>)>,
    /// What edges had seen of rows that they had offered, when the centre lost the offers.
    unoffered: Seen,
    renamed: bool,
    /// Pushes that arrived since the centre went back, each once.
    arrived: BTreeSet<(usize, Vec<u8>)>,
    /// Pushes that were taken whole since somebody went back in time.
    batches: Vec<(usize, Vec<u8>, u64)>,
    pages: Vec<(usize, Vec<u8>)>,
    tickets: u64,
}

impl World {
    /// A world at rest with `sites` empty sites.
    pub fn new(seed: u64, sites: usize, weather: Weather, temper: Temper, blank: &Blank) -> Self {
        let mut network = Network::new(BEGIN_MS, seed, weather);
        let mut centre = Centre::default();
        let nodes = (0..sites).map(|edge| {
            let (replica, fence) = centre.enroll(edge, BEGIN_MS, &mut network.random);
            Node::new(Site::new(blank, edge, replica, TENANT, fence))
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
            coverage: Coverage::default(),
            copies: Vec::new(),
            backups: Vec::new(),
            lost: Seen::new(),
            unlisted: BTreeSet::new(),
            unoffered: Seen::new(),
            renamed: false,
            arrived: BTreeSet::new(),
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
        node.forget_requests();
        node.forked = false;
        // A new process has its own monotonic clock; its first hello is sent at once all the same.
        node.wake_ms = None;
        self.note(format!("site {site}: restarts"));
        self.drive(site);
    }

    /// Carries out the next event. Returns whether it is the schedule's turn, or `None` when nothing happens any more.
    pub fn advance(&mut self) -> Option<bool> {
        let event = self.network.step()?;
        let is_step = self.carry_out(event);
        for what in std::mem::take(&mut self.centre.met) {
            self.coverage.count(what);
        }
        Some(is_step)
    }

    fn carry_out(&mut self, event: Event) -> bool {
        match event {
            Event::Step => return true,
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
        false
    }

    fn fail(&mut self, site: usize, failure: Failure) {
        let jitter = self.jitter();
        if !matches!(self.nodes[site].task, Task::Nothing) {
            self.coverage.count("a comparison is broken off");
        }
        self.nodes[site].session.handle_failure(failure, self.network.now_ms, jitter);
    }

    fn jitter(&mut self) -> u64 {
        u64::try_from(self.network.below(1001)).expect("a small number")
    }

    /// Mends everything and runs on until the world is at rest. What keeps it from resting is a violation.
    pub fn come_to_rest(&mut self) {
        self.network.weather = CALM;
        self.temper = Temper::default();
        let now_ms = self.network.now_ms;
        for txid in self.centre.open_writers() {
            self.centre.commit(txid, &mut self.journal, now_ms);
        }
        self.restart_all();
        self.rest(now_ms + REST_MS_MAX);
        if self.renamed {
            // Two copies that said hello in the same moment notice each other at the next one.
            self.restart_all();
            self.rest(now_ms + 2 * REST_MS_MAX);
        }
    }

    fn restart_all(&mut self) {
        for site in 0..self.nodes.len() {
            self.nodes[site].link_up = true;
            self.restart(site);
        }
    }

    fn rest(&mut self, limit_ms: u64) {
        let (mut mend_ms, mut mended) = (self.network.now_ms + MEND_MS, 0);
        while !self.is_at_rest() {
            if self.network.now_ms > mend_ms {
                mend_ms += MEND_MS;
                mended += 1;
                match mended {
                    1 => self.mend_references(),
                    // Two copies of a box are one edge: the one that comes first is compared, the other another day.
                    3 | 5 | 7 => self.compare_all(),
                    _ => {}
                }
            }
            if self.network.now_ms > limit_ms || self.advance().is_none() {
                let waits: Vec<String> = self.nodes.iter().map(|node| format!("{:?}", node.site.counts())).collect();
                self.violations.push(format!("the world does not come to rest: {}", waits.join("; ")));
                return;
            }
        }
    }

    /// What a day brings: every edge is compared. Until then only what is refused may wait.
    fn compare_all(&mut self) {
        for site in 0..self.nodes.len() {
            let (edge, counts) = (self.nodes[site].site.edge, self.nodes[site].site.counts());
            if !counts.nothing_waits() && counts.quarantined == 0 {
                self.violations.push(format!("site {site} waits though nothing is refused: {counts:?}"));
            }
            self.centre.verify(edge);
        }
        self.note("every edge is to be compared".to_owned());
    }

    fn is_at_rest(&self) -> bool {
        self.nodes.iter().all(|node| {
            node.session.caught_up() && node.site.counts().nothing_waits() && {
                let this = node.site.this();
                !self.centre.has_news(node.site.edge, this.replica.0, this.cursor.as_deref())
            }
        })
    }

    /// What came out, for the checkers.
    pub fn outcome(&mut self) -> Outcome {
        let mut replicas = vec![Replica {
            name: "centre".to_owned(),
            dump: self.centre.dump(),
            versions: self.centre.versions(),
            conflicts: self.centre.database.conflicts.values().map(|(conflict, _)| conflict.clone()).collect(),
            waits: false,
            seq: None,
        }];
        for node in &mut self.nodes {
            let this = node.site.this();
            replicas.push(Replica {
                name: format!("site {}", this.replica),
                dump: node.site.dump(),
                versions: node.site.versions(),
                conflicts: node.site.conflicts(),
                waits: !node.site.counts().nothing_waits(),
                seq: node.whole.then_some((this.replica.0, this.seq)),
            });
        }
        Outcome {
            journal: self.journal.clone(),
            rows: self.nodes[0].site.rows(),
            replicas,
            violations: self.violations.clone(),
            // What was under way when everybody else had lost it, and arrived.
            // And what was offered to a centre that went back, when its answer to that was under way.
            lost: (&self.lost | &self.unoffered).difference(&self.held()).copied().collect(),
            unlisted: self.unlisted.clone(),
            unoffered: self.unoffered.clone(),
            renamed: self.renamed,
            forgotten: self.centre.forgotten.iter().map(|key| name_of(*key)).collect(),
            known: self.centre.database.knowledge.all(),
            offered: self.offered(),
            names: self.centre.names(),
        }
    }

    /// Delivers every push once more that arrived since the centre went back, as a network may that held it back. Says whether
    /// anything of it was taken.
    pub fn deliver_late(&mut self) -> bool {
        let before = self.centre.database.clone();
        let now_ms = self.network.now_ms;
        for (edge, body) in &self.arrived {
            let (nothing, random) = (BTreeMap::new(), &mut self.network.random);
            // It is fenced, or is the last one and gets its answer again.
            _ = self.centre.push(*edge, (body, &nothing), self.temper, &mut self.journal, (now_ms, random));
        }
        self.centre.database != before
    }

    /// Delivers everything once more, to the sites, and to the centre past its fence, as far as nobody has gone back since it
    /// was sent.
    pub fn deliver_again(&mut self) {
        for (edge, body, then_ms) in std::mem::take(&mut self.batches) {
            self.centre.replay(edge, &body, then_ms, &mut self.network.random);
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
            page.evicted.clear();
            page.conflicts.clear();
            page.end.cursor = here.this().cursor.expect("a site at rest has a cursor");
            apply::page(&mut here.connection, &page, clock).expect("a page can be applied");
        }
    }
}

impl Node {
    fn new(site: Site) -> Self {
        Self {
            site,
            session: Session::new(),
            link_up: true,
            skew_ms: 0,
            whole: true,
            waiting: BTreeSet::new(),
            arrived: None,
            wake_ms: None,
            forked: false,
            task: Task::Nothing,
            terms: None,
            comparison: None,
        }
    }

    fn forget_requests(&mut self) {
        self.waiting.clear();
        self.arrived = None;
        self.task = Task::Nothing;
    }
}
