//! What happens in a simulated run, drawn from its seed: who writes what, what breaks, and when.
//!
//! Every written value has a number of its own, so that a checker can tell whose it is.

use std::collections::BTreeMap;

use sync::catalog::{self, Kind, Table};
use sync::merge::conflict::Status;
use sync::merge::ids::RowId;
use sync::merge::value::{Register, Value};
use uuid::Uuid;

use crate::centre::{CENTRE, Temper};
use crate::journal::{Deed, Registers, Text, Write};
use crate::network::Weather;
use crate::site::{Blank, KEYS, WRITTEN};
use crate::world::{BEGIN_MS, Event, TENANT, World};

/// How many things happen in a run before everything is mended.
pub const STEPS: usize = 45;
/// Rows of each table that are written.
const ROWS: usize = 3;
/// The longest pause between two steps, in milliseconds.
const PAUSE_MS_MAX: usize = 4_000;

/// A run with a seed, up to the moment when everything is mended and the world is at rest.
pub fn run(seed: u64, blank: &Blank) -> World {
    let weather =
        Weather { request_lost_of_1000: 120, answer_lost_of_1000: 150, repeated_of_1000: 60, latency_ms_max: 700 };
    let temper = Temper { busy_of_1000: 60, refuses_poison: true };
    let sites = 2 + usize::try_from(seed % 2).expect("a bit");
    let mut world = World::new(seed, sites, weather, temper, blank);
    let mut schedule = Schedule { numbers: 0 };
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
}

impl Schedule {
    /// What the centre has before anybody connects.
    fn begin(&mut self, world: &mut World) {
        for table in ["tenants", "users"] {
            self.centre_row_of_its_own(world, table);
        }
        for (table, row) in [("sites", 0), ("sites", 1), ("devices", 0), ("tasks", 0), ("tasks", 1)] {
            self.centre_insert(world, table, id_of(table, row));
        }
        for site in 0..world.nodes.len() {
            world.nodes[site].skew_ms = skew(world);
            world.drive(site);
        }
        world.network.at(BEGIN_MS + 3_000, Event::Step);
    }

    fn step(&mut self, world: &mut World) {
        let site = world.network.below(world.nodes.len());
        match world.network.below(100) {
            0..52 => {
                let sql = self.statement(world);
                world.write_at(site, &sql);
            }
            52..72 => self.write_at_centre(world),
            72..75 => self.centre_row_of_its_own(world, "users"),
            75..82 => {
                world.nodes[site].link_up ^= true;
                let up = world.nodes[site].link_up;
                world.note(format!("site {site}: its link is up: {up}"));
            }
            82..88 => world.restart(site),
            88..91 => {
                world.nodes[site].skew_ms = skew(world);
                let skew_ms = world.nodes[site].skew_ms;
                world.note(format!("site {site}: its clock is {skew_ms} ms off"));
            }
            91..95 => decide(world, site),
            _ => {
                world.nodes[site].session.handle_sync_now();
                world.drive(site);
            }
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// A statement that a plain client might run.
    fn statement(&mut self, world: &mut World) -> String {
        let table = WRITTEN[world.network.below(WRITTEN.len())];
        let id = id_of(table, world.network.below(ROWS));
        let number = self.number();
        match world.network.below(20) {
            0..3 => self.insert(world, "insert", table, id),
            3 => self.insert(world, "insert or replace", table, id),
            4 => self.insert(world, "insert or ignore", table, id),
            5 => {
                let name = name_of(table);
                let insert = self.insert(world, "insert", table, id);
                format!("{insert} on conflict (id) do update set {name} = 'w{number} upserted'")
            }
            6..8 => format!("delete from {table} where id = '{id}'"),
            8 => {
                let other = id_of(table, world.network.below(ROWS));
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
        match (table, world.network.below(4)) {
            ("sites", 0) => format!("latitude = {number} / 16.7, longitude = {number} / 7.3"),
            ("sites", 1) => format!("longitude = {number} / 7.1"),
            ("sites", 2) => format!("address = 'w{number}', {name}"),
            ("devices", 0) => format!("serial_number = 'w{number}'"),
            ("devices", 1) => "serial_number = null".to_owned(),
            ("tasks", 0) => format!("status = 'done', completed_at = '{time}'"),
            ("tasks", 1) => format!("due_date = '{time}', description = 'w{number}'"),
            ("tasks", 2) => format!("completed_at = '{time}'"),
            _ => name,
        }
    }

    /// A time that no other write has.
    fn timestamp(&mut self) -> String {
        let number = self.number();
        format!("2030-01-01T00:{:02}:{:02}.{:06}Z", number / 60 % 60, number % 60, number)
    }

    fn write_at_centre(&mut self, world: &mut World) {
        let table = WRITTEN[world.network.below(WRITTEN.len())];
        let id = id_of(table, world.network.below(ROWS));
        let catalog = catalog::by_name(table).expect("a known table");
        let Some(row) = world.centre.living(catalog.id, RowId(id)) else {
            return self.centre_insert(world, table, id);
        };
        let has_key = |key: &str| row.values.contains_key(&format!("metadata.{key}"));
        let present: Vec<&str> = KEYS.into_iter().filter(|key| has_key(key)).collect();
        if world.network.below(5) == 0 {
            let name = (CENTRE, world.centre.delete(catalog.id, RowId(id), world.network.now_ms));
            return self.log(world, table, id, name, Deed::Deleted);
        }
        let number = self.number();
        let mut changes: BTreeMap<Register, Option<Value>> = BTreeMap::new();
        match world.network.below(6) {
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
            _ => {
                changes.insert(name_of(table).to_owned(), Some(Value::Text(format!("w{number} of the centre"))));
            }
        }
        changes.insert("updated_at".to_owned(), Some(Value::Text(self.timestamp())));
        self.centre_write(world, catalog, id, &changes, false);
    }

    fn centre_insert(&mut self, world: &mut World, table: &'static str, id: Uuid) {
        let catalog = catalog::by_name(table).expect("a known table");
        let values = self.whole_row(catalog);
        self.centre_write(world, catalog, id, &values, true);
    }

    /// A row of a table that only the centre writes.
    fn centre_row_of_its_own(&mut self, world: &mut World, table: &'static str) {
        let catalog = catalog::by_name(table).expect("a known table");
        let id = if table == "tenants" { TENANT } else { id_of(table, world.network.below(ROWS)) };
        let now_ms = world.network.now_ms;
        if table == "users" && world.network.below(4) == 0 && world.centre.living(catalog.id, RowId(id)).is_some() {
            world.centre.delete(catalog.id, RowId(id), now_ms);
        } else {
            let values = self.whole_row(catalog);
            world.centre.write(catalog.id, RowId(id), &values, now_ms);
        }
    }

    fn centre_write(
        &mut self,
        world: &mut World,
        table: &'static Table,
        id: Uuid,
        values: &BTreeMap<Register, Option<Value>>,
        whole: bool,
    ) {
        let name = (CENTRE, world.centre.write(table.id, RowId(id), values, world.network.now_ms));
        let none = KEYS.iter().map(|key| (format!("metadata.{key}"), None));
        let mut registers: Registers = if whole { none.collect() } else { Registers::new() };
        registers.extend(values.iter().map(|(register, value)| (register.clone(), value.as_ref().map(text))));
        self.log(world, table.name, id, name, Deed::Wrote(registers));
    }

    fn log(&mut self, world: &mut World, table: &'static str, id: Uuid, name: (u32, u64), deed: Deed) {
        let row = (table, id);
        world.note(format!("centre: {name:?} {row:?} {deed:?}"));
        let past = world.centre.knowledge.of(row);
        let place = world.journal.add(Write { row, name, deed, past });
        world.centre.knowledge.learn_one(row, place);
    }

    fn whole_row(&mut self, table: &'static Table) -> BTreeMap<Register, Option<Value>> {
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
            ("site_id", _) if !column.nullable => Value::text(id_of("sites", 0).to_string()),
            (_, _) if column.nullable => Value::Null,
            (_, Kind::Uuid) => Value::text(Uuid::from_u128(u128::from(number)).to_string()),
            (_, Kind::Text) => Value::Text(format!("w{number} of the centre")),
            (_, Kind::Enum(_, labels)) => Value::text(labels[0]),
            (_, Kind::Timestamp) => Value::Text(self.timestamp()),
            (_, Kind::Real) => Value::Real(1.5),
            (_, Kind::Json) => Value::text("{}"),
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
        let ids: Vec<Uuid> = world.centre.conflicts.keys().copied().collect();
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

fn id_of(table: &str, row: usize) -> Uuid {
    let base: u128 = match table {
        "users" => 0x1000,
        "sites" => 0x2000,
        "devices" => 0x3000,
        _ => 0x4000,
    };
    Uuid::from_u128(base + u128::try_from(row).expect("a small number"))
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
