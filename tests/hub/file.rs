//! An edge's real file that exchanges with a real hub, without a program around it: what the programs' loop does, a step
//! at a time, so that a test can stop between two.

use rusqlite::Connection;
use sync::hub::clock;
use sync::merge::clock::Hlc;
use sync::sqlite::ledger::{self, Quarantined};
use sync::sqlite::quarantine::{self, Discard};
use sync::sqlite::receipts::Receipt;
use sync::sqlite::{apply, changes, collect, dump, outbox, receipts, self_state, status};
use sync::wire::frames::{PulledPage, read_answer, read_page};
use sync::wire::message::{Enrolled, Pull};
use sync::wire::stream;
use tests::mirror::open_when_free;
use tests::scratch::Scratch;
use uuid::Uuid;

use super::site::{Answer, Centre, enrolling, post};

/// A file and its identity.
pub(crate) struct File {
    dir: Scratch,
    connection: Connection,
    _lock: Option<std::fs::File>,
    pub(crate) me: Enrolled,
    url: String,
}

impl File {
    pub(crate) async fn enroll(centre: &Centre, tenant: Uuid, site: Uuid, name: &str) -> Self {
        let code = centre.code(tenant, site, name, 60_000).await;
        let body = stream::write_one(&enrolling(&code)).unwrap();
        let answer = post(&centre.url, "enroll", None, body).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        let me: Enrolled = stream::read_one(&answer.body).unwrap();
        let dir = Scratch::new();
        let (mut connection, lock) = open_when_free(&dir.path().join("edge.db")).unwrap().into_parts();
        let tx = connection.transaction().unwrap();
        self_state::enrolled(&tx, &me, &centre.url).unwrap();
        tx.commit().unwrap();
        let mut file = Self { dir, connection, _lock: lock, me, url: centre.url.clone() };
        file.pull().await;
        file
    }

    /// Another connection, as any program might open one: no foreign keys, no functions of ours.
    pub(crate) fn plain(&self) -> Connection {
        let plain = Connection::open(self.dir.path().join("edge.db")).unwrap();
        plain.pragma_update(None, "synchronous", "off").unwrap();
        plain.pragma_update(None, "foreign_keys", "off").unwrap();
        plain
    }

    /// Runs a plain client's statements.
    pub(crate) fn sql(&self, script: &str) {
        self.plain().execute_batch(script).unwrap_or_else(|error| panic!("{script}: {error}"));
    }

    /// One value as text, `-` for null or no row.
    pub(crate) fn value(&self, query: &str) -> String {
        let select = format!("select cast(({query}) as text)");
        let value: Option<String> = self.plain().query_row(&select, [], |row| row.get(0)).unwrap();
        value.unwrap_or_else(|| "-".to_owned())
    }

    /// The bytes that are sent next, if anything waits.
    pub(crate) fn batch(&mut self) -> Option<outbox::InFlight> {
        outbox::prepare(&mut self.connection, clock::id(), clock::unix_ms()).unwrap()
    }

    pub(crate) async fn send(&self, batch: &outbox::InFlight) -> Answer {
        let answer = post(&self.url, "push", Some(&self.me.credential), batch.body.clone()).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        answer
    }

    pub(crate) fn hear(&mut self, answer: &Answer) -> Receipt {
        let answer = read_answer(&answer.body).unwrap();
        receipts::acknowledge(&mut self.connection, &answer, clock::unix_ms()).unwrap()
    }

    /// Pushes until nothing waits that was not refused.
    pub(crate) async fn push(&mut self) {
        for _ in 0..20 {
            let Some(batch) = self.batch() else { return };
            let answer = self.send(&batch).await;
            let receipt = self.hear(&answer);
            assert_ne!(receipt, Receipt::Stale);
        }
        panic!("a push does not come to its end");
    }

    /// The next page, not applied.
    pub(crate) async fn page(&self) -> PulledPage {
        let cursor = self_state::load(&self.connection).unwrap().cursor;
        let report = status::report(&self.connection, clock::unix_ms()).unwrap();
        let pull = Pull { replica: self.me.replica, cursor, wait_ms: 0, report };
        let answer = post(&self.url, "pull", Some(&self.me.credential), stream::write_one(&pull).unwrap()).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        read_page(&answer.body).unwrap()
    }

    pub(crate) fn apply(&mut self, page: &PulledPage) {
        apply::page(&mut self.connection, page, clock::unix_ms()).unwrap();
    }

    /// Pulls until there is nothing new.
    pub(crate) async fn pull(&mut self) {
        loop {
            let page = self.page().await;
            self.apply(&page);
            if page.end.complete && page.end.lines == 0 {
                return;
            }
        }
    }

    /// What a new session does first: whatever was refused is tried once more, on both ways.
    pub(crate) fn begin_session(&mut self) {
        apply::retry(&mut self.connection, clock::unix_ms()).unwrap();
        outbox::retry_refused(&mut self.connection).unwrap();
    }

    /// Tidies up as an edge does in the background, as if everything were of long ago, and says how many pages the file has then.
    pub(crate) fn tidy(&mut self) -> i64 {
        let tx = self.connection.transaction().unwrap();
        changes::cut(&tx, 1).unwrap();
        collect::forget(&tx, Hlc(i64::MAX.unsigned_abs())).unwrap();
        tx.commit().unwrap();
        self.connection.query_row("pragma page_count", [], |row| row.get(0)).unwrap()
    }

    /// Gives a refused row up, as a person does.
    pub(crate) fn discard(&mut self, entry: Uuid) {
        let tx = self.connection.transaction().unwrap();
        assert_eq!(quarantine::discard(&tx, entry).unwrap(), Discard::Asked);
        tx.commit().unwrap();
    }

    /// Pushes and pulls until there is nothing to do.
    pub(crate) async fn exchange(&mut self) {
        for _ in 0..3 {
            self.push().await;
            self.pull().await;
        }
    }

    /// As `edge dump` prints it.
    pub(crate) fn dump(&mut self) -> Vec<String> {
        let mut bytes = Vec::new();
        dump::write(&mut self.connection, None, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    pub(crate) fn refused(&self) -> Vec<Quarantined> {
        ledger::quarantined(&self.connection).unwrap()
    }

    /// The codes of the refused rows, by row.
    pub(crate) fn codes(&self) -> Vec<(Uuid, String)> {
        let mut codes: Vec<(Uuid, String)> =
            self.refused().into_iter().map(|entry| (entry.row.0, entry.code)).collect();
        codes.sort();
        codes
    }
}
