//! Every kind of value that one side can hold and the other cannot, as a table: written by a plain client into an edge's
//! file, and with plain SQL at the centre. Only that row stops; what was written beside it flows; the reason is clear.

use sync::pg::dump;
use tests::dumps::differences;

use super::file::File;
use super::site::{ACME, ANN, BOB, Centre, ELSEWHERE, EVE, HEADQUARTERS, OTHER, WAREHOUSE, id};

/// What becomes of a row that is written at an edge.
#[derive(Clone, Copy, Debug)]
enum AtEdge {
    /// The file itself does not take it, and says why.
    File(&'static str),
    /// It is listed at the site and at the centre, with this code and reason.
    Listed(&'static str, &'static str),
    /// It goes its way.
    Flows,
    /// It cannot be written there.
    Impossible,
}
use AtEdge::{File as NotTaken, Flows, Impossible, Listed};

/// What becomes of a row that is written at the centre.
#[derive(Clone, Copy, Debug)]
enum AtCentre {
    /// The schema does not take it.
    Schema,
    /// It is listed at the centre with this reason and left out.
    Unsendable(&'static str),
    /// It goes its way.
    Sent,
}
use AtCentre::{Schema, Sent, Unsendable};

/// A kind: its name, the table and column, the value as SQL at the edge and at the centre, and what becomes of either.
type Kind = (&'static str, &'static str, (&'static str, AtEdge), (&'static str, AtCentre));

/// With these the file's own checks do not stand in the way, as for any client that turns them off.
const UNCHECKED: &str = "unchecked ";

const UNREADABLE: &str = "unreadable";
const DEEP: &str =
    "'{\"k\":' || replace(hex(zeroblob(100)), '00', '[') || replace(hex(zeroblob(100)), '00', ']') || '}'";
const DEEPER: &str =
    "'{\"k\":' || replace(hex(zeroblob(10000)), '00', '[') || replace(hex(zeroblob(10000)), '00', ']') || '}'";
const NOWHERE: &str = "'00000000-0000-4000-8000-000000000404'";

const KINDS: &[Kind] = &[
    // References.
    (
        "a site that is not there",
        "tasks.site_id",
        (NOWHERE, Listed("missing_reference", "its site is not known at headquarters")),
        (NOWHERE, Schema),
    ),
    (
        "a device that is not there",
        "tasks.device_id",
        (NOWHERE, Listed("missing_reference", "its device is not known")),
        (NOWHERE, Schema),
    ),
    (
        "a person who is not there",
        "tasks.user_id",
        (NOWHERE, Listed("missing_reference", "its assignee is not known")),
        (NOWHERE, Schema),
    ),
    (
        "another tenant's person",
        "tasks.user_id",
        ("'$eve'", Listed("missing_reference", "its assignee is not known")),
        ("'$eve'", Sent),
    ),
    (
        "another tenant's site",
        "tasks.site_id",
        ("'$else'", Listed("missing_reference", "its site is not known at headquarters")),
        ("'$else'", Schema),
    ),
    (
        "a device at another tenant's site",
        "devices.site_id",
        ("'$else'", Listed("missing_reference", "its site is not known at headquarters")),
        ("'$else'", Schema),
    ),
    (
        "a device nowhere",
        "devices.site_id",
        (NOWHERE, Listed("missing_reference", "its site is not known at headquarters")),
        (NOWHERE, Schema),
    ),
    (
        "a row of another tenant",
        "tasks.tenant_id",
        ("'$other'", NotTaken("not the tenant of this edge")),
        ("'$acme'", Sent),
    ),
    (
        "an id that is no uuid",
        "tasks.user_id",
        ("'somebody'", NotTaken("task_user_id_is_a_lowercase_uuid")),
        ("'somebody'", Schema),
    ),
    (
        "an id that is no uuid, unchecked",
        "tasks.user_id",
        ("unchecked 'somebody'", Listed("bad_value", "tasks.user_id: expected a uuid")),
        ("'somebody'", Schema),
    ),
    // Unique keys.
    (
        "a serial number of the centre",
        "devices.serial_number",
        ("'TAKEN'", Listed("serial_number_taken", "another device already has the serial number \"TAKEN\"")),
        ("'TAKEN'", Schema),
    ),
    (
        "a serial number of another site",
        "devices.serial_number",
        ("'BOTH'", Listed("serial_number_taken", "another device already has the serial number \"BOTH\"")),
        ("'BOTH'", Schema),
    ),
    // Checks and labels.
    ("a latitude beyond the pole", "sites.latitude", ("91", NotTaken("site_latitude_is_on_earth")), ("91", Schema)),
    (
        "a latitude beyond the pole, unchecked",
        "sites.latitude",
        ("unchecked 91", Listed("rule", "latitude is on earth")),
        ("91", Schema),
    ),
    (
        "a longitude beyond the date line",
        "sites.longitude",
        ("unchecked -181.5", Listed("rule", "longitude is on earth")),
        ("-181.5", Schema),
    ),
    (
        "an infinite number",
        "sites.latitude",
        ("unchecked 9e999", Listed(UNREADABLE, "sites.latitude: expected a finite number")),
        ("'infinity'", Schema),
    ),
    (
        "not a number",
        "sites.latitude",
        ("'NaN'", NotTaken("cannot store TEXT value in REAL column")),
        ("'NaN'", Schema),
    ),
    ("negative zero", "sites.latitude", ("-0.0", Flows), ("'-0'", Sent)),
    ("a number of 17 digits", "sites.latitude", ("0.1234567890123456789", Flows), ("0.1234567890123456789", Sent)),
    (
        "a time zone that nobody knows",
        "sites.timezone",
        ("'Mars/Olympus'", Listed("rule", "timezone is known")),
        ("'Mars/Olympus'", Schema),
    ),
    (
        "a label that nobody knows",
        "tasks.priority",
        ("'cosmic'", NotTaken("task_priority_is_known")),
        ("'cosmic'", Schema),
    ),
    (
        "a label that nobody knows, unchecked",
        "tasks.priority",
        ("unchecked 'cosmic'", Listed("bad_value", "cosmic")),
        ("'cosmic'", Schema),
    ),
    (
        "a kind of device that nobody knows",
        "devices.type",
        ("unchecked 'teapot'", Listed("bad_value", "teapot")),
        ("'teapot'", Schema),
    ),
    ("a missing value", "tasks.title", ("null", NotTaken("NOT NULL")), ("null", Schema)),
    (
        "a rule of another application",
        "tasks.title",
        ("'forbidden word'", Listed("refused", "no such word here")),
        ("'forbidden word'", Schema),
    ),
    (
        "a right that the hub lacks",
        "tasks.title",
        ("'secret'", Listed("not_permitted", "not for you")),
        ("'secret'", Schema),
    ),
    (
        "a row that a trigger swallows",
        "tasks.title",
        ("'swallowed'", Listed("refused", "keeps the task from being written")),
        ("'swallowed'", Sent),
    ),
    // Text.
    (
        "a number where text belongs",
        "tasks.title",
        ("cast('x' as blob)", NotTaken("cannot store BLOB value in TEXT column")),
        ("7::text", Sent),
    ),
    ("a NUL", "tasks.title", ("'a' || char(0) || 'b'", NotTaken("no text with a NUL")), ("'a' || chr(0)", Schema)),
    (
        "bytes that are no UTF-8",
        "tasks.title",
        ("cast(x'61ff62' as text)", NotTaken("none that is not UTF-8")),
        ("convert_from('\\x61ff62', 'UTF8')", Schema),
    ),
    (
        "bytes that are no UTF-8 and look like some",
        "tasks.title",
        ("cast(x'efbfbe61ff' as text)", Listed(UNREADABLE, "not UTF-8")),
        ("U&'\\FFFE'", Sent),
    ),
    (
        "half of a surrogate pair as bytes",
        "tasks.title",
        ("cast(x'eda080' as text)", NotTaken("none that is not UTF-8")),
        ("U&'\\D800'", Schema),
    ),
    ("text in every script", "tasks.title", ("'å∫ç 工 🛠 \u{202e}abc'", Flows), ("'å∫ç 工 🛠 \u{202e}abc'", Sent)),
    (
        "a text of 2 MB",
        "tasks.description",
        ("hex(zeroblob(1000000))", Listed(UNREADABLE, "a field of 2000000 bytes, 1048576 at most")),
        ("repeat('a', 2000000)", Unsendable("bytes, 1048576 at most")),
    ),
    ("a text of 1 MB", "tasks.description", ("hex(zeroblob(500000))", Flows), ("repeat('a', 1000000)", Sent)),
    (
        "a text of 1 MB of noise",
        "tasks.description",
        ("hex(randomblob(520000)) || hex(randomblob(4000))", Flows),
        ("repeat(md5('a'), 32000)", Sent),
    ),
    (
        "two fields of noise",
        "tasks.noise",
        ("hex(randomblob(524200))", Listed("too_large", "more than a push may carry")),
        ("repeat(md5('b'), 32000)", Sent),
    ),
    // JSON.
    ("JSON that is none", "tasks.metadata", ("'{'", NotTaken("task_metadata_is_an_object")), ("'{'", Schema)),
    (
        "JSON that is none, unchecked",
        "tasks.metadata",
        ("unchecked '{'", Listed(UNREADABLE, "tasks.metadata")),
        ("'{'", Schema),
    ),
    (
        "a list where an object belongs",
        "tasks.metadata",
        ("'[1]'", NotTaken("task_metadata_is_an_object")),
        ("'[1]'", Schema),
    ),
    (
        "NaN in JSON",
        "tasks.metadata",
        ("'{\"n\":NaN}'", NotTaken("task_metadata_is_an_object")),
        ("'{\"n\":NaN}'", Schema),
    ),
    (
        "half of a surrogate pair in JSON",
        "tasks.metadata",
        ("'{\"k\":\"\\ud800\"}'", Listed(UNREADABLE, "surrogate")),
        ("'{\"k\":\"\\ud800\"}'", Schema),
    ),
    (
        "a NUL in JSON",
        "tasks.metadata",
        ("'{\"k\":\"\\u0000\"}'", NotTaken("task_metadata_has_no_nul")),
        ("'{\"k\":\"\\u0000\"}'", Schema),
    ),
    (
        "a key twice",
        "tasks.metadata",
        ("'{\"k\":1,\"k\":2}'", Listed(UNREADABLE, "twice")),
        ("'{\"k\":1,\"k\":2}'", Sent),
    ),
    (
        "a key twice, deeper",
        "tasks.metadata",
        ("'{\"a\":{\"k\":1,\"k\":2}}'", Listed(UNREADABLE, "twice")),
        ("'{\"a\":{\"k\":1,\"k\":2}}'", Sent),
    ),
    (
        "a number beyond 64 bits",
        "tasks.metadata",
        ("'{\"n\":123456789012345678901234567890}'", Listed(UNREADABLE, "number")),
        ("'{\"n\":123456789012345678901234567890}'", Unsendable("number")),
    ),
    (
        "a number beyond a double",
        "tasks.metadata",
        ("'{\"n\":1e400}'", Listed(UNREADABLE, "number")),
        ("'{\"n\":1e400}'", Unsendable("number")),
    ),
    (
        "the largest number of 64 bits",
        "tasks.metadata",
        ("'{\"n\":9223372036854775807}'", Flows),
        ("'{\"n\":9223372036854775807}'", Sent),
    ),
    (
        "JSON of 100 levels",
        "tasks.metadata",
        (DEEP, Listed(UNREADABLE, "deeper than 64 levels")),
        ("('{\"k\":' || repeat('[', 100) || repeat(']', 100) || '}')::jsonb", Unsendable("deeper than 64 levels")),
    ),
    (
        "JSON of 10,000 levels",
        "tasks.metadata",
        (DEEPER, NotTaken("task_metadata_is_an_object")),
        ("('{\"k\":' || repeat('[', 10000) || repeat(']', 10000) || '}')::jsonb", Unsendable("deeper than 64 levels")),
    ),
    (
        "JSON of 2 MB",
        "tasks.metadata",
        ("'{\"k\":\"' || hex(zeroblob(1000000)) || '\"}'", Listed(UNREADABLE, "1048576 at most")),
        ("jsonb_build_object('k', repeat('a', 2000000))", Unsendable("1048576 at most")),
    ),
    (
        "an empty key",
        "tasks.metadata",
        ("'{\"\":1,\".\":2,\"*\":3,\"-\":4}'", Flows),
        ("'{\"\":1,\".\":2,\"*\":3,\"-\":4}'", Sent),
    ),
    // Times.
    (
        "infinity",
        "tasks.due_date",
        ("'infinity'", NotTaken("task_due_date_is_utc")),
        ("'infinity'", Unsendable("\"infinity\" is not a timestamp between")),
    ),
    (
        "infinity, unchecked",
        "tasks.due_date",
        ("unchecked 'infinity'", Listed(UNREADABLE, "\"infinity\" is not a timestamp")),
        ("'-infinity'", Unsendable("\"-infinity\" is not a timestamp between")),
    ),
    (
        "the year 294276",
        "tasks.due_date",
        ("unchecked '294276-12-31T00:00:00.000000Z'", Listed(UNREADABLE, "is not a timestamp")),
        ("'294276-12-31'", Unsendable("six digits")),
    ),
    (
        "the year 12026",
        "tasks.due_date",
        ("unchecked '12026-01-01T00:00:00.000000Z'", Listed(UNREADABLE, "is not a timestamp")),
        ("'12026-01-01'", Unsendable("12026")),
    ),
    (
        "the year 44 BC",
        "tasks.due_date",
        ("unchecked '-0043-03-15T12:00:00.000000Z'", Listed(UNREADABLE, "is not a timestamp")),
        ("'0044-03-15 12:00:00 BC'", Unsendable("BC")),
    ),
    (
        "a date of zeros",
        "tasks.due_date",
        ("'0000-00-00T00:00:00.000000Z'", NotTaken("task_due_date_is_utc")),
        ("'0000-00-00'", Schema),
    ),
    (
        "a date of zeros, unchecked",
        "tasks.due_date",
        ("unchecked '0000-00-00T00:00:00.000000Z'", Listed(UNREADABLE, "is not a timestamp")),
        ("'0000-00-00'", Schema),
    ),
    (
        "the thirtieth of February",
        "tasks.due_date",
        ("'2026-02-30T00:00:00.000000Z'", NotTaken("task_due_date_is_utc")),
        ("'2026-02-30'", Schema),
    ),
    (
        "a leap second",
        "tasks.due_date",
        ("unchecked '2016-12-31T23:59:60.000000Z'", Flows),
        ("'2016-12-31 23:59:60Z'", Sent),
    ),
    (
        "the last moment there is",
        "tasks.due_date",
        ("'9999-12-31T23:59:59.999999Z'", Flows),
        ("'9999-12-31 23:59:59.999999Z'", Sent),
    ),
    // What is not for edges to write.
    ("a person", "users.email", ("'rogue@acme'", NotTaken("users is kept at the centre")), ("'new@acme'", Sent)),
    (
        "a membership",
        "user_tenant_associations.role",
        ("'owner'", NotTaken("user_tenant_associations is kept at the centre")),
        ("'king'", Schema),
    ),
    ("a delete that somebody forbids", "tasks.delete", ("", Listed("refused", "work is never deleted")), ("", Schema)),
    ("a sign-in secret that is none", "credentials.verifier", ("", Impossible), ("'12345'", Schema)),
];

/// An insert of a row whose one column is poison, in SQL of both databases.
fn insert(number: u128, place: &str, value: &str) -> String {
    let (row, value) = (id(number), value.trim_start_matches(UNCHECKED));
    let (table, column) = place.rsplit_once('.').unwrap();
    let text = match (table, column) {
        ("tasks", "delete") => format!("delete from tasks where id = '{}'", id(99)),
        ("tasks", "tenant_id") => {
            format!("insert into tasks (id, tenant_id, title) values ('{row}', {value}, 'poison')")
        }
        ("tasks", "title") => format!("insert into tasks (id, tenant_id, title) values ('{row}', '$acme', {value})"),
        ("tasks", "noise") => {
            format!("insert into tasks (id, tenant_id, title, description) values ('{row}', '$acme', {value}, {value})")
        }
        ("tasks", _) => {
            format!("insert into tasks (id, tenant_id, title, {column}) values ('{row}', '$acme', 'poison', {value})")
        }
        ("sites", _) => {
            format!("insert into sites (id, tenant_id, name, {column}) values ('{row}', '$acme', 'poison', {value})")
        }
        ("devices", "site_id") => {
            format!(
                "insert into devices (id, tenant_id, site_id, name, type) values ('{row}', '$acme', {value}, 'poison', 'sensor')"
            )
        }
        ("devices", "type") => {
            format!(
                "insert into devices (id, tenant_id, site_id, name, type) values ('{row}', '$acme', '$hq', 'poison', {value})"
            )
        }
        ("devices", _) => format!(
            "insert into devices (id, tenant_id, site_id, name, type, {column})
             values ('{row}', '$acme', '$hq', 'poison', 'sensor', {value})"
        ),
        ("users", _) => format!("insert into users (id, email, user_type) values ('{row}', {value}, 'regular_user')"),
        ("credentials", _) => format!(
            "insert into sync.credentials (id, tenant_id, user_id, site_id, verifier) values ('{row}', '$acme', '$ann', '$hq', {value})"
        ),
        _ => format!("insert into {table} (id, user_id, tenant_id, role) values ('{row}', '$eve', '$acme', {value})"),
    };
    let names =
        [("$acme", ACME), ("$other", OTHER), ("$hq", HEADQUARTERS), ("$else", ELSEWHERE), ("$eve", EVE), ("$ann", ANN)];
    names.iter().fold(text, |text, (name, id)| text.replace(name, &id.to_string()))
}

/// A sound row that is written beside a poisonous one.
fn beside(number: u128) -> String {
    format!("insert into tasks (id, tenant_id, title) values ('{}', '{ACME}', 'beside')", id(number))
}

/// Holds the files' dumps against the centre's, which leaves out what it cannot send.
async fn assert_equal(centre: &Centre, files: &mut [&mut File]) {
    let mut hubs = Vec::new();
    dump::dump(&mut centre.client().await, ACME, None, |line| hubs.push(line.to_owned())).await.unwrap();
    for file in files {
        let differences = differences(&hubs.join("\n"), &file.dump().join("\n"));
        let short: Vec<String> = differences.iter().map(|difference| difference.chars().take(400).collect()).collect();
        assert_eq!(short, Vec::<String>::new(), "{}", file.me.name);
    }
}

const EDGE: u128 = 1_000;
const CENTRE: u128 = 2_000;
const BESIDE: u128 = 5_000;

/// A centre with the rules of some other application, and two sites of which the right one comes first.
async fn world() -> (Centre, File, File) {
    let centre = Centre::start().await;
    centre
        .execute(&format!(
            "insert into devices (id, site_id, name, type, serial_number) values ('{}', '{HEADQUARTERS}', 'holder', 'sensor', 'TAKEN');
             insert into tasks (id, tenant_id, title) values ('{}', '{ACME}', 'stays');
             create function other_application() returns trigger language plpgsql as $$ begin
               if tg_op = 'DELETE' then
                 if old.title = 'stays' then raise exception 'work is never deleted'; end if;
                 return old;
               end if;
               if new.title = 'forbidden word' then raise exception 'no such word here'; end if;
               if new.title = 'secret' then raise exception 'not for you' using errcode = 'insufficient_privilege'; end if;
               if new.title = 'swallowed' and current_setting('sync.applying', true) = 'on' then return null; end if;
               return new;
             end $$;
             create trigger other_application before insert or update or delete on tasks
               for each row execute function other_application()",
            id(90),
            id(99)
        ))
        .await;
    let left = File::enroll(&centre, ACME, HEADQUARTERS, "left").await;
    let right = File::enroll(&centre, ACME, WAREHOUSE, "right").await;
    right.sql(&insert(91, "devices.serial_number", "'BOTH'"));
    (centre, left, right)
}

#[tokio::test]
async fn poison_written_at_an_edge_stops_nothing_else() {
    let (centre, mut left, mut right) = world().await;
    let mut wrong = Vec::new();
    for (number, (name, place, (value, outcome), _)) in (0..).zip(KINDS) {
        if matches!(outcome, Impossible) {
            continue;
        }
        let plain = left.plain();
        plain.pragma_update(None, "ignore_check_constraints", value.starts_with(UNCHECKED)).unwrap();
        let written = plain.execute_batch(&insert(EDGE + number, place, value)).map_err(|error| error.to_string());
        match (outcome, &written) {
            (NotTaken(why), Err(error)) if error.contains(why) => {}
            (Listed(..) | Flows, Ok(())) => {}
            _ => wrong.push(format!("{name}: {outcome:?} expected at the file, {written:?}")),
        }
        left.sql(&beside(BESIDE + number));
    }
    right.push().await;
    left.exchange().await;
    right.exchange().await;
    let listed = left.refused();
    for (number, (name, place, (_, outcome), _)) in (0..).zip(KINDS) {
        let row = if *place == "tasks.delete" { id(99) } else { id(EDGE + number) };
        let here =
            listed.iter().find(|entry| entry.row.0 == row).map(|entry| (entry.code.as_str(), entry.reason.as_str()));
        let there = centre
            .value(&format!("select code || ': ' || reason from sync.quarantined_rows where row_id = '{row}'"))
            .await;
        let fits = match (outcome, here) {
            (Listed(code, why), Some((found, reason))) => {
                *code == found && reason.contains(why) && reason.len() < 400 && there == format!("{code}: {reason}")
            }
            (Listed(..), None) => false,
            (_, None) => there == "-",
            (_, Some(_)) => false,
        };
        if !fits {
            wrong.push(format!("{name}: {outcome:?} expected; {here:?} at the site, {there} at the centre"));
        }
        println!("{name}: {}", here.map_or("not refused", |(_, reason)| reason));
    }
    let sound = "select count(*) from tasks where title = 'beside'";
    assert_eq!(wrong, Vec::<String>::new());
    let written = KINDS.iter().filter(|kind| !matches!(kind.2.1, Impossible)).count().to_string();
    assert_eq!((centre.value(sound).await, right.value(sound)), (written.clone(), written));
    assert_eq!(left.value("select count(*) from sync_rows where base is not null and refused is null"), "0");
    // What was refused is shown as the centre has it.
    assert_equal(&centre, &mut [&mut left, &mut right]).await;

    // The whole list can be given up, and nothing of it is left.
    for entry in listed {
        left.discard(entry.id);
    }
    left.exchange().await;
    right.exchange().await;
    assert_eq!(left.codes(), []);
    assert_eq!(centre.value("select count(*) from sync.quarantined_rows").await, "0");
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
    assert_eq!(left.value("select count(*) from sync_rows where base is not null"), "0");
}

#[tokio::test]
async fn poison_written_at_the_centre_stops_nothing_else() {
    let (centre, mut left, mut right) = world().await;
    right.exchange().await;
    let mut wrong = Vec::new();
    for (number, (name, place, _, (value, outcome))) in (0..).zip(KINDS) {
        let written = centre.sql.batch_execute(&insert(CENTRE + number, place, value)).await;
        if written.is_ok() == matches!(outcome, Schema) {
            wrong.push(format!("{name}: {outcome:?} expected at the centre, {written:?}"));
        }
        centre.execute(&beside(BESIDE + number)).await;
    }
    left.exchange().await;
    right.exchange().await;
    for (number, (name, place, _, (_, outcome))) in (0..).zip(KINDS) {
        let row = id(CENTRE + number);
        let listed = centre
            .value(&format!("select code || ': ' || reason from sync.quarantined_rows where row_id = '{row}'"))
            .await;
        let (table, _) = place.rsplit_once('.').unwrap();
        let table = if table == "credentials" { "sync_credentials" } else { table };
        let here = left.value(&format!("select count(*) from {table} where id = '{row}'"));
        let fits = match outcome {
            Unsendable(why) => listed.starts_with("unsendable: ") && listed.contains(why) && here == "0",
            Schema => listed == "-" && here == "0",
            // Nobody of another tenant is shown, whoever refers to them.
            Sent => listed == "-" && (here == "1" || table == "users"),
        };
        if !fits {
            wrong.push(format!("{name}: {outcome:?} expected; listed as {listed}, {here} at the site"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    let sound = "select count(*) from tasks where title = 'beside'";
    assert_eq!((left.value(sound), right.value(sound)), (KINDS.len().to_string(), KINDS.len().to_string()));
    assert_equal(&centre, &mut [&mut left, &mut right]).await;
    assert_eq!((left.codes(), right.codes()), (vec![], vec![]));
}

/// What a person writes through the edge's own programs.
fn as_person(person: uuid::Uuid, script: &str) -> String {
    format!("begin; update sync_self set actor = '{person}'; {script}; update sync_self set actor = null; commit;")
}

#[tokio::test]
async fn what_somebody_wrote_after_their_access_ended_is_kept_for_others_to_decide() {
    for end in ["update user_tenant_associations set status = 'suspended'", "delete from user_tenant_associations"] {
        let (centre, mut left, mut right) = world().await;
        let task = |number: u128, title: &str| insert(number, "tasks.title", &format!("'{title}'"));
        right.exchange().await;
        left.sql(&as_person(BOB, &task(100, "before")));
        left.sql(&as_person(BOB, &task(101, "by bob")));
        left.exchange().await;
        left.sql(&as_person(BOB, &format!("update tasks set priority = 'high' where id = '{}'", id(101))));
        centre.execute(&format!("{end} where user_id = '{BOB}'; select pg_sleep(0.01)")).await;
        left.sql(&as_person(BOB, &task(102, "after")));
        left.sql(&as_person(BOB, &format!("delete from tasks where id = '{}'", id(100))));
        left.sql(&as_person(ANN, &task(103, "anns")));
        left.sql(&task(104, "nobodys"));
        left.push().await;
        let revoked = "person_revoked".to_owned();
        assert_eq!(left.codes(), [(id(100), revoked.clone()), (id(102), revoked)], "{end}");
        let reason = left.refused().remove(0).reason;
        assert!(reason.starts_with("the access of bob@acme had ended when this was written (at 20"), "{reason}");
        let titles = "select string_agg(title || '-' || priority, ' ' order by id) from tasks where title <> 'stays'";
        assert_eq!(centre.value(titles).await, "before-medium by bob-high anns-medium nobodys-medium");
        left.exchange().await;
        right.exchange().await;
        assert_equal(&centre, &mut [&mut left, &mut right]).await;

        // Somebody who is let in again is believed again.
        centre
            .execute(&format!(
                "insert into user_tenant_associations (user_id, tenant_id, role) values ('{BOB}', '{ACME}', 'member')
                 on conflict (user_id, tenant_id) do update set status = 'active'"
            ))
            .await;
        left.begin_session();
        left.exchange().await;
        right.exchange().await;
        assert_eq!(left.codes(), []);
        assert_equal(&centre, &mut [&mut left, &mut right]).await;
    }
}

#[test]
fn the_table_has_every_kind_that_was_asked_for() {
    let poison = KINDS.iter().filter(|kind| !matches!((kind.2.1, kind.3.1), (Flows | Impossible, Sent))).count();
    assert!(poison >= 40, "{poison} kinds");
}
