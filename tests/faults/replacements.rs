//! A box is replaced from a backup that was made while it worked, and works on beside its replacement.

use tests::deployment::{Deployment, HEADQUARTERS, WAREHOUSE};
use tests::dots::Dots;
use tests::fates::judge;

use crate::copies::on_a_link_of_its_own;
use crate::restores::{COPY, is_integral, replica};
use crate::{ACME, id};
use tests::writers::{Memory, SHARED, by_api, by_file, found};

#[tokio::test]
async fn a_box_restored_from_a_backup_made_under_load_and_the_old_one_that_goes_on_both_keep_their_writes() {
    let seed = 7;
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let values: Vec<String> = (0..SHARED).map(|row| format!("('{}', '{ACME}', 'first {row}')", id(row))).collect();
    world.sql(&format!("insert into tasks (id, tenant_id, title) values {}", values.join(", "))).await;
    world.assert_equal_dumps().await;
    let old = world.edge(0);
    let memory = Memory::new();
    let mut writers = vec![
        tokio::spawn(by_api(memory.clone(), "api", old.api().await.clone(), seed)),
        tokio::spawn(by_file(memory.clone(), "old", old.data().join("edge.db"), seed)),
    ];
    memory.until_more(30, || old.log()).await;
    let backup = world.directory().join("monday.backup").display().to_string();
    // What the backup holds unsent is sent by the old box too.
    old.link().cut();
    memory.until_more(5, || old.log()).await;
    println!("{}", old.command(&["backup", &backup]).await.succeeded());
    old.link().heal();
    memory.until_more(30, || old.log()).await;
    let mut dots = Dots::default();
    dots.look_at_centre(&world).await;
    dots.look_at(old).await;
    let new = world.new_edge(COPY);
    println!("{}", new.command(&["restore", &backup]).await.succeeded());
    on_a_link_of_its_own(&new);
    // It is written to before it has spoken to anybody, with the numbers that the old box has used since.
    new.link().cut();
    new.start().await;
    writers.push(tokio::spawn(by_file(memory.clone(), "new", new.data().join("edge.db"), seed)));
    memory.until_more(20, || new.log()).await;
    new.link().heal();
    for _ in 0..4 {
        memory.until_more(20, || new.log()).await;
        dots.look_at_centre(&world).await;
    }
    memory.stop();
    for writer in writers {
        writer.await.expect("a writer survives what it writes to");
    }
    let everybody = || vec![old, &new, world.edge(1)];
    for edge in everybody() {
        edge.sync_now().await;
    }
    world.assert_equal_dumps_of(everybody()).await;
    let history = memory.history();
    let problems = judge(&history, &found(&world, &history).await);
    assert!(problems.is_empty(), "{}\n{}", problems.join("\n"), new.log());
    dots.look_at_centre(&world).await;
    for edge in everybody() {
        dots.look_at(edge).await;
    }
    println!("{} writes, {} numbers seen", history.len(), dots.count());
    assert_eq!(dots.problems(), Vec::<String>::new());
    assert_ne!(replica(old).await, replica(&new).await);
    is_integral(&world).await;
}
