//! What happens in a simulated run, drawn from its seed: who writes what, what breaks, and when.
//!
//! Every written value has a number of its own, so that a checker can tell whose it is.

mod disasters;

use std::collections::BTreeMap;

use sync::catalog::{self, Table};
use sync::merge::conflict::Status;
use sync::merge::ids::RowId;
use sync::merge::value::Value;
use uuid::Uuid;

use self::disasters::Theme;
use crate::centre::{Centre, Changes, Temper};
use crate::journal::{Journal, Text};
use crate::network::Weather;
use crate::site::{Blank, KEYS, WRITTEN};
use crate::world::{BEGIN_MS, Event, TENANT, World};

/// How many things happen in a run before everything is mended.
pub const STEPS: usize = 100;
/// Rows of each table that are written.
const ROWS: usize = 3;
/// The longest pause between two steps, in milliseconds.
const PAUSE_MS_MAX: usize = 4_000;
/// Transactions of the centre that are open at a time.
const WRITERS_MAX: usize = 3;

/// A run with a seed, up to the moment when everything is mended and the world is at rest.
pub fn run(seed: u64, blank: &Blank) -> World {
    let weather =
        Weather { request_lost_of_1000: 200, answer_lost_of_1000: 120, repeated_of_1000: 150, latency_ms_max: 700 };
    let compared_every_ms = if seed.is_multiple_of(5) { 30_000 } else { 0 };
    let temper = Temper { busy_of_1000: 60, refuses_poison: true, compared_every_ms };
    let sites = 2 + usize::try_from(seed % 2).expect("a bit");
    let mut world = World::new(seed, sites, weather, temper, blank);
    let mut schedule = Schedule { numbers: 0, theme: Theme::of(seed), away: None };
    schedule.begin(&mut world);
    let mut steps = 0;
    while steps < STEPS {
        match world.advance() {
            None => break,
            Some(false) => {}
            Some(true) => {
                steps += 1;
                schedule.step(&mut world);
                let pause = world.network.below(PAUSE_MS_MAX);
                let next_ms = world.network.now_ms + u64::try_from(pause).expect("a small number");
                world.network.at(next_ms, Event::Step);
            }
        }
    }
    world.note("everything is mended".to_owned());
    world.come_to_rest();
    world
}

struct Schedule {
    numbers: u64,
    theme: Theme,
    /// A site that is away, and until when.
    away: Option<(usize, u64)>,
}

impl Schedule {
    /// What the centre has before anybody connects.
    fn begin(&mut self, world: &mut World) {
        for (table, row) in [("tenants", 0), ("users", 0), ("users", 1), ("user_tenant_associations", 0)] {
            self.centre_row_of_its_own(world, table, row);
        }
        for (table, row) in [("sites", 0), ("sites", 1), ("devices", 0), ("tasks", 0), ("tasks", 1)] {
            self.at_centre(world, |schedule, world, txid| {
                schedule.centre_insert(world, txid, table, id_of(table, row));
            });
        }
        for site in 0..world.nodes.len() {
            world.coverage.count("a clock is set wrong");
            world.nodes[site].skew_ms = skew(world);
            world.drive(site);
        }
        world.network.at(BEGIN_MS + 3_000, Event::Step);
    }

    fn step(&mut self, world: &mut World) {
        let site = world.network.below(world.nodes.len());
        self.come_back(world);
        match world.network.below(100) {
            0..40 => {
                let sql = self.statement(world);
                world.write_at(site, &sql);
            }
            40..52 => self.at_centre(world, Self::write_at_centre),
            52..61 => self.transact(world),
            61..64 => {
                let (table, row) = [("users", 2), ("user_tenant_associations", 2)][world.network.below(2)];
                let row = world.network.below(row + 1);
                self.centre_row_of_its_own(world, table, row);
            }
            64..70 => {
                world.nodes[site].link_up ^= true;
                let up = world.nodes[site].link_up;
                if !up {
                    world.coverage.count("a link is cut");
                }
                world.note(format!("site {site}: its link is up: {up}"));
            }
            70..75 => {
                world.coverage.count("a process restarts");
                world.restart(site);
            }
            75..78 => {
                world.coverage.count("a clock is set wrong");
                world.nodes[site].skew_ms = skew(world);
                let skew_ms = world.nodes[site].skew_ms;
                world.note(format!("site {site}: its clock is {skew_ms} ms off"));
            }
            78..81 => decide(world, site),
            81..84 => discard(world, site),
            84..86 => {
                world.nodes[site].session.handle_sync_now();
                world.drive(site);
            }
            _ => self.disaster(world, site),
        }
    }

    /// Goes on with a transaction of the centre that is open, or begins one.
    fn transact(&mut self, world: &mut World) {
        let open = world.centre.open_writers();
        if open.len() < WRITERS_MAX && world.network.below(3) == 0 || open.is_empty() {
            let txid = world.centre.begin();
            world.coverage.count("a transaction stays open");
            return self.write_at_centre(world, txid);
        }
        let txid = open[world.network.below(open.len())];
        match world.network.below(5) {
            0 => {
                world.centre.roll_back(txid);
                world.coverage.count("a transaction is rolled back");
                world.note(format!("centre: {txid} is rolled back"));
            }
            1 | 2 => {
                if txid != open[0] {
                    world.coverage.count("transactions commit out of order");
                }
                let now_ms = world.network.now_ms;
                world.centre.commit(txid, &mut world.journal, now_ms);
                world.note(format!("centre: {txid} commits"));
            }
            _ => self.write_at_centre(world, txid),
        }
    }

    /// A transaction of one statement.
    fn at_centre(&mut self, world: &mut World, statement: impl FnOnce(&mut Self, &mut World, i64)) {
        let txid = world.centre.begin();
        statement(self, world, txid);
        let now_ms = world.network.now_ms;
        world.centre.commit(txid, &mut world.journal, now_ms);
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// A statement that a plain client might run.
    fn statement(&mut self, world: &mut World) -> String {
        let table = WRITTEN[world.network.below(WRITTEN.len())];
        let old = id_of(table, world.network.below(ROWS));
        let new = unused(&world.centre, table, old);
        // Whoever has not heard of a death may write what is long forgotten, but nobody makes it anew.
        let id = if world.network.below(2) == 0 { old } else { new };
        let number = self.number();
        match world.network.below(20) {
            0..3 => self.insert(world, "insert", table, new),
            3 => self.insert(world, "insert or replace", table, new),
            4 => self.insert(world, "insert or ignore", table, new),
            5 => {
                let name = name_of(table);
                let insert = self.insert(world, "insert", table, new);
                format!("{insert} on conflict (id) do update set {name} = 'w{number} upserted'")
            }
            6..8 => format!("delete from {table} where id = '{id}'"),
            8 => {
                let other = unused(&world.centre, table, id_of(table, world.network.below(ROWS)));
                format!("update or replace {table} set id = '{other}' where id = '{id}'")
            }
            9 => format!("update {table} set {} = 'w{number} ' || id", name_of(table)),
            10..13 => {
                let key = KEYS[world.network.below(KEYS.len())];
                format!(
                    "update {table} set metadata = json_set(metadata, '$.\"{key}\"', 'w{number}') where id = '{id}'"
                )
            }
            13 => {
                let key = KEYS[world.network.below(KEYS.len())];
                format!("update {table} set metadata = json_remove(metadata, '$.\"{key}\"') where id = '{id}'")
            }
            14 => format!("update {table} set id = id, {0} = {0} where id = '{id}'", name_of(table)),
            _ => {
                let set = self.assignment(world, table, number);
                format!("update {table} set {set} where id = '{id}'")
            }
        }
    }

    fn insert(&mut self, world: &mut World, verb: &str, table: &str, id: Uuid) -> String {
        let number = self.number();
        let key = KEYS[world.network.below(KEYS.len())];
        let metadata = format!("json_object('{key}', 'w{number}')");
        match table {
            "sites" => format!("{verb} into sites (id, name, metadata) values ('{id}', 'w{number}', {metadata})"),
            "devices" => {
                let site = id_of("sites", world.network.below(ROWS));
                format!(
                    "{verb} into devices (id, site_id, name, type, metadata) values ('{id}', '{site}', 'w{number}', 'meter', {metadata})"
                )
            }
            _ => format!("{verb} into tasks (id, title, metadata) values ('{id}', 'w{number}', {metadata})"),
        }
    }

    fn assignment(&mut self, world: &mut World, table: &str, number: u64) -> String {
        let name = if world.network.chance(60) { format!("poison {number}") } else { format!("w{number}") };
        let name = format!("{} = '{name}'", name_of(table));
        let time = self.timestamp();
        match (table, world.network.below(5)) {
            ("sites", 0) => format!("latitude = {number} / 16.7, longitude = {number} / 7.3"),
            ("sites", 1) => format!("longitude = {number} / 7.1"),
            ("sites", 2) => format!("address = 'w{number}', {name}"),
            ("devices", 0) => format!("serial_number = 'w{number}'"),
            ("devices", 1) => "serial_number = null".to_owned(),
            ("tasks", 0) => format!("status = 'done', completed_at = '{time}'"),
            ("tasks", 1) => format!("due_date = '{time}', description = 'w{number}'"),
            ("tasks", 2) => format!("completed_at = '{time}'"),
            ("tasks", 3) => {
                let (column, parent) =
                    [("device_id", "devices"), ("site_id", "sites"), ("user_id", "users")][world.network.below(3)];
                format!("{column} = '{}'", id_of(parent, world.network.below(ROWS)))
            }
            _ => name,
        }
    }

    /// A time that no other write has.
    fn timestamp(&mut self) -> String {
        let number = self.number();
        format!("2030-01-01T00:{:02}:{:02}.{:06}Z", number / 60 % 60, number % 60, number)
    }

    fn write_at_centre(&mut self, world: &mut World, txid: i64) {
        let table = WRITTEN[world.network.below(WRITTEN.len())];
        let id = unused(&world.centre, table, id_of(table, world.network.below(ROWS)));
        let catalog = catalog::by_name(table).expect("a known table");
        let key = (catalog.id, RowId(id));
        let row = world.centre.row_in(txid, key).filter(|row| row.version.is_alive()).cloned();
        let Some(row) = row else { return self.centre_insert(world, txid, table, id) };
        let has_key = |key: &str| row.values.contains_key(&format!("metadata.{key}"));
        let present: Vec<&str> = KEYS.into_iter().filter(|key| has_key(key)).collect();
        let now_ms = world.network.now_ms;
        if world.network.below(5) == 0 {
            let made = world.centre.delete_in(txid, key, now_ms);
            return world.note(format!("centre: {txid} deletes {table} {id}: {made}"));
        }
        let number = self.number();
        let mut changes: Changes = Changes::new();
        match world.network.below(7) {
            0 => {
                let key = KEYS[world.network.below(KEYS.len())];
                changes.insert(format!("metadata.{key}"), Some(Value::Json(format!("\"w{number}\""))));
            }
            1 if !present.is_empty() => {
                let key = present[world.network.below(present.len())];
                changes.insert(format!("metadata.{key}"), None);
            }
            2 if table == "tasks" => {
                let done = Value::Group(vec![Value::text("done"), Value::Text(self.timestamp())]);
                changes.insert("status".to_owned(), Some(done));
            }
            3 if table == "tasks" => {
                let (column, parent) =
                    [("device_id", "devices"), ("site_id", "sites"), ("user_id", "users")][world.network.below(3)];
                let parent = id_of(parent, world.network.below(ROWS));
                changes.insert(column.to_owned(), Some(Value::text(parent.to_string())));
            }
            _ => {
                changes.insert(name_of(table).to_owned(), Some(Value::Text(format!("w{number} of the centre"))));
            }
        }
        changes.insert("updated_at".to_owned(), Some(Value::Text(self.timestamp())));
        let made = world.centre.write_in(txid, key, &changes, now_ms);
        world.note(format!("centre: {txid} writes {table} {id} {changes:?}: {made}"));
    }

    fn centre_insert(&mut self, world: &mut World, txid: i64, table: &'static str, id: Uuid) {
        let catalog = catalog::by_name(table).expect("a known table");
        let mut values = self.whole_row(catalog);
        if table == "devices" {
            let site = id_of("sites", world.network.below(2));
            values.insert("site_id".to_owned(), Some(Value::text(site.to_string())));
        }
        if table == "user_tenant_associations" {
            let user = id_of("users", world.network.below(ROWS));
            values.insert("user_id".to_owned(), Some(Value::text(user.to_string())));
        }
        let now_ms = world.network.now_ms;
        let made = world.centre.write_in(txid, (catalog.id, RowId(id)), &values, now_ms);
        world.note(format!("centre: {txid} inserts {table} {id}: {made}"));
    }

    /// A row of a table that only the centre writes comes or goes.
    fn centre_row_of_its_own(&mut self, world: &mut World, table: &'static str, row: usize) {
        let catalog = catalog::by_name(table).expect("a known table");
        let id = if table == "tenants" { TENANT } else { unused(&world.centre, table, id_of(table, row)) };
        let lives = world.centre.living(catalog.id, RowId(id)).is_some();
        self.at_centre(world, |schedule, world, txid| {
            if lives && world.network.below(2) == 0 {
                let now_ms = world.network.now_ms;
                world.centre.delete_in(txid, (catalog.id, RowId(id)), now_ms);
                world.note(format!("centre: {txid} deletes {table} {id}"));
            } else {
                schedule.centre_insert(world, txid, table, id);
            }
        });
    }

    fn whole_row(&mut self, table: &'static Table) -> Changes {
        let mut values = BTreeMap::new();
        for register in table.registers() {
            let members: Vec<Value> = table.columns_of(register).map(|column| self.value(column)).collect();
            let value = if members.len() == 1 { members[0].clone() } else { Value::Group(members) };
            values.insert(register.to_owned(), Some(value));
        }
        if table.column("metadata").is_some() {
            let number = self.number();
            values.insert(format!("metadata.{}", KEYS[0]), Some(Value::Json(format!("\"w{number}\""))));
        }
        values
    }

    fn value(&mut self, column: &catalog::Column) -> Value {
        let number = self.number();
        match (column.name, column.kind) {
            ("tenant_id", _) => Value::text(TENANT.to_string()),
            (_, _) if column.nullable => Value::Null,
            (_, catalog::Kind::Uuid) => Value::text(Uuid::from_u128(u128::from(number)).to_string()),
            (_, catalog::Kind::Text) => Value::Text(format!("w{number} of the centre")),
            (_, catalog::Kind::Enum(_, labels)) => Value::text(labels[0]),
            (_, catalog::Kind::Timestamp) => Value::Text(self.timestamp()),
            (_, catalog::Kind::Real) => Value::Real(1.5),
            (_, catalog::Kind::Json) => Value::text("{}"),
        }
    }
}

/// Sees to it that the centre has a row, with what it needs itself; a user is made a member.
pub fn provide(centre: &mut Centre, journal: &mut Journal, table: &'static str, id: Uuid, now_ms: u64) {
    let mut schedule = Schedule { numbers: 100_000 + now_ms % 800_000, theme: Theme::of(0), away: None };
    let catalog = catalog::by_name(table).expect("a known table");
    if centre.living(catalog.id, RowId(id)).is_none() {
        let mut values = schedule.whole_row(catalog);
        if table == "devices" {
            let site = id_of("sites", 0);
            provide(centre, journal, "sites", site, now_ms);
            values.insert("site_id".to_owned(), Some(Value::text(site.to_string())));
        }
        centre.alone(journal, now_ms, |centre, txid| centre.write_in(txid, (catalog.id, RowId(id)), &values, now_ms));
    }
    if table == "users" {
        let membership = catalog::by_name("user_tenant_associations").expect("a known table");
        let own = RowId(Uuid::from_u128(0x1900 + id.as_u128()));
        if centre.living(membership.id, own).is_none() {
            let mut values = schedule.whole_row(membership);
            values.insert("user_id".to_owned(), Some(Value::text(id.to_string())));
            centre.alone(journal, now_ms, |centre, txid| centre.write_in(txid, (membership.id, own), &values, now_ms));
        }
    }
}

/// A clock's error: mostly small, sometimes an hour, sometimes a battery that died, sometimes the year 2099.
fn skew(world: &mut World) -> i64 {
    let year_ms = 365 * 24 * 3_600_000_i64;
    match world.network.below(10) {
        0 => 73 * year_ms,
        1 => 10_000 - i64::try_from(BEGIN_MS).expect("a time fits"),
        2 => 3_600_000,
        3 => -3_600_000,
        _ => i64::try_from(world.network.below(6_000)).expect("a small number") - 3_000,
    }
}

fn decide(world: &mut World, site: usize) {
    let status = if world.network.below(2) == 0 { Status::Dismissed } else { Status::Restored };
    if world.network.below(3) == 0 {
        let ids: Vec<Uuid> = world.centre.database.conflicts.keys().copied().collect();
        if !ids.is_empty() {
            let id = ids[world.network.below(ids.len())];
            world.centre.decide(id, status);
            world.note(format!("centre: decides {id} {status:?}"));
        }
        return;
    }
    let ids: Vec<Uuid> = world.nodes[site].site.conflicts().iter().map(sync::merge::conflict::Conflict::id).collect();
    if !ids.is_empty() {
        let id = ids[world.network.below(ids.len())];
        world.nodes[site].site.decide(id, status);
        world.nodes[site].session.handle_written();
        world.note(format!("site {site}: decides {id} {status:?}"));
        world.drive(site);
    }
}

fn discard(world: &mut World, site: usize) {
    let node = &mut world.nodes[site];
    let random = &mut world.network.random;
    let pick = |count: usize| rand::Rng::random_range(random, 0..count);
    if node.site.discard(pick) {
        node.session.handle_written();
        world.note(format!("site {site}: gives a refused row up"));
        world.drive(site);
    }
}

fn id_of(table: &str, row: usize) -> Uuid {
    let base: u128 = match table {
        "users" => 0x1000,
        "user_tenant_associations" => 0x1800,
        "sites" => 0x2000,
        "devices" => 0x3000,
        _ => 0x4000,
    };
    Uuid::from_u128(base + u128::try_from(row).expect("a small number"))
}

/// The id, or one in its place if the death of its row was forgotten at the centre.
fn unused(centre: &Centre, table: &str, id: Uuid) -> Uuid {
    let table = catalog::by_name(table).expect("a known table").id;
    let others = (0..).map(|times: u128| Uuid::from_u128(id.as_u128() + times * 0x100));
    let mut free = others.filter(|id| !centre.forgotten.contains(&(table, RowId(*id))));
    free.next().expect("there is always another")
}

fn name_of(table: &str) -> &'static str {
    if table == "tasks" { "title" } else { "name" }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Text(text) | Value::Json(text) => text.clone(),
        Value::Real(real) => format!("{real:?}"),
        Value::Group(members) => members.iter().map(text).collect::<Vec<_>>().join("|"),
    }
}

/// A register's text, as the journal has it.
pub fn register_text(value: Option<&Value>) -> Text {
    value.map(text)
}
