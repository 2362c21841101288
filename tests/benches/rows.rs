//! The rows that everything is measured with: tasks of about 630 bytes as JSON, the same in every run.

use std::fmt::Write as _;
use std::pin::pin;

use axum::body::Bytes;
use futures_util::SinkExt as _;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio_postgres::Client;
use uuid::{Builder, Uuid};

/// Bytes that are handed to COPY at once.
const PART_BYTES: usize = 256 * 1024;

const WORDS: [&str; 16] = [
    "compressor",
    "valve",
    "filter",
    "sensor",
    "inspect",
    "replace",
    "basement",
    "roof",
    "pressure",
    "leak",
    "meter",
    "quarterly",
    "belt",
    "bearing",
    "reading",
    "noise",
];

/// Ids of version 4, the same for the same seed.
pub(crate) fn ids(seed: u64, count: usize) -> Vec<Uuid> {
    let mut random = SmallRng::seed_from_u64(seed);
    (0..count).map(|_| Builder::from_random_bytes(random.random()).into_uuid()).collect()
}

/// Words of about this many bytes.
pub(crate) fn words(random: &mut SmallRng, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 12);
    while text.len() < bytes {
        text.push_str(WORDS[random.random_range(0..WORDS.len())]);
        text.push(' ');
    }
    text.pop();
    text
}

/// Copies tasks of a tenant into the table `into` of the centre.
pub(crate) async fn copy_tasks(client: &Client, into: &str, tenant: Uuid, ids: &[Uuid]) {
    let statement = format!(
        "copy {into} (id, tenant_id, title, description, status, priority, due_date, metadata, created_at, updated_at)
         from stdin"
    );
    let sink = client.copy_in(&statement).await.expect("COPY can begin");
    let mut sink = pin!(sink);
    let mut random = SmallRng::seed_from_u64(7);
    let mut text = String::with_capacity(PART_BYTES + 1024);
    for id in ids {
        let (title, description) = (words(&mut random, 40), words(&mut random, 180));
        let (floor, note) = (random.random_range(-2..40), words(&mut random, 60));
        let day = random.random_range(1..28);
        writeln!(
            text,
            "{id}\t{tenant}\t{title}\t{description}\topen\tmedium\t2027-03-{day:02} 08:30:00+00\t\
             {{\"floor\": {floor}, \"note\": \"{note}\"}}\t2026-11-{day:02} 07:00:00+00\t2026-11-{day:02} 07:00:00.5+00"
        )
        .expect("memory");
        if text.len() >= PART_BYTES {
            sink.send(Bytes::from(std::mem::take(&mut text))).await.expect("the centre takes it");
        }
    }
    sink.send(Bytes::from(text)).await.expect("the centre takes it");
    sink.finish().await.expect("the centre takes all of it");
}
