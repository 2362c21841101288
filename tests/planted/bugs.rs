//! The bugs, by the ring that has to find each.

/// A test binary, and which of its tests.
pub(crate) type Ring = (&'static str, &'static str);

/// A bug.
pub(crate) struct Bug {
    /// What is wrong, in words.
    pub(crate) name: &'static str,
    /// Where.
    pub(crate) file: &'static str,
    /// What stands there.
    pub(crate) good: &'static str,
    /// What stands there instead.
    pub(crate) bad: &'static str,
    /// Who has to find it.
    pub(crate) ring: Ring,
}

/// Every behaviour of few writes (R0).
const LAWS: Ring = ("merge_laws", "");
/// The simulator (R1).
const SIMULATOR: Ring = ("random_schedules", "every_schedule");
/// Killed processes and cut links (R3).
const KILLS: Ring = ("faults_pg", "kills");
const CUTS: Ring = ("faults_pg", "cuts");
const RESTORES: Ring = ("faults_pg", "restores::an_edge");
const STATEMENTS: Ring = ("faults_pg", "statements");
/// Pulled plugs (R4).
const POWER: Ring = ("boxes_pg", "power_loss");

const CLOCK: &str = "sync/src/merge/clock.rs";
const FENCE: &str = "sync/src/merge/fence.rs";
const PLAN: &str = "sync/src/merge/plan.rs";
const RESOLVE: &str = "sync/src/merge/resolve.rs";
const VERSION: &str = "sync/src/merge/version.rs";
const SESSION: &str = "sync/src/session.rs";
const APPLY: &str = "sync/src/sqlite/apply.rs";
const CAPTURE: &str = "sync/src/sqlite/capture.rs";
const OUTBOX: &str = "sync/src/sqlite/outbox.rs";
const RECEIPTS: &str = "sync/src/sqlite/receipts.rs";
const HUB_APPLY: &str = "sync/src/pg/apply.rs";

/// Every planted bug.
pub(crate) const BUGS: &[Bug] = &[
    Bug {
        name: "of two stamps of one write the one at hand is kept",
        file: CLOCK,
        good: "if other.hlc < self.hlc { other } else { self }",
        bad: "self",
        ring: LAWS,
    },
    Bug {
        name: "the lower of two writes wins",
        file: CLOCK,
        good: "} else if self.rank() < other.rank() {",
        bad: "} else if self.rank() > other.rank() {",
        ring: LAWS,
    },
    Bug {
        name: "a write is stamped by the clock alone",
        file: CLOCK,
        good: "Self(self.0.saturating_add(1)).max(Self::at(unix_ms))",
        bad: "Self::at(unix_ms)",
        ring: LAWS,
    },
    Bug {
        name: "a losing edit is forgotten",
        file: RESOLVE,
        good: "let unseen = !winner.version.vv.covers(&losing);",
        bad: "let unseen = false && !winner.version.vv.covers(&losing);",
        ring: LAWS,
    },
    Bug {
        name: "an edit that was seen is called a conflict",
        file: RESOLVE,
        good: "let unseen = !winner.version.vv.covers(&losing);",
        bad: "let unseen = !winner.version.vv.covers(&losing) || !loser.version.vv.covers(&winning);",
        ring: LAWS,
    },
    Bug {
        name: "the value is always ours, whoever wins",
        file: RESOLVE,
        good: "if let Some(value) = winner.values.get(register) {",
        bad: "if let Some(value) = ours.values.get(register) {",
        ring: LAWS,
    },
    Bug {
        name: "what our deleters had seen is forgotten",
        file: RESOLVE,
        good: "row.version.gone = ours.version.gone.join(&theirs.version.gone);",
        bad: "row.version.gone = theirs.version.gone.clone();",
        ring: LAWS,
    },
    Bug {
        name: "a losing delete is forgotten",
        file: RESOLVE,
        good: "conflicts.extend(edit_delete(table, id, ours, theirs, &row.version.gone));",
        bad: "",
        ring: LAWS,
    },
    Bug {
        name: "a delete covers itself only",
        file: VERSION,
        good: "self.gone = self.vv.clone();",
        bad: "self.gone.observe(dot.replica, dot.seq);",
        ring: LAWS,
    },
    Bug {
        name: "a whole row leaves the dots of single registers",
        file: VERSION,
        good: "self.dots.named.clear();",
        bad: "",
        ring: LAWS,
    },
    Bug {
        name: "whatever comes from the hub replaces the row",
        file: PLAN,
        good: "    if incoming.version.vv.includes(&local.version.vv) {\n        return PullPlan::Replace;",
        bad: "    if !incoming.version.vv.is_empty() {\n        return PullPlan::Replace;",
        ring: SIMULATOR,
    },
    Bug {
        name: "a clamp is handed back and not kept",
        file: PLAN,
        good: "            dot.hlc = ceiling;\n",
        bad: "",
        ring: SIMULATOR,
    },
    Bug {
        name: "later writes stay above a clamped one by their own clock",
        file: PLAN,
        good: "                dot.hlc = dot.hlc.min(later);\n",
        bad: "                let _ = later;\n",
        ring: SIMULATOR,
    },
    Bug {
        name: "a clamp that was handed back is not carried out",
        file: RECEIPTS,
        good: "    restamp(&mut tracked.version, &base, &clamps);\n",
        bad: "    let _ = (&base, &clamps, restamp as fn(&mut _, &_, &_));\n",
        ring: SIMULATOR,
    },
    Bug {
        name: "an answer acknowledges what was written after the batch",
        file: RECEIPTS,
        good: "acknowledged_by(this, &answer.vv.0, sent_seq.min(in_flight.high_seq))",
        bad: "acknowledged_by(this, &answer.vv.0, tracked.version.vv.seen(this.replica).max(in_flight.high_seq))",
        ring: SIMULATOR,
    },
    Bug {
        name: "the new fence token is not kept",
        file: RECEIPTS,
        good: "    self_state::set_fence(tx, &answer.head.fence)?;\n",
        bad: "",
        ring: SIMULATOR,
    },
    Bug {
        name: "what was answered is sent again for ever",
        file: RECEIPTS,
        good: "    outbox::delete(tx)?;\n    let counts",
        bad: "    let counts",
        ring: SIMULATOR,
    },
    Bug {
        name: "a batch without an answer is put together anew",
        file: OUTBOX,
        good: "        Some(in_flight) => Some(in_flight),\n        None => build(&tx, batch, now_ms, room)?,",
        bad: "        _ => build(&tx, batch, now_ms, room)?,",
        ring: SIMULATOR,
    },
    Bug {
        name: "conflicts that the hub tells are dropped",
        file: APPLY,
        good: "Ok(conflict) => ledger::receive(&tx, conflict)?,",
        bad: "Ok(_) => {}",
        ring: SIMULATOR,
    },
    Bug {
        name: "conflicts that the edge finds are dropped",
        file: "sync/src/sqlite/ledger.rs",
        good: "        record(tx, conflict)?;\n",
        bad: "        drop(conflict);\n",
        ring: SIMULATOR,
    },
    Bug {
        name: "a merged row is taken for acknowledged",
        file: APPLY,
        good: "            let base = base_after(this, &tracked, &row.version, &hubs);",
        bad: "            let base = base_after(this, &tracked, &row.version, &hubs).filter(|_| false);",
        ring: SIMULATOR,
    },
    Bug {
        name: "a page is stored without its cursor",
        file: APPLY,
        good: "    self_state::set_cursor(&tx, &page.end.cursor, !page.end.complete)?;\n",
        bad: "",
        ring: SIMULATOR,
    },
    Bug {
        name: "a page is stored while a push is unanswered",
        file: SESSION,
        good: "(PushLane::Idle | PushLane::Resting { .. }, PullLane::Arrived)",
        bad: "(_, PullLane::Arrived)",
        ring: SIMULATOR,
    },
    Bug {
        name: "one batch is sent, and what is left waits for the next write",
        file: SESSION,
        good: "self.writes_wait |= more || busy;",
        bad: "self.writes_wait |= busy && more;",
        ring: SIMULATOR,
    },
    Bug {
        name: "the trigger forgets what others had written",
        file: CAPTURE,
        good: "vv = json_patch(vv, excluded.vv)",
        bad: "vv = excluded.vv",
        ring: SIMULATOR,
    },
    Bug {
        name: "the trigger stamps by the clock alone",
        file: CAPTURE,
        good: "coalesce((select r.hlc + 1 from sync_rows r where r.tbl = {tbl} and r.row_id = {id}), 0)",
        bad: "coalesce((select 0 from sync_rows r where r.tbl = {tbl} and r.row_id = {id}), 0)",
        ring: SIMULATOR,
    },
    Bug {
        name: "the trigger takes the row for acknowledged as it is after the write",
        file: CAPTURE,
        good: "base = coalesce(base, vv), refused = null",
        bad: "base = coalesce(base, json_patch(vv, excluded.vv)), refused = null",
        ring: SIMULATOR,
    },
    Bug {
        name: "a box that uses its numbers again is believed",
        file: FENCE,
        good: "said.forked || said.seq < known.high_seq || said.token != known.token && !lost_answer",
        bad: "said.forked && forked_checkpoint && said.seq < known.high_seq && !lost_answer",
        ring: RESTORES,
    },
    Bug {
        name: "a repeated batch is taken for one of a restored box",
        file: FENCE,
        good: "() if same && is_before => Admission::Repeated,",
        bad: "() if same && is_before && word_before.is_none() => Admission::Repeated,",
        ring: CUTS,
    },
    Bug {
        name: "a batch that was taken is taken once more under a later token",
        file: FENCE,
        good: "() if said == token => Admission::Next,",
        bad: "() if said.count <= token.count => Admission::Next,",
        ring: SIMULATOR,
    },
    Bug {
        name: "what the centre merged is not sent back to who pushed it",
        file: HUB_APPLY,
        good: "echo_of: exact.then_some(work.edge.replica),",
        bad: "echo_of: (exact || !exact).then_some(work.edge.replica),",
        ring: KILLS,
    },
    Bug {
        name: "a push is answered whether or not its transaction was committed",
        file: HUB_APPLY,
        good: "    tx.commit().await?;\n    Ok(Receipt::Answered(answer))",
        bad: "    drop(tx.commit().await);\n    Ok(Receipt::Answered(answer))",
        ring: STATEMENTS,
    },
    Bug {
        name: "the box does not wait for its disk",
        file: "sync/src/sqlite/mod.rs",
        good: "connection.pragma_update(None, \"synchronous\", \"full\")?;",
        bad: "connection.pragma_update(None, \"synchronous\", \"normal\")?;",
        ring: POWER,
    },
    Bug {
        name: "a renewal is taken without the edge's signature",
        file: "sync/src/hub/edge_auth.rs",
        good: "    sealed().is_some() && signature.is_some_and(signed)\n",
        bad: "    sealed().is_some() || signature.is_some_and(signed)\n",
        ring: ("attacks", "edges::nobody_gets_a_credential_without"),
    },
    Bug {
        name: "a credential that was replaced stays good",
        file: "sync/src/pg/edge_credentials.rs",
        good: "    if row.get(1) {\n",
        bad: "    if row.get::<_, bool>(1) && edge.is_nil() {\n",
        ring: ("attacks", "edges::an_old_credential"),
    },
    Bug {
        name: "a connection is for everybody's rows",
        file: "sync/src/pg/reach.rs",
        good: "        Reach::Tenant(tenant) => tenant.hyphenated().to_string(),\n",
        bad: "        Reach::Tenant(_) => \"*\".to_owned(),\n",
        ring: ("attacks", "walls::with_the_check_of_the_tenant_taken_out"),
    },
];
