//! Prints `docs/where-two-writes-meet.md` from the code that decides, and fails when the page is out of date.
//!
//! `UPDATE=1 cargo test -p tests --test where_two_writes_meet` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use sync::catalog::{Table, by_name};
use sync::merge::clock::{Dot, Hlc};
use sync::merge::conflict::{Conflict, Status};
use sync::merge::ids::{PersonId, ReplicaId, RowId};
use sync::merge::plan::{PullPlan, Push, PushPlan, plan_pull, plan_push, unacknowledged};
use sync::merge::value::Value;
use sync::merge::vector::Vector;
use sync::merge::version::Row;
use sync::wire::version::{dots_text, vector_text};
use uuid::Uuid;

const CENTRE: ReplicaId = ReplicaId(1);
const HEADQUARTERS: ReplicaId = ReplicaId(2);
const WAREHOUSE: ReplicaId = ReplicaId(3);
const MINUTE_MS: u64 = 60_000;
const NINE_MS: u64 = 1_790_000_000_000;

/// One replica's copy of the task.
struct Copy {
    name: &'static str,
    replica: ReplicaId,
    row: Row,
    seq: u64,
    base: Vector,
}

impl Copy {
    fn of(name: &'static str, replica: ReplicaId, row: &Row) -> Self {
        Self { name, replica, row: row.clone(), seq: 40, base: row.version.vv.clone() }
    }

    fn set(&mut self, register: &str, value: &str, unix_ms: u64, by: PersonId) {
        self.seq += 1;
        let hlc = self.row.version.hlc().tick(unix_ms);
        let dot = Dot { replica: self.replica, seq: self.seq, hlc, by: Some(by) };
        self.row.version.write(dot, &[register.to_owned()]);
        self.row.values.insert(register.to_owned(), Value::text(value));
    }

    fn push(&self) -> Push {
        let own = [self.replica];
        let registers: Vec<_> = unacknowledged(&self.row, &self.base, &own).cloned().collect();
        let values = registers.into_iter().map(|register| (register.clone(), self.row.values[&register].clone()));
        Push {
            version: self.row.version.clone(),
            base: self.base.clone(),
            values: values.collect(),
            needed: tasks().needed(),
        }
    }

    fn tell(&self, page: &mut String) {
        let Value::Text(title) = &self.row.values["title"] else { panic!("a title is text") };
        let version = &self.row.version;
        let (vv, dots) = (vector_text(&version.vv), dots_text(&version.dots));
        writeln!(page, "    {:<12} title  {title:?}\n{:16} vv     {vv}\n{:16} dots   {dots}", self.name, "", "")
            .unwrap();
    }
}

fn tasks() -> &'static Table {
    by_name("tasks").unwrap()
}

fn accept(centre: &mut Copy, id: RowId, edge: &mut Copy) -> Vec<Conflict> {
    let quiet = tasks().quiet();
    match plan_push(tasks().id, id, Some(&centre.row), &edge.push(), &[edge.replica], &quiet) {
        PushPlan::Store { row, conflicts, .. } => {
            centre.row = row;
            edge.base = centre.row.version.vv.clone();
            conflicts
        }
        other => panic!("the centre stores an honest push, not {other:?}"),
    }
}

fn pull(edge: &mut Copy, id: RowId, centre: &Copy) {
    match plan_pull(tasks().id, id, Some(&edge.row), &centre.row, &tasks().quiet()) {
        PullPlan::Keep => {}
        PullPlan::Replace => edge.row = centre.row.clone(),
        PullPlan::Merge { row, .. } => edge.row = row,
    }
    edge.base = centre.row.version.vv.clone();
}

#[test]
fn the_page_tells_what_the_code_does() {
    let page = page();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/where-two-writes-meet.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &page).expect("docs can be written");
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == page,
        "docs/where-two-writes-meet.md is out of date: UPDATE=1 cargo test -p tests --test where_two_writes_meet"
    );
}

fn page() -> String {
    let id = RowId(Uuid::from_u128(0x7a5c_0000_0000_4000_8000_0000_0000_0001));
    let maria = PersonId(Uuid::from_u128(0xa));
    let jonas = PersonId(Uuid::from_u128(0xb));
    let mut row = Row::default();
    row.version.write(Dot { replica: CENTRE, seq: 17, hlc: Hlc::at(NINE_MS), by: None }, &[]);
    row.values.insert("title".into(), Value::text("Check the boiler"));

    let mut page = String::from(OPENING);
    let mut centre = Copy::of("centre", CENTRE, &row);
    let mut headquarters = Copy::of("headquarters", HEADQUARTERS, &row);
    let mut warehouse = Copy::of("warehouse", WAREHOUSE, &row);
    centre.tell(&mut page);

    page.push_str(APART);
    headquarters.set("title", "Check boiler 2", NINE_MS + 5 * MINUTE_MS, maria);
    warehouse.set("title", "Replace the boiler's valve", NINE_MS + 7 * MINUTE_MS, jonas);
    headquarters.tell(&mut page);
    warehouse.tell(&mut page);

    page.push_str(FIRST_PUSH);
    let conflicts = accept(&mut centre, id, &mut headquarters);
    assert!(conflicts.is_empty());
    centre.tell(&mut page);

    page.push_str(SECOND_PUSH);
    let conflicts = accept(&mut centre, id, &mut warehouse);
    let [conflict] = conflicts.as_slice() else { panic!("one write lost, not {conflicts:?}") };
    centre.tell(&mut page);
    tell_conflict(&mut page, conflict);

    page.push_str(PULLS);
    pull(&mut headquarters, id, &centre);
    pull(&mut warehouse, id, &centre);
    assert_eq!(headquarters.row, centre.row);
    assert_eq!(warehouse.row, centre.row);
    headquarters.tell(&mut page);

    page.push_str(RESTORE);
    let Some(Value::Text(lost)) = &conflict.loser.value else { panic!("the lost title is text") };
    headquarters.set("title", lost, NINE_MS + 60 * MINUTE_MS, maria);
    assert!(accept(&mut centre, id, &mut headquarters).is_empty(), "a restore knew both writes");
    pull(&mut warehouse, id, &centre);
    assert_eq!(warehouse.row, centre.row);
    let restored = Conflict { status: Status::Restored, ..conflict.clone() };
    assert_eq!(conflict.clone().join(restored).status, Status::Restored);
    warehouse.tell(&mut page);
    page.push_str(CLOSING);
    page
}

fn tell_conflict(page: &mut String, conflict: &Conflict) {
    for (side, party) in [("lost", &conflict.loser), ("won", &conflict.winner)] {
        let Some(Value::Text(title)) = &party.value else { panic!("a title is text") };
        let Dot { replica, seq, .. } = party.dot;
        writeln!(page, "    conflict     {side:<5} {title:?} (write {seq} of replica {replica})").unwrap();
    }
    writeln!(page, "                 id    {}", conflict.id()).unwrap();
}

const OPENING: &str = "# Where two writes meet

The history of one conflict, from two people who could not know of each other to the person who decides. A test prints
this page by calling the code that decides (`tests/where_two_writes_meet.rs`); nothing below is typed by hand but the
words between.

A task was made at the centre and has reached both sites. Replica 1 is the centre, 2 the box at the headquarters, 3
the box at the warehouse. `vv` says which writes of the row a copy has seen; `dots` says who wrote each register last,
as `[replica, seq, clock, person]`, with `*` for all that are not named.

";
const APART: &str = "
## Both sites lose their link, and both rename the task

A plain `update` at each box. The trigger that `sync/src/sqlite/capture.rs` generated takes the next seq, stamps the
register and raises the row's own entry in `vv`. It compares nothing and decides nothing.

";
const FIRST_PUSH: &str = "
## The headquarters' link heals first

`sqlite/outbox.rs` sends the version and the one value written since; `pg/apply.rs` locks the row and asks
`merge/plan.rs`. The pushed `vv` includes all that the centre has: `merge/resolve.rs` finds nothing concurrent.

";
const SECOND_PUSH: &str = "
## Then the warehouse's

Now neither side has seen the other's write of `title`: that is what concurrent means, and no clock is asked about it.
The clock only picks the winner, in `merge/resolve.rs` and nowhere else. The losing value is recorded in the same
transaction as the merge that made it lose, under an id that follows from the losing write alone, so that whoever
meets the same two writes makes the same record.

";
const PULLS: &str = "
## Both boxes pull

The row includes all that each box had, so `plan_pull` says replace; had one of them written meanwhile, it would say
merge, and the same function would decide with the same result. The conflict comes down beside the row and stands on
the page `/conflicts` and in `GET /api/v1/sync/conflicts` at both sites. Every copy now reads:

";
const RESTORE: &str = "
## A person decides

Maria presses *restore*. That is an ordinary edit with a write of its own: its `vv` includes both earlier writes, so it
beats the winner by causality, everywhere, and makes no new conflict. The conflict's status joins upwards (open,
dismissed, restored) and travels as the conflict did. After the exchange the warehouse reads:

";
const CLOSING: &str = "
## Where to look

| step | code |
|---|---|
| a write is stamped | `sync/src/sqlite/capture.rs`, `sync/src/pg/capture.rs` |
| it leaves the box | `sync/src/sqlite/outbox.rs` |
| it arrives at the centre | `sync/src/pg/apply.rs` |
| what to do with it | `sync/src/merge/plan.rs` |
| who wins | `sync/src/merge/resolve.rs` |
| what lost | `sync/src/merge/conflict.rs`, kept by `pg/ledger.rs` and `sqlite/ledger.rs` |
| it comes back to the boxes | `sync/src/pg/feed.rs`, `sync/src/sqlite/apply.rs` |
| a person sees it and decides | `edge/src/conflicts.rs`, `edge/src/api/conflicts.rs`, `edge/src/web/conflicts.rs` |
";
