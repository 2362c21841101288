//! What a site does with an answer, as the edge's `exchange` does it; and what it knows afterwards.

use std::collections::BTreeMap;

use sync::catalog;
use sync::session::{Failure, PushResult, Verdict};
use sync::sqlite::comparison::{Comparison, Terms};
use sync::sqlite::receipts::{Receipt, acknowledge};
use sync::sqlite::reconcile::{self, Theirs};
use sync::sqlite::reidentify::{self, Taken};
use sync::sqlite::{directory, outbox, self_state};
use sync::wire::frames::{read_answer, read_digest};
use sync::wire::message::{Outcome, PullRow, Welcome};
use sync::wire::recovery::Reidentified;

use super::{Answer, Request, Task, World};
use crate::centre::Compared;
use crate::journal::{Key, Seen};

impl World {
    pub(super) fn take(&mut self, site: usize, answer: Answer) {
        let now_ms = self.network.now_ms;
        let task = match answer {
            Answer::Page(_) => Task::Nothing,
            _ => std::mem::replace(&mut self.nodes[site].task, Task::Nothing),
        };
        match (answer, task) {
            (Answer::Welcome(welcome), _) => self.take_welcome(site, &welcome),
            (Answer::Pushed(body), Task::Answered(terms)) => {
                if self.take_receipt(site, &body).is_some() {
                    let jitter = self.jitter();
                    self.begin_comparison(site, terms, jitter);
                }
            }
            (Answer::Pushed(body), task) => {
                self.nodes[site].task = task;
                if let Some(result) = self.take_receipt(site, &body) {
                    self.nodes[site].session.handle_pushed(result, now_ms);
                }
            }
            (Answer::Page(page), _) => {
                self.nodes[site].arrived = Some(page);
                self.nodes[site].session.handle_page();
            }
            (Answer::Refused(refused), _) => {
                self.note(format!("site {site}: is refused: {refused:?}"));
                self.fail(site, Failure::Fenced);
            }
            (Answer::Accepted(rows), Task::Accepted) => {
                let taken = reidentify::taken(&rows);
                if !taken.is_empty() {
                    self.coverage.count("writes that wait are found to be taken");
                }
                self.nodes[site].task = Task::Reidentified(taken);
                let had = self.nodes[site].site.this().own();
                self.send(site, Request::Reidentify(had));
            }
            (Answer::Reidentified(given), Task::Reidentified(taken)) => self.adopt(site, &given, &taken),
            (Answer::Compared(compared), Task::Compared(comparison)) => self.take_digest(site, comparison, &compared),
            (Answer::Noted, Task::Offered(comparison, theirs, offered, seen)) => {
                self.settle(site, comparison, (&theirs, &offered), &seen);
            }
            (Answer::Noted, Task::Verified(comparison)) => {
                if comparison.found().differing > 0 {
                    self.coverage.count("a comparison finds a difference");
                }
                let jitter = self.jitter();
                let node = &mut self.nodes[site];
                comparison.complete(&mut node.site.connection).expect("a comparison can be completed");
                node.session.handle_reconciled(true, now_ms, jitter);
            }
            (answer, task) => {
                self.violations.push(format!("site {site} is told {answer:?} while it waits for {task:?}"));
            }
        }
    }

    fn take_welcome(&mut self, site: usize, welcome: &Welcome) {
        let verdict = Verdict::from(welcome.verdict);
        let clock = self.clock_of(site);
        self.note(format!("site {site}: is told {verdict:?} {:?}", welcome.reconcile));
        let node = &mut self.nodes[site];
        let tx = node.site.connection.transaction().expect("nothing else is open");
        directory::replace(&tx, &welcome.directory).expect("a directory can be stored");
        self_state::heard(&tx, clock, welcome.unix_ms).expect("a time can be stored");
        if let Some(incarnation) = welcome.incarnation.filter(|_| verdict == Verdict::Ok) {
            self_state::set_incarnation(&tx, incarnation).expect("an incarnation can be stored");
        }
        tx.commit().expect("a commit in memory succeeds");
        outbox::retry_refused(&mut node.site.connection).expect("refusals can be lifted");
        node.comparison = None;
        node.terms = match (welcome.reconcile.clone(), welcome.incarnation) {
            (Some(reconcile), Some(incarnation)) => Some(Terms { reconcile, incarnation }),
            _ => None,
        };
        node.session.handle_welcome(verdict, self.network.now_ms);
    }

    /// What the answer to a push comes to; `None` if it is that to another one.
    fn take_receipt(&mut self, site: usize, body: &[u8]) -> Option<PushResult> {
        let clock = self.clock_of(site);
        let answer = read_answer(body).expect("the centre sends whole answers");
        for row in &answer.rows {
            match (row.outcome, row.code.as_deref()) {
                (Outcome::Busy, _) => self.coverage.count("a row is busy"),
                (Outcome::Quarantined, Some("missing_reference")) => {
                    self.coverage.count("a row waits for a refused one");
                }
                (Outcome::Quarantined, _) => self.coverage.count("a row is refused"),
                _ => {}
            }
        }
        let refusals =
            answer.rows.iter().filter(|row| row.outcome == Outcome::Quarantined || row.outcome == Outcome::NeedFull);
        for row in refusals {
            self.note(format!("site {site}: {} {} is refused: {:?} {:?}", row.table, row.id, row.outcome, row.code));
        }
        let node = &mut self.nodes[site];
        let refused = node.site.refused().len();
        let receipt = acknowledge(&mut node.site.connection, &answer, clock).expect("an answer can be stored");
        if node.site.refused().len() < refused {
            self.coverage.count("a refused row is taken later");
        }
        self.note(format!("site {site}: {receipt:?}"));
        match receipt {
            Receipt::Stale => {
                self.fail(site, Failure::Unreachable);
                None
            }
            Receipt::Taken { more, busy, .. } => Some(PushResult::Answered { more, busy }),
        }
    }

    /// The second half of taking a new id.
    fn adopt(&mut self, site: usize, given: &Reidentified, taken: &Taken) {
        let (now_ms, jitter) = (self.network.now_ms, self.jitter());
        self.forget_deliveries();
        let node = &mut self.nodes[site];
        reidentify::adopt(&mut node.site.connection, given, taken).expect("a new id can be taken");
        (node.forked, node.whole) = (false, false);
        node.session.handle_reidentified(now_ms, jitter);
        self.coverage.count("an edge gets a new id");
        self.note(format!("site {site}: is {} now", given.replica));
    }

    fn take_digest(&mut self, site: usize, mut comparison: Comparison, compared: &Compared) {
        let answer = read_digest(&compared.body).expect("the centre sends whole answers");
        let bytes = u64::try_from(compared.body.len()).expect("a length fits");
        let here = &mut self.nodes[site].site;
        let theirs = comparison.handle_answer(&mut here.connection, answer, bytes).expect("the mirror can be read");
        if theirs.is_empty() {
            let jitter = self.jitter();
            let node = &mut self.nodes[site];
            node.comparison = Some(comparison);
            return node.session.handle_reconciled(false, self.network.now_ms, jitter);
        }
        self.offer(site, comparison, theirs, &compared.seen);
    }

    fn offer(&mut self, site: usize, comparison: Comparison, theirs: Vec<Theirs>, seen: &BTreeMap<Key, Seen>) {
        let here = &mut self.nodes[site].site;
        let offers = reconcile::offers(&here.connection, &theirs, &comparison.lost()).expect("rows can be read");
        if offers.is_empty() {
            return self.settle(site, comparison, (&theirs, &offers), seen);
        }
        let known = |row: &PullRow| {
            let table = catalog::by_name(&row.table).expect("a known table");
            (row.clone(), here.knowledge.of((table.name, row.id)))
        };
        let request = Request::Offer(offers.iter().map(known).collect());
        offers.iter().for_each(|_| self.coverage.count("a row is offered"));
        self.nodes[site].task = Task::Offered(comparison, theirs, offers, seen.clone());
        self.send(site, request);
    }

    fn settle(
        &mut self,
        site: usize,
        mut comparison: Comparison,
        (theirs, offered): (&[Theirs], &[PullRow]),
        seen: &BTreeMap<Key, Seen>,
    ) {
        let (now_ms, jitter, clock) = (self.network.now_ms, self.jitter(), self.clock_of(site));
        let rewound = comparison.is_rewound();
        let here = &mut self.nodes[site].site;
        let lost = comparison.lost();
        let basis = (lost.as_slice(), comparison.proof());
        let stored = reconcile::store(&mut here.connection, (theirs, offered), basis, clock);
        let Some(settled) = stored.expect("rows can be settled") else { return self.notice_fork(site) };
        let is_left = |one: &Theirs| settled.rewritten.iter().any(|left| left.name() == one.name());
        for one in theirs.iter().filter(|one| !is_left(one)) {
            self.learn_settled(site, one, rewound, seen);
        }
        self.note(format!("site {site}: settles {:?}", settled.differences));
        comparison.note(settled.differences);
        if !settled.rewritten.is_empty() {
            return self.offer(site, comparison, settled.rewritten, seen);
        }
        let node = &mut self.nodes[site];
        node.comparison = Some(comparison);
        node.session.handle_written();
        node.session.handle_reconciled(false, now_ms, jitter);
    }

    /// What a site knows of a row that was settled: what the centre has seen, and what was written here and it lacks. What
    /// others wrote and the centre lacks is as if it had never been seen, if the centre went back.
    fn learn_settled(&mut self, site: usize, one: &Theirs, rewound: bool, seen: &BTreeMap<Key, Seen>) {
        let (table, id, absent) = match one {
            Theirs::Row(row) => (&row.table, row.id, false),
            Theirs::Absent(table, id) => (table, *id, true),
        };
        let row: Key = (catalog::by_name(table).expect("a known table").name, id);
        let here = &mut self.nodes[site].site;
        let mut known = seen.get(&row).cloned().unwrap_or_default();
        let replicas = here.this().own();
        let own = |place: &usize| self.journal.is_own(*place, here.edge, &replicas);
        if here.tracks(row) {
            let before = here.knowledge.of(row);
            known.extend(before.into_iter().filter(|place| own(place) || absent && !rewound));
        }
        here.knowledge.set(row, known);
    }
}
