//! What sites and the centre say to each other, on a network that loses, repeats and delays it.

use std::collections::BTreeMap;

use sync::merge::ids::ReplicaId;
use sync::wire::frames::read_answer;
use sync::wire::message::{Hello, Outcome, PullRow, Welcome};
use sync::wire::recovery::{AcceptedRow, Digest, Reidentified, Verification};
use uuid::Uuid;

use super::{Event, World};
use crate::centre::{Compared, Receipt, Refused, SentPage};
use crate::journal::{Key, Seen};
use crate::network::ANSWER_MS_MAX;

/// How long the hub holds a pull when it has nothing, in milliseconds.
const HOLD_MS: u64 = 25_000;

/// Whose message it is.
#[derive(Clone, Copy, Debug)]
pub struct Envelope {
    pub(super) site: usize,
    pub(super) ticket: u64,
    answered: bool,
    sent_ms: u64,
}

/// What a site asks.
#[derive(Clone, Debug)]
pub enum Request {
    /// For a session.
    Hello(Hello),
    /// To take a batch, of whose rows the site had seen this.
    Push(Uuid, Vec<u8>, BTreeMap<Key, Seen>),
    /// For a page, as this replica.
    Pull(u32, Option<String>, bool),
    /// Which of its writes were taken.
    Accepted(Vec<AcceptedRow>),
    /// For a new id, in the place of these.
    Reidentify(Vec<ReplicaId>),
    /// What ranges add up to.
    Digest(Digest),
    /// To keep rows that the centre has lost.
    Offer(Vec<(PullRow, Seen)>),
    /// To note what a comparison found.
    Verified(Verification),
}

/// What the centre says.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To a hello.
    Welcome(Welcome),
    /// To a push.
    Pushed(Vec<u8>),
    /// To what it does not take.
    Refused(Refused),
    /// To a pull.
    Page(SentPage),
    /// To a question about writes.
    Accepted(Vec<AcceptedRow>),
    /// To a wish for a new id.
    Reidentified(Reidentified),
    /// To a digest.
    Compared(Compared),
    /// To what it only notes.
    Noted,
}

impl Request {
    fn text(&self) -> String {
        match self {
            Self::Hello(_) => "hello".to_owned(),
            Self::Push(batch, body, _) => format!("push {} of {} bytes", &batch.to_string()[..8], body.len()),
            Self::Pull(replica, cursor, wait) => format!("pull {} as {replica} wait {wait}", cursor.is_some()),
            Self::Accepted(rows) => format!("accepted? {rows:?}"),
            Self::Reidentify(had) => format!("reidentify {had:?}"),
            Self::Digest(asked) => format!("digest of {} ranges, wants {:?}", asked.ranges.len(), asked.want),
            Self::Offer(rows) => format!("offer of {} rows", rows.len()),
            Self::Verified(found) => format!("verified: {:?}", found.differences),
        }
    }
}

impl World {
    pub(super) fn send(&mut self, site: usize, request: Request) {
        self.tickets += 1;
        let fate = self.network.send(self.nodes[site].link_up);
        let now_ms = self.network.now_ms;
        let envelope = Envelope { site, ticket: self.tickets, answered: fate.answered, sent_ms: now_ms };
        self.nodes[site].waiting.insert(envelope.ticket);
        self.note(format!("site {site}: sends {}, {fate:?}", request.text()));
        if let Some(again_ms) = fate.repeats_ms {
            self.coverage.count("a request arrives twice");
            self.network.at(again_ms, Event::Request(envelope, request.clone()));
        }
        match fate.arrives_ms {
            Some(there_ms) => {
                if !fate.answered {
                    self.coverage.count("an answer is lost");
                }
                self.network.at(there_ms, Event::Request(envelope, request));
            }
            None => {
                self.coverage.count("a request is lost");
                self.network.at(now_ms + 1, Event::GiveUp(envelope));
            }
        }
        self.network.at(now_ms + ANSWER_MS_MAX, Event::GiveUp(envelope));
    }

    pub(super) fn receive(&mut self, envelope: Envelope, request: Request) {
        let now_ms = self.network.now_ms;
        let edge = self.nodes[envelope.site].site.edge;
        if let Request::Pull(replica, cursor, true) = &request
            && now_ms < envelope.sent_ms + HOLD_MS
            && !self.centre.has_news(edge, *replica, cursor.as_deref())
        {
            self.network.at(now_ms + 200, Event::Request(envelope, request));
            return;
        }
        let answer = self.answer(edge, &request);
        match &answer {
            Answer::Refused(Refused::Forged(what)) => {
                self.violations.push(format!("the centre took site {} for a forger: {what}", envelope.site));
            }
            Answer::Refused(Refused::Fence) => {
                let what = if matches!(request, Request::Push(..)) { "a push is fenced" } else { "a pull is fenced" };
                self.coverage.count(what);
            }
            _ => {}
        }
        if envelope.answered && self.nodes[envelope.site].link_up {
            let back_ms = now_ms + self.network.latency();
            self.network.at(back_ms, Event::Answer(envelope, answer));
        }
    }

    fn answer(&mut self, edge: usize, request: &Request) -> Answer {
        let (now_ms, every_ms) = (self.network.now_ms, self.temper.compared_every_ms);
        let random = &mut self.network.random;
        match request {
            Request::Hello(hello) => {
                let before = self.centre.incarnations();
                let welcome = self.centre.hello(edge, hello, every_ms, now_ms, random);
                if self.centre.incarnations() > before {
                    self.coverage.count("an incarnation begins");
                    self.forget_deliveries();
                    self.note("the centre begins an incarnation".to_owned());
                }
                Answer::Welcome(welcome)
            }
            Request::Push(_, body, seen) => {
                let receipt = self.centre.push(edge, (body, seen), self.temper, &mut self.journal, (now_ms, random));
                self.arrived.insert((edge, body.clone()));
                match receipt {
                    Ok(Receipt::Taken(answer)) => {
                        if is_taken_whole(&answer) {
                            self.batches.push((edge, body.clone(), now_ms));
                        }
                        Answer::Pushed(answer)
                    }
                    Ok(Receipt::Repeated(answer)) => Answer::Pushed(answer),
                    Err(refused) => Answer::Refused(refused),
                }
            }
            Request::Pull(replica, cursor, _) => {
                let rows_max = 1 + usize::try_from(rand::Rng::random_range(random, 0..12_u32)).expect("a small number");
                let at = (edge, *replica);
                let page = self.centre.pull(at, cursor.as_deref(), (rows_max, every_ms), now_ms, random);
                page.map_or_else(Answer::Refused, Answer::Page)
            }
            Request::Accepted(rows) => Answer::Accepted(self.centre.accepted(edge, rows)),
            Request::Reidentify(had) => Answer::Reidentified(self.centre.reidentify(edge, had, random)),
            Request::Digest(asked) => {
                let compared = self.centre.digest(edge, asked, now_ms, random);
                compared.map_or_else(Answer::Refused, Answer::Compared)
            }
            Request::Offer(rows) => {
                self.centre.offer(rows);
                Answer::Noted
            }
            Request::Verified(found) => {
                self.centre.verified(edge, found, now_ms);
                Answer::Noted
            }
        }
    }
}

/// Whether every row of a push was taken: another delivery of it must change nothing.
fn is_taken_whole(answer: &[u8]) -> bool {
    let answer = read_answer(answer).expect("the centre sends whole answers");
    answer.rows.iter().all(|row| matches!(row.outcome, Outcome::Accepted | Outcome::Merged))
}
