//! What the answer to a push does here: rows stop waiting, are refused, or are asked for again.
//!
//! One transaction stores everything that the answer says, the next fence token, and that nothing is in flight any
//! more. Invariants: nothing above the batch's highest seq is acknowledged; a write made since the batch was put
//! together goes on waiting, whatever the answer says of its row.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::blockers;
use super::error::StoreError;
use super::evictions;
use super::former_names;
use super::hub_rows;
use super::ledger::{self, Refused, Way};
use super::outbox::{self, InFlight, acknowledged_by};
use super::quarantine;
use super::self_state::{self, SelfState};
use super::status;
use super::versions::{self, Key, Refusal, Tracked};
use crate::catalog::{self, Table};
use crate::merge::clock::Hlc;
use crate::merge::ids::{ReplicaId, RowId};
use crate::merge::plan::{Clamp, restamp};
use crate::wire::conflict;
use crate::wire::frames::{PushAnswer, PushBody, read_push};
use crate::wire::message::{Instead, Outcome, PushRow, RowAnswer};
use crate::wire::refusals;

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// It answers another batch than the one in flight; nothing was changed.
    Stale,
    /// It was taken.
    Taken {
        /// How many rows stopped waiting, taken or refused, or came closer to it.
        settled: u64,
        /// Whether more can be sent.
        more: bool,
        /// Whether a row has to be sent again after a while.
        busy: bool,
    },
}

/// Carries out the answer to the batch in flight.
///
/// # Errors
/// [`StoreError::Batch`] when the batch in flight is damaged, [`StoreError`] when the database fails.
pub fn acknowledge(connection: &mut Connection, answer: &PushAnswer, now_ms: u64) -> Result<Receipt, StoreError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let in_flight = match outbox::load(&tx)? {
        Some(in_flight) if in_flight.batch == answer.head.id => in_flight,
        _ => return Ok(Receipt::Stale),
    };
    let sent = read_push(&in_flight.body)?;
    let taken = take(&tx, &in_flight, &sent, answer, now_ms)?;
    tx.commit()?;
    Ok(taken)
}

fn take(
    tx: &Transaction<'_>,
    in_flight: &InFlight,
    sent: &PushBody,
    answer: &PushAnswer,
    now_ms: u64,
) -> Result<Receipt, StoreError> {
    let this = self_state::load(tx)?;
    let key = |table: &str, id| (table.to_owned(), id);
    let answers: BTreeMap<_, _> = answer.rows.iter().map(|row| (key(&row.table, row.id), row)).collect();
    let (mut busy, mut settled) = (false, 0);
    let hub_ms = answer.head.unix_ms;
    let mut taken = BTreeSet::new();
    for row in &sent.rows {
        let Some(answer) = answers.get(&key(&row.table, row.id)) else { continue };
        match answer.outcome {
            Outcome::Busy => busy = true,
            _ if row.instead.as_deref() == Some(&Instead::Discarded) => {
                settled += 1;
                given_up(tx, row, answer, now_ms)?;
            }
            Outcome::Accepted | Outcome::Merged => {
                settled += u64::from(accept(tx, &this, in_flight, row, answer, hub_ms)?);
                taken.extend(catalog::by_name(&row.table).map(|table| Key { table: table.id, id: RowId(row.id) }));
            }
            Outcome::Quarantined | Outcome::NeedFull => settled += u64::from(refuse(tx, &this, row, answer, now_ms)?),
        }
    }
    for text in &sent.conflicts {
        let of_row = answers.get(&key(&text.table, text.row)).map(|answer| answer.outcome);
        if matches!(of_row, None | Some(Outcome::Accepted | Outcome::Merged)) {
            let parsed = conflict::parse(text);
            let unreadable = |source| StoreError::Conflict { id: "in flight".to_owned(), source };
            ledger::acknowledge(tx, &parsed.map_err(unreadable)?)?;
        }
    }
    for audit in &sent.audits {
        ledger::audit_sent(tx, audit.id)?;
    }
    former_names::forget_settled(tx)?;
    blockers::retry(tx, &taken)?;
    self_state::set_fence(tx, &answer.head.fence)?;
    self_state::heard(tx, now_ms, hub_ms)?;
    outbox::delete(tx)?;
    let counts = status::counts(tx)?;
    let more = counts.rows_pending + counts.conflicts_pending + counts.audits_pending > 0;
    // A hub that answers without taking anything is asked again after a while, not at once.
    let idle = settled == 0 && !sent.rows.is_empty();
    Ok(Receipt::Taken { settled, more, busy: busy || idle })
}

/// The hub has the row up to the batch. Says whether it stops waiting or has come closer to it.
fn accept(
    tx: &Transaction<'_>,
    this: &SelfState,
    in_flight: &InFlight,
    sent: &PushRow,
    answer: &RowAnswer,
    hub_ms: u64,
) -> Result<bool, StoreError> {
    let Some((table, id, mut tracked)) = tracked(tx, sent)? else { return Ok(true) };
    let sent_seq = sent.vv.0.seen(this.replica);
    if answer.vv.0.is_empty() {
        return gone(tx, table, id, tracked.version.vv.seen(this.replica) > sent_seq);
    }
    // A row that waits for nothing is as the hub has it, stamps included: there is nothing in the answer that it lacks.
    let Some(base) = tracked.base.take() else { return Ok(true) };
    let clamp = |&(replica, seq, hlc)| Clamp { replica: ReplicaId(replica), seq, hlc: Hlc(hlc) };
    let clamps: Vec<Clamp> = answer.clamps.iter().map(clamp).collect();
    restamp(&mut tracked.version, &base, &clamps);
    let acknowledged = acknowledged_by(this, &answer.vv.0, sent_seq.min(in_flight.high_seq));
    let waits = tracked.version.vv.seen(this.replica) > acknowledged.seen(this.replica);
    tracked.base = waits.then(|| base.clone().join(&acknowledged));
    if !waits {
        // A hub that had forgotten the row leaves out what it cannot know of: writes of a centre whose whole time was lost.
        tracked.version.cut_back(&answer.vv.0);
    }
    tracked.refused = None;
    tracked.hub_had_ms = (!waits).then_some(hub_ms);
    versions::save(tx, table, id, &tracked)?;
    ledger::settle(tx, Way::Up, table.id, id)?;
    if !waits && evictions::is_due(tx, table, id)? {
        remove(tx, table, id)?;
    }
    Ok(tracked.base != Some(base))
}

/// The hub has superseded what was given up, or says why it cannot.
fn given_up(tx: &Transaction<'_>, sent: &PushRow, answer: &RowAnswer, now_ms: u64) -> Result<(), StoreError> {
    let Some((table, id, tracked)) = tracked(tx, sent)? else { return Ok(()) };
    let key = Key { table: table.id, id };
    if tracked.refused.is_none() {
        return quarantine::reopen(tx, key);
    }
    if matches!(answer.outcome, Outcome::Accepted | Outcome::Merged) {
        return quarantine::carried_out(tx, key);
    }
    let (code, reason) = (answer.code.clone().unwrap_or_default(), answer.reason.clone().unwrap_or_default());
    let payload = serde_json::to_string(sent).unwrap_or_default();
    ledger::refuse(tx, &Refused { way: Way::Up, table: table.id, row: id, code, reason, payload }, now_ms)?;
    quarantine::reopen(tx, key)
}

/// The hub has forgotten the row as deleted, and keeps what was written since as conflicts. It goes here too, unless
/// it was written again meanwhile: that has to become a conflict first.
fn gone(tx: &Transaction<'_>, table: &'static Table, id: RowId, written_since: bool) -> Result<bool, StoreError> {
    if written_since {
        return Ok(false);
    }
    remove(tx, table, id)?;
    ledger::settle(tx, Way::Up, table.id, id)?;
    Ok(true)
}

/// Takes a row away whose writes the hub has or has refused.
fn remove(tx: &Transaction<'_>, table: &'static Table, id: RowId) -> Result<(), StoreError> {
    self_state::set_applying(tx, true)?;
    evictions::remove(tx, table, id)?;
    self_state::set_applying(tx, false)
}

/// The hub does not take the row as it was sent. One that was written again since is simply sent again.
fn refuse(
    tx: &Transaction<'_>,
    this: &SelfState,
    sent: &PushRow,
    answer: &RowAnswer,
    now_ms: u64,
) -> Result<bool, StoreError> {
    let Some((table, id, mut tracked)) = tracked(tx, sent)? else { return Ok(true) };
    let seq = sent.vv.0.seen(this.replica);
    if tracked.version.vv.seen(this.replica) > seq {
        return Ok(true);
    }
    let (default_code, default_reason) = match answer.outcome {
        Outcome::NeedFull => (refusals::NEED_FULL, "the hub lacks writes of others that this edge has seen"),
        _ => (refusals::REFUSED, "the hub gave no reason"),
    };
    let code = answer.code.clone().unwrap_or_else(|| default_code.as_str().to_owned());
    let mut reason = answer.reason.clone().unwrap_or_else(|| default_reason.to_owned());
    let mut blockers: Vec<Key> = answer.blocker.map(|id| Key { table: table.id, id: RowId(id) }).into_iter().collect();
    if code == refusals::MISSING_REFERENCE.as_str() {
        blockers.extend(blockers::referred(tx, table, id)?);
        if blockers::any_refused(tx, &blockers)? {
            reason = format!("it waits for a row that is refused itself: {reason}");
        }
    }
    tracked.refused = Some(Refusal { code: code.clone(), reason: reason.clone(), seq });
    versions::save(tx, table, id, &tracked)?;
    let unreadable = |source| StoreError::Text { what: "a refused row", source };
    let payload = serde_json::to_string(sent).map_err(unreadable)?;
    ledger::refuse(tx, &Refused { way: Way::Up, table: table.id, row: id, code, reason, payload }, now_ms)?;
    blockers::save(tx, Key { table: table.id, id }, &blockers)?;
    hub_rows::save(tx, table.id, id, answer.hub.as_deref())?;
    // What was refused is kept with its reason, which is all that is left of a row that belongs elsewhere now.
    if evictions::is_due(tx, table, id)? {
        remove(tx, table, id)?;
    }
    Ok(true)
}

fn tracked(tx: &Transaction<'_>, sent: &PushRow) -> Result<Option<(&'static Table, RowId, Tracked)>, StoreError> {
    let Some(table) = catalog::by_name(&sent.table) else { return Ok(None) };
    let id = RowId(sent.id);
    Ok(versions::load(tx, table, id)?.map(|tracked| (table, id, tracked)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::fixture::edge_with_a_task;
    use crate::wire::message::{Fence, Pushed};
    use crate::wire::version::VectorText;
    use uuid::Uuid;

    /// An edge with one task, sent and not answered.
    fn one_task_in_flight() -> (Connection, InFlight) {
        let mut connection = edge_with_a_task(ReplicaId(7), "one");
        let in_flight = outbox::prepare(&mut connection, Uuid::from_u128(5), 0).unwrap().unwrap();
        (connection, in_flight)
    }

    /// The version of the task after an answer that lowers its stamp to 9.
    fn clamped(mut connection: Connection, in_flight: &InFlight) -> Tracked {
        let sent = read_push(&in_flight.body).unwrap().rows.remove(0);
        let row = RowAnswer {
            table: sent.table,
            id: sent.id,
            outcome: Outcome::Accepted,
            vv: VectorText(sent.vv.0),
            clamps: vec![(7, 1, 9)],
            code: None,
            reason: None,
            hub: None,
            blocker: None,
        };
        let head = Pushed { id: in_flight.batch, fence: Fence::default(), unix_ms: 0 };
        acknowledge(&mut connection, &PushAnswer { head, rows: vec![row] }, 0).unwrap();
        let tx = connection.transaction().unwrap();
        versions::load(&tx, catalog::by_name("tasks").unwrap(), RowId(sent.id)).unwrap().unwrap()
    }

    #[test]
    fn a_clamp_lowers_a_row_that_waits_and_leaves_one_that_waits_for_nothing() {
        let (connection, in_flight) = one_task_in_flight();
        assert_eq!(clamped(connection, &in_flight).version.hlc(), Hlc(9));
        let (connection, in_flight) = one_task_in_flight();
        assert_eq!(connection.execute("update sync_rows set base = null", []).unwrap(), 1);
        let tracked = clamped(connection, &in_flight);
        assert!(tracked.version.hlc() > Hlc(9));
        assert_eq!(tracked.base, None);
    }

    #[test]
    fn a_row_that_waits_for_nothing_keeps_nothing_in_its_version_that_the_hub_has_left_out() {
        let (connection, in_flight) = one_task_in_flight();
        connection.execute("update sync_rows set vv = '{\"7\":1,\"9\":14}', gone = '{\"9\":14}'", []).unwrap();
        let version = clamped(connection, &in_flight).version;
        assert_eq!(version.vv, [(ReplicaId(7), 1)].into_iter().collect());
        assert!(version.gone.is_empty());
    }
}
