//! What a site does when its session says so, as the edge's sync loop and `exchange` do it.

use sync::catalog;
use sync::session::{Action, Failure, PushResult};
use sync::sqlite::comparison::{Comparison, Terms};
use sync::sqlite::{apply, outbox, reconcile, reidentify};
use sync::wire::frames::read_page;
use sync::wire::message::Hello;
use uuid::Uuid;

use super::{Event, Request, Task, World};
use crate::journal::Author;

impl World {
    /// Does what a site's session says until it says no more.
    pub fn drive(&mut self, site: usize) {
        let now_ms = self.network.now_ms;
        while let Some(action) = self.nodes[site].session.poll(now_ms) {
            match action {
                Action::Abort => self.nodes[site].forget_requests(),
                Action::Hello => {
                    let hello = self.hello(site);
                    self.send(site, Request::Hello(hello));
                }
                Action::Reidentify => self.ask_what_was_taken(site),
                Action::Reconcile => self.reconcile(site),
                Action::Push => self.push(site),
                Action::Pull { wait } => {
                    let this = self.nodes[site].site.this();
                    self.send(site, Request::Pull(this.replica.0, this.cursor, wait));
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
        let node = &self.nodes[site];
        let this = node.site.this();
        Hello {
            replica: this.replica.0,
            seq: this.seq,
            fence: this.fence,
            in_flight: outbox::load(&node.site.connection).expect("our own batch can be read").map(|sent| sent.batch),
            cursor: this.cursor,
            schema: catalog::VERSION,
            app_version: "simulated".to_owned(),
            unix_ms: clock,
            report: node.site.counts().report(clock),
            incarnation: this.incarnation,
            reconcile: this.reconcile,
            forked: node.forked,
        }
    }

    fn push(&mut self, site: usize) {
        let batch = Uuid::from_u128(rand::Rng::random(&mut self.network.random));
        let clock = self.clock_of(site);
        let here = &mut self.nodes[site].site;
        match here.prepare(batch, clock) {
            None => self.nodes[site].session.handle_pushed(PushResult::Empty, self.network.now_ms),
            Some(sent) => {
                let seen = here.batches.get(&sent.batch).cloned().unwrap_or_default();
                let (edge, replica) = (here.edge, here.replica());
                for (row, places) in &seen {
                    // What the centre has was sent before, perhaps by a copy of this box.
                    let known = self.centre.database.knowledge.of(*row);
                    let own = |place: &&usize| self.journal.write(**place).author == Author::Edge(edge);
                    let sent: Vec<usize> = places.difference(&known).filter(own).copied().collect();
                    sent.into_iter().for_each(|place| self.journal.note_sent(place, replica.0));
                }
                self.send(site, Request::Push(sent.batch, sent.body, seen));
            }
        }
    }

    /// Somebody else goes by a site's id; the next hello says so.
    pub(super) fn notice_fork(&mut self, site: usize) {
        self.nodes[site].forked = true;
        self.coverage.count("own writes come that were never made");
        self.fail(site, Failure::Fenced);
    }

    fn apply(&mut self, site: usize) {
        let clock = self.clock_of(site);
        let node = &mut self.nodes[site];
        let sent = node.arrived.take().expect("a page arrived");
        let page = read_page(&sent.body).expect("the centre sends whole pages");
        let applied = apply::page(&mut node.site.connection, &page, clock).expect("a page can be applied");
        self.note(format!("site {site}: applies {applied:?}"));
        if applied.forked {
            return self.notice_fork(site);
        }
        let node = &mut self.nodes[site];
        for (row, seen) in &sent.seen {
            node.site.knowledge.learn(*row, seen);
        }
        if applied.found > 0 {
            node.session.handle_written();
        }
        node.session.handle_applied(applied.complete);
        if !applied.complete {
            self.coverage.count("a window has several pages");
        }
        page.evicted.iter().for_each(|_| self.coverage.count("a user leaves the scope"));
        // What does not fit may fit when the next page has come; what never does is listed in the end, and judged.
        self.pages.push((site, sent.body));
    }

    /// The first half of taking a new id.
    fn ask_what_was_taken(&mut self, site: usize) {
        let node = &mut self.nodes[site];
        let waiting = reidentify::waiting(&node.site.connection).expect("what waits can be read");
        node.task = Task::Accepted;
        self.send(site, Request::Accepted(waiting));
    }

    fn reconcile(&mut self, site: usize) {
        let (now_ms, jitter) = (self.network.now_ms, self.jitter());
        let node = &mut self.nodes[site];
        match (node.comparison.take(), node.terms.take()) {
            (Some(comparison), _) => self.compare(site, comparison),
            (None, Some(terms)) => {
                let connection = &mut node.site.connection;
                reconcile::begin(connection, &terms.reconcile).expect("a comparison can be begun");
                if outbox::load(connection).expect("our own batch can be read").is_none() {
                    return self.begin_comparison(site, terms, jitter);
                }
                node.task = Task::Answered(terms);
                self.coverage.count("what is in flight is answered before a comparison");
                self.push(site);
            }
            // A hub that wants a comparison and does not say how is asked again.
            (None, None) => node.session.handle_reconciled(true, now_ms, jitter),
        }
    }

    /// Nothing is compared while a push is unanswered.
    pub(super) fn begin_comparison(&mut self, site: usize, terms: Terms, jitter: u64) {
        let node = &mut self.nodes[site];
        let comparison = Comparison::new(&mut node.site.connection, terms).expect("the mirror can be read");
        self.coverage.count(match comparison.is_rewound() {
            true => "an edge is compared after a rewind",
            false => "an edge is compared",
        });
        let node = &mut self.nodes[site];
        node.comparison = Some(comparison);
        node.session.handle_reconciled(false, self.network.now_ms, jitter);
    }

    fn compare(&mut self, site: usize, comparison: Comparison) {
        let request = match comparison.question() {
            Some(asked) => {
                self.nodes[site].task = Task::Compared(comparison);
                Request::Digest(asked)
            }
            None => {
                let found = comparison.found().clone();
                self.nodes[site].task = Task::Verified(comparison);
                Request::Verified(found)
            }
        };
        self.send(site, request);
    }
}
