//! What takes bytes from outside, as functions of bytes: nothing panics on them, and what is believed holds together.
//!
//! `tests/fuzz` runs these under a coverage-guided fuzzer; `tests/hostile_bytes.rs` replays what was found before, and random
//! variations of it.

use std::cell::OnceCell;
use std::fs;
use std::sync::OnceLock;

use edge::config::Settings as EdgeSettings;
use edge::data_dir::DataDir;
use rusqlite::backup::Backup;
use rusqlite::{Connection, params};
use sync::catalog::{self, Direction, TABLES};
use sync::hub::config::Settings as HubSettings;
use sync::merge::clock::Hlc;
use sync::merge::ids::{ReplicaId, RowId};
use sync::merge::plan::{Push, PushPlan, clamp, plan_push};
use sync::merge::version::{Row, Version};
use sync::pg::cursor::{self, Cursor};
use sync::sqlite::{apply, outbox, receipts};
use sync::wire::frames::{PushBody, read_answer, read_digest, read_page, read_push};
use sync::wire::message::{Fence, Hello};
use sync::wire::{canonical, conflict, convert, stream, version};
use uuid::Uuid;

use crate::scratch::Scratch;
use crate::site::{Blank, Site};
use crate::world::{BEGIN_MS, TENANT};

/// A target's name and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 8] = [
    ("push", push),
    ("pull", pull),
    ("answer", answer),
    ("cursor", open_cursor),
    ("version", versions),
    ("canonical", canonical_text),
    ("configuration", configuration),
    ("backup", backup),
];

const EDGE: ReplicaId = ReplicaId(2);
const ROW: Uuid = Uuid::from_u128(0xb001);
/// The first bytes of a compressed body (RFC 8878 section 3.1.1).
const COMPRESSED: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A body as it stands, or compressed when it is text: most of what can go wrong lies behind the compression.
fn body(bytes: &[u8]) -> Vec<u8> {
    if bytes.starts_with(&COMPRESSED) {
        return bytes.to_vec();
    }
    zstd::encode_all(bytes, 1).expect("memory takes everything")
}

/// The hub: a push is read, and each of its rows is merged into what is known of it.
pub fn push(bytes: &[u8]) {
    let body = body(bytes);
    drop(stream::read_one::<Hello>(&body));
    let Ok(push) = read_push(&body) else { return };
    let PushBody { rows, conflicts, .. } = push;
    for text in &conflicts {
        drop(conflict::parse(text));
    }
    let mut known: Option<Row> = None;
    for row in rows {
        let Some(table) = catalog::by_name(&row.table) else { continue };
        let Ok(values) = convert::values(table, &row.values) else { continue };
        let mut version = Version { vv: row.vv.0, gone: row.gone.0, dots: row.dots.0 };
        let none = Version::default();
        clamp(&mut version, known.as_ref().map_or(&none, |row| &row.version), &[EDGE], Hlc::ceiling(BEGIN_MS));
        let incoming = Push { version, base: row.base.0, values, needed: table.needed() };
        let plan = plan_push(table.id, RowId(row.id), known.as_ref(), &incoming, &[EDGE], &table.quiet());
        if let PushPlan::Store { row, .. } = plan {
            assert!(row.version.vv.includes(&incoming.version.vv), "a stored push is known afterwards");
            let again = plan_push(table.id, RowId(Uuid::nil()), Some(&row), &incoming, &[EDGE], &table.quiet());
            assert_eq!(again, PushPlan::Known, "a push that is sent again changes nothing");
            known = Some(row);
        }
    }
}

/// An edge that holds a row with an unsent edit, and a batch in flight.
fn edge() -> Connection {
    thread_local! {
        static MADE: OnceCell<Connection> = const { OnceCell::new() };
    }
    MADE.with(|made| {
        let original = made.get_or_init(|| {
            let mut site = Site::new(&Blank::new(), 0, EDGE, TENANT, Fence { count: 0, token: "token".to_owned() });
            site.set_clock(i64::try_from(BEGIN_MS).expect("a time fits"));
            let tenant =
                "update sync_self set applying = 1; insert into tenants (id, name, slug) values (?, 'T', 't');";
            let tenant = tenant.replace('?', &format!("'{TENANT}'"));
            site.connection.execute_batch(&(tenant + "update sync_self set applying = 0;")).expect("a tenant");
            let insert = "insert into tasks (id, tenant_id, title) values (?, ?, 'unsent')";
            let ids = params![ROW.to_string(), TENANT.to_string()];
            site.connection.execute(insert, ids).expect("a task");
            outbox::prepare(&mut site.connection, Uuid::from_u128(7), BEGIN_MS)
                .expect("a batch")
                .expect("a task waits");
            site.connection.execute("update tasks set title = 'unsent again'", []).expect("an edit");
            site.connection
        });
        let mut copy = Connection::open_in_memory().expect("a database in memory opens");
        Backup::new(original, &mut copy).and_then(|backup| backup.step(-1)).expect("a copy in memory succeeds");
        copy
    })
}

/// Whatever was stored can be read again, and what waits can still be sent.
fn assert_sound(mut connection: Connection) {
    for table in TABLES.iter().filter(|table| table.direction == Direction::Both) {
        let orphans = format!(
            "select count(*) from {} where id not in (select row_id from sync_rows where tbl = {})",
            table.sqlite, table.id.0
        );
        let orphans: i64 = connection.query_row(&orphans, [], |row| row.get(0)).expect("a count");
        assert_eq!(orphans, 0, "a row of {} has no version", table.sqlite);
    }
    let stored: Vec<(String, String)> = {
        let mut statement = connection.prepare("select vv, dots from sync_rows").expect("a statement");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("a query");
        rows.collect::<rusqlite::Result<_>>().expect("versions are text")
    };
    for (vv, dots) in stored {
        version::parse_vector(&vv).expect("a stored vector can be read");
        version::parse_dots(&dots).expect("stored dots can be read");
    }
    outbox::prepare(&mut connection, Uuid::from_u128(8), BEGIN_MS).expect("what waits can still be sent");
}

/// The edge: a page is read and stored.
pub fn pull(bytes: &[u8]) {
    let body = body(bytes);
    drop(read_digest(&body));
    let Ok(page) = read_page(&body) else { return };
    let mut edge = edge();
    drop(apply::page(&mut edge, &page, BEGIN_MS));
    assert_sound(edge);
}

/// The edge: the answer to its batch is read and carried out.
pub fn answer(bytes: &[u8]) {
    let Ok(answer) = read_answer(&body(bytes)) else { return };
    let mut edge = edge();
    drop(receipts::acknowledge(&mut edge, &answer, BEGIN_MS));
    let title: String =
        edge.query_row("select title from tasks where id = ?", [ROW.to_string()], |row| row.get(0)).expect("the row");
    assert_eq!(title, "unsent again", "no answer undoes what was written after the batch");
    assert_sound(edge);
}

/// The hub: only the cursor that it gave opens.
pub fn open_cursor(bytes: &[u8]) {
    let (key, edge) = ([7; 32], Uuid::from_u128(1));
    let own = cursor::seal(&Cursor::default(), &key, edge, [1; cursor::NONCE_BYTES]).expect("a cursor can be sealed");
    let text = String::from_utf8_lossy(bytes);
    assert_eq!(cursor::open(&text, &key, edge).is_ok(), text == own, "{text}");
    // The same with each byte taken for a change of the true one.
    let mut changed = own.clone().into_bytes();
    for (place, byte) in bytes.iter().enumerate().take(changed.len()) {
        changed[place] ^= byte & 0x7f;
    }
    let changed = String::from_utf8_lossy(&changed).into_owned();
    assert_eq!(cursor::open(&changed, &key, edge).is_ok(), changed == own, "{changed}");
}

/// Version vectors and dots: what can be read is written the same way and read again.
pub fn versions(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(vector) = version::parse_vector(&text) {
        assert_eq!(version::parse_vector(&version::vector_text(&vector)), Ok(vector.clone()));
        assert_eq!(vector.join(&vector), vector);
    }
    if let Ok(dots) = version::parse_dots(&text) {
        assert_eq!(version::parse_dots(&version::dots_text(&dots)), Ok(dots));
    }
}

/// Values in their one form: to bring them to it once more changes nothing.
pub fn canonical_text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(json) = canonical::json(&text) {
        assert_eq!(canonical::json(&json).as_ref(), Ok(&json));
    }
    if let Ok(moment) = canonical::timestamp(&text) {
        assert_eq!(canonical::timestamp(&moment).as_ref(), Ok(&moment));
    }
    drop(canonical::json_members(&text));
}

/// Both programs: a file of settings is taken or refused in words.
pub fn configuration(bytes: &[u8]) {
    thread_local! {
        static DIRECTORY: Scratch = Scratch::new();
    }
    DIRECTORY.with(|directory| {
        let file = directory.path().join("settings.toml");
        fs::write(&file, bytes).expect("the scratch directory is there");
        if let Err(error) = edge::config::load(EdgeSettings::default(), Some(&file)) {
            assert!(!error.to_string().is_empty());
        }
        fs::write(directory.path().join(".env"), bytes).expect("the scratch directory is there");
        match HubSettings::gather([], [], directory.path(), Some(&file)) {
            Ok(settings) => drop(settings.config()),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
}

/// A backup of an edge that was never enrolled.
fn sound_backup() -> &'static [u8] {
    static MADE: OnceLock<Vec<u8>> = OnceLock::new();
    MADE.get_or_init(|| {
        let scratch = Scratch::new();
        let data = DataDir::new(scratch.path().join("data"));
        data.create().expect("the scratch directory is there");
        drop(sync::sqlite::open(&data.database()).expect("a new file can be made"));
        let file = scratch.path().join("backup");
        edge::backup::make(&data, &file, "2026-01-01T00:00:00.000000Z", None).expect("an edge can be backed up");
        fs::read(file).expect("the backup is there")
    })
}

/// The edge: a backup in which bytes were changed is restored or refused in words. The input is a list of changes: four bytes
/// for the place, one for what stands there then; what is left of it is the length in pages, if there is anything left.
pub fn backup(bytes: &[u8]) {
    let mut changed = sound_backup().to_vec();
    let changes = bytes.chunks_exact(5);
    if let [pages, ..] = changes.remainder() {
        changed.truncate(usize::from(*pages) * 4096);
    }
    for change in changes {
        let place = u32::from_be_bytes(change[..4].try_into().expect("four bytes"));
        let place = usize::try_from(place).unwrap_or_default() % changed.len().max(1);
        if let Some(byte) = changed.get_mut(place) {
            *byte = change[4];
        }
    }
    let scratch = Scratch::new();
    let file = scratch.path().join("backup");
    fs::write(&file, &changed).expect("the scratch directory is there");
    let data = DataDir::new(scratch.path().join("data"));
    match edge::backup::restore(&data, &file, None) {
        Ok(_) => {
            let store = sync::sqlite::open(&data.database()).expect("what was restored opens");
            let whole: String =
                store.connection().query_row("pragma integrity_check", [], |row| row.get(0)).expect("a check");
            assert_eq!(whole, "ok");
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!(!data.database().exists(), "what is refused leaves no database");
        }
    }
}

/// Whether a body is one of its target's, so that what is behind the decoder is reached.
pub fn is_read(target: &str, bytes: &[u8]) -> bool {
    let body = body(bytes);
    match target {
        "push" => read_push(&body).is_ok(),
        "pull" => read_page(&body).is_ok(),
        "answer" => read_answer(&body).is_ok(),
        _ => false,
    }
}
