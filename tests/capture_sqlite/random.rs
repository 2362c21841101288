//! Small random scripts against a model that is too simple to be wrong: a map of rows, a map of versions.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tests::mirror::{CLIENTS, Mirror};

const SEEDS: u64 = 60;
const STATEMENTS: usize = 14;
const IDS: [char; 4] = ['a', 'b', 'm', 'n'];

#[test]
fn random_scripts_leave_the_versions_of_the_model() {
    for seed in 0..SEEDS {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut model = Model::new();
        let script: String = (0..STATEMENTS).map(|_| model.step(&mut random)).collect();
        for client in CLIENTS {
            let mirror = Mirror::new();
            mirror.run(client, &script);
            assert_eq!(mirror.pending(), model.pending(), "seed {seed}, {client:?}: {script}");
        }
    }
}

/// Values by register, `metadata.k` only when the key is there.
type Values = BTreeMap<&'static str, String>;

#[derive(Clone, Default)]
struct Version {
    base: Option<u64>,
    local: u64,
    dots: BTreeMap<String, (u64, u64)>,
    gone: Option<u64>,
}

struct Model {
    seq: u64,
    clock: u64,
    rows: BTreeMap<char, Values>,
    versions: BTreeMap<char, Version>,
}

const OLD: &str = "2026-01-01T00:00:00.000000Z";

impl Model {
    /// The tasks of the fixture.
    fn new() -> Self {
        let row = |id: char| {
            let mut values = values(&id.to_ascii_uppercase().to_string(), "open", None, OLD);
            if id == 'a' {
                let more =
                    [("user_id", "u"), ("site_id", "s"), ("device_id", "d"), ("metadata.k", "1"), ("metadata.n", "n")];
                values.extend(more.map(|(register, value)| (register, value.to_owned())));
            }
            values
        };
        let version =
            |seq| Version { base: Some(seq), dots: [("*".to_owned(), (1, seq))].into(), ..Version::default() };
        Self {
            seq: 0,
            clock: 0,
            rows: [('a', row('a')), ('b', row('b'))].into(),
            versions: [('a', version(3)), ('b', version(4))].into(),
        }
    }

    /// One random statement, carried out here and returned as SQL.
    fn step(&mut self, random: &mut SmallRng) -> String {
        let id = IDS[random.random_range(0..IDS.len())];
        let other = IDS[random.random_range(0..IDS.len())];
        let title = ["x", "y"][random.random_range(0..2)];
        let status = ["open", "done"][random.random_range(0..2)];
        let key = [None, Some("1"), Some("2")][random.random_range(0..3)];
        self.clock += random.random_range(0..2);
        let at = format!("2026-03-01T00:00:00.{:06}Z", self.clock);
        let new = values(title, status, key, &at);
        let json = key.map_or_else(|| "{}".to_owned(), |key| format!("{{\"k\":{key}}}"));
        let into = format!(
            "into tasks (id, title, status, metadata, created_at, updated_at) values ('${id}', '{title}', '{status}', '{json}', '{OLD}', '{at}')"
        );
        match random.random_range(0..9) {
            0 => {
                self.insert(id, new, false);
                format!("insert {into};\n")
            }
            1 => {
                self.insert(id, new, false);
                format!("insert or ignore {into};\n")
            }
            2 | 3 => {
                self.insert(id, new, true);
                format!("insert or replace {into};\n")
            }
            4 => {
                if self.rows.contains_key(&id) {
                    self.set(id, [("title", title.to_owned()), ("updated_at", at)]);
                } else {
                    self.insert(id, new, false);
                }
                format!(
                    "insert {into} on conflict (id) do update set title = excluded.title, updated_at = excluded.updated_at;\n"
                )
            }
            5 => {
                self.set(id, [("title", title.to_owned()), ("updated_at", at.clone())]);
                format!("update or ignore tasks set title = '{title}', updated_at = '{at}' where id = '${id}';\n")
            }
            6 => {
                self.set(id, [("status", status.to_owned()), ("updated_at", at.clone())]);
                format!("update tasks set status = '{status}', updated_at = '{at}' where id = '${id}';\n")
            }
            7 => {
                self.delete(id);
                format!("delete from tasks where id = '${id}';\n")
            }
            _ => {
                self.rekey(id, other, at.clone());
                format!("update or replace tasks set id = '${other}', updated_at = '{at}' where id = '${id}';\n")
            }
        }
    }

    fn insert(&mut self, id: char, new: Values, replace: bool) {
        if self.rows.contains_key(&id) {
            if replace {
                self.overwrite(id, new, false);
            }
            return;
        }
        self.seq += 1;
        let version = self.versions.entry(id).or_insert_with(|| Version { base: None, ..Version::default() });
        version.local = self.seq;
        version.dots.retain(|register, _| register == "-");
        version.dots.insert("*".to_owned(), (5, self.seq));
        self.rows.insert(id, new);
    }

    fn set<const N: usize>(&mut self, id: char, changes: [(&'static str, String); N]) {
        let Some(mut row) = self.rows.get(&id).cloned() else { return };
        // A statement that changes something but not `updated_at` moves it to a time that no other statement sets.
        let moves = changes.iter().any(|(register, value)| row[register] != *value)
            && changes.iter().all(|(register, value)| *register != "updated_at" || row[register] == *value);
        row.extend(changes);
        if moves {
            self.seq_as_time(&mut row);
        }
        self.overwrite(id, row, false);
    }

    fn seq_as_time(&self, row: &mut Values) {
        row.insert("updated_at", format!("moved at {}", self.seq));
    }

    fn overwrite(&mut self, id: char, new: Values, always: bool) {
        let old = self.rows.insert(id, new.clone()).unwrap();
        let mut changed: Vec<&str> =
            old.keys().chain(new.keys()).copied().filter(|register| old.get(register) != new.get(register)).collect();
        if always {
            changed.push("updated_at");
        }
        if changed.is_empty() {
            return;
        }
        self.seq += 1;
        let version = self.versions.get_mut(&id).unwrap();
        version.local = self.seq;
        version.dots.extend(changed.into_iter().map(|register| (register.to_owned(), (5, self.seq))));
    }

    fn delete(&mut self, id: char) {
        if self.rows.remove(&id).is_some() {
            self.seq += 1;
            let version = self.versions.get_mut(&id).unwrap();
            version.local = self.seq;
            version.gone = Some(self.seq);
            version.dots.insert("-".to_owned(), (5, self.seq));
        }
    }

    fn rekey(&mut self, from: char, to: char, at: String) {
        let Some(mut row) = self.rows.get(&from).cloned() else { return };
        if from == to {
            return self.set(from, [("updated_at", at)]);
        }
        if row.insert("updated_at", at.clone()).as_deref() == Some(&at) {
            self.seq_as_time(&mut row);
        }
        self.delete(from);
        if self.rows.contains_key(&to) {
            self.overwrite(to, row, true);
        } else {
            self.insert(to, row, false);
        }
    }

    fn pending(&self) -> String {
        let mut lines = String::new();
        for (id, version) in self.versions.iter().filter(|(_, version)| version.local > 0) {
            let base = version.base.map(|seq| format!("1.{seq}")).unwrap_or_default();
            let vector = |seq: u64| format!("{base} 5.{seq}").trim().to_owned();
            let mut groups: BTreeMap<(u64, u64), Vec<&str>> = BTreeMap::new();
            for (register, dot) in &version.dots {
                groups.entry(*dot).or_default().push(register);
            }
            let dots: Vec<String> = groups
                .iter()
                .map(|((replica, seq), registers)| format!("{replica}.{seq} {}", registers.join(", ")))
                .collect();
            write!(lines, "tasks {id}: {{{}}} {}", vector(version.local), dots.join("; ")).unwrap();
            if let Some(gone) = version.gone {
                let dead = if self.rows.contains_key(id) { "" } else { ", dead" };
                write!(lines, "; gone {{{}}}{dead}", vector(gone)).unwrap();
            }
            writeln!(lines, "; base {{{base}}}").unwrap();
        }
        lines
    }
}

fn values(title: &str, status: &str, key: Option<&str>, at: &str) -> Values {
    let mut values: Values =
        [("title", title.to_owned()), ("status", status.to_owned()), ("updated_at", at.to_owned())].into();
    values.extend(key.map(|key| ("metadata.k", key.to_owned())));
    values
}
