//! The floors: what physics demands, and nothing else.

use std::fmt::Write as _;
use std::path::Path;
use std::pin::pin;

use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::StreamExt as _;
use rusqlite::Connection;
use tokio_postgres::Client;
use tokio_postgres::binary_copy::{BinaryCopyInWriter, BinaryCopyOutRow, BinaryCopyOutStream};
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

/// A task's columns, as both sides name them.
const COLUMNS: &str = "id, tenant_id, user_id, site_id, device_id, title, description, status, priority, due_date,
  completed_at, metadata, created_at, updated_at";

const TYPES: [Type; 14] = [
    Type::UUID,
    Type::UUID,
    Type::UUID,
    Type::UUID,
    Type::UUID,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TIMESTAMPTZ,
    Type::TIMESTAMPTZ,
    Type::TEXT,
    Type::TIMESTAMPTZ,
    Type::TIMESTAMPTZ,
];

/// A file with the mirror's columns of tasks, without constraints, triggers or versions, as durable as the mirror.
pub(crate) fn file(path: &Path) -> Connection {
    let file = Connection::open(path).expect("a file opens");
    let schema = "pragma journal_mode = wal; pragma synchronous = full;
      create table tasks (
        id text not null primary key, tenant_id text, user_id text, site_id text, device_id text, title text not null,
        description text, status text not null, priority text not null, due_date text, completed_at text,
        metadata text not null, created_at text not null, updated_at text not null
      )";
    file.execute_batch(schema).expect("an empty file takes it");
    file
}

/// The columns with what has no type of its own at a box as text.
fn as_text() -> String {
    let words = COLUMNS.replace("status, priority", "status::text as status, priority::text as priority");
    words.replace("metadata", "metadata::text as metadata")
}

/// The tenant's tasks that `which` selects, by COPY in the order of their ids into the file, in one transaction; how many.
pub(crate) async fn down(centre: &Client, file: &mut Connection, from: &str, which: &str) -> usize {
    let columns = as_text();
    let statement = format!("copy (select {columns} from {from} where {which} order by id) to stdout (format binary)");
    let stream = centre.copy_out(&statement).await.expect("COPY can begin");
    let mut rows = pin!(BinaryCopyOutStream::new(stream, &TYPES));
    let tx = file.transaction().expect("nobody else writes");
    let mut count = 0;
    {
        let marks = vec!["?"; TYPES.len()].join(", ");
        let insert = format!("insert or replace into tasks ({COLUMNS}) values ({marks})");
        let mut insert = tx.prepare(&insert).expect("the table has these columns");
        while let Some(row) = rows.next().await {
            write_row(&mut insert, &row.expect("the centre sends whole rows"));
            count += 1;
        }
    }
    tx.commit().expect("the disk takes it");
    count
}

fn write_row(insert: &mut rusqlite::Statement<'_>, row: &BinaryCopyOutRow) {
    let mut buffer = Uuid::encode_buffer();
    for (place, kind) in TYPES.iter().enumerate() {
        let parameter = place + 1;
        match *kind {
            Type::UUID => {
                let id: Option<Uuid> = row.get(place);
                let text = id.as_ref().map(|id| &*id.hyphenated().encode_lower(&mut buffer));
                insert.raw_bind_parameter(parameter, text)
            }
            Type::TIMESTAMPTZ => {
                let at: Option<DateTime<Utc>> = row.get(place);
                let text = at.map(|at| at.to_rfc3339_opts(SecondsFormat::Micros, true));
                insert.raw_bind_parameter(parameter, text)
            }
            _ => insert.raw_bind_parameter(parameter, row.get::<Option<&str>>(place)),
        }
        .expect("a value binds");
    }
    insert.raw_execute().expect("the file takes it");
}

/// Rows of the file by COPY into a table of the centre, and deletes, in one transaction: an upsert and a delete for all.
pub(crate) async fn up(file: &Connection, centre: &mut Client, into: &str, which: &str, deleted: &[Uuid]) {
    let tx = centre.transaction().await.expect("the centre takes one");
    let as_text = as_text();
    let table = format!("create temp table incoming on commit drop as select {as_text} from {into} with no data");
    tx.batch_execute(&table).await.expect("a temporary table");
    let statement = format!("copy incoming ({COLUMNS}) from stdin (format binary)");
    let sink = tx.copy_in(&statement).await.expect("COPY can begin");
    {
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &TYPES));
        let mut select = file.prepare(&format!("select {COLUMNS} from tasks where {which}")).expect("a table");
        let mut rows = select.query([]).expect("a query");
        while let Some(row) = rows.next().expect("the file is read") {
            let text = |place: usize| row.get::<_, Option<String>>(place).expect("text");
            let id = |place: usize| text(place).map(|id| id.parse::<Uuid>().expect("an id"));
            let at = |place: usize| text(place).map(|at| at.parse::<DateTime<Utc>>().expect("a timestamp"));
            let (title, description, status, priority, metadata) = (text(5), text(6), text(7), text(8), text(11));
            let values: [&(dyn ToSql + Sync); 14] = [
                &id(0),
                &id(1),
                &id(2),
                &id(3),
                &id(4),
                &title,
                &description,
                &status,
                &priority,
                &at(9),
                &at(10),
                &metadata,
                &at(12),
                &at(13),
            ];
            writer.as_mut().write(&values).await.expect("the centre takes it");
        }
        writer.finish().await.expect("the centre takes all of it");
    }
    let mut set = String::new();
    for column in COLUMNS.split(',').map(str::trim).filter(|column| *column != "id") {
        write!(set, "{}{column} = excluded.{column}", if set.is_empty() { "" } else { ", " }).expect("memory");
    }
    let words = COLUMNS.replace("status, priority", "status::task_status, priority::task_priority");
    let typed = words.replace("metadata", "metadata::jsonb");
    let upsert =
        format!("insert into {into} ({COLUMNS}) select {typed} from incoming on conflict (id) do update set {set}");
    tx.execute(&upsert, &[]).await.expect("the rows fit");
    tx.execute(&format!("delete from {into} where id = any($1)"), &[&deleted]).await.expect("rows can go");
    tx.commit().await.expect("the disk takes it");
}

/// A row by NOTIFY: whoever listens copies it and commits it to the file. Returns when the file has it.
pub(crate) async fn one_down(centre: &Client, file: &mut Connection, from: &str, id: Uuid) {
    let copied = down(centre, file, from, &format!("id = '{id}'")).await;
    assert_eq!(copied, 1, "the row is there");
}

/// A table of the centre with the same columns and keys as tasks and no triggers of ours, with the same rows.
pub(crate) async fn bare_tasks(centre: &Client, name: &str) {
    let statement = format!(
        "drop table if exists {name}; create table {name} (like tasks including defaults including constraints including indexes);
         insert into {name} select * from tasks; vacuum analyze {name}"
    );
    for part in statement.split(';') {
        centre.batch_execute(part).await.unwrap_or_else(|error| panic!("{part}: {error:?}"));
    }
}
