//! Two copies of one box, and dead rows: the slower copy neither misses a delete nor brings a row back, whatever the other has
//! seen.

use tests::deployment::{Deployment, Edge, HEADQUARTERS, Place, Surroundings, WAREHOUSE};
use tests::wait::eventually;

use crate::restores::{COPY, copy, delete, insert, is_integral, replica, retitle, titles};

/// A box that is stopped, and its copy, neither of which runs; and one other box.
async fn copied() -> (Deployment, Edge) {
    let world = Deployment::start(&[HEADQUARTERS, WAREHOUSE]).await;
    let edge = world.edge(0);
    edge.api().await;
    edge.sqlite(&(1..=3).map(|number| insert(number, "old")).collect::<String>()).await;
    world.assert_equal_dumps().await;
    edge.stop();
    let twin = world.new_edge(COPY);
    copy(edge.data(), twin.data());
    on_a_link_of_its_own(&twin);
    (world, twin)
}

/// Two copies of one box that are told apart, and one other box.
async fn two_copies() -> (Deployment, Edge) {
    let (world, twin) = copied().await;
    let edge = world.edge(0);
    for one in [edge, &twin] {
        one.start().await;
    }
    for (number, one) in [(4, edge), (5, &twin)] {
        one.sqlite(&insert(number, "of one copy")).await;
        world.assert_equal_dumps_of(vec![edge, &twin, world.edge(1)]).await;
    }
    assert_ne!(replica(edge).await, replica(&twin).await);
    (world, twin)
}

/// The copied credential names the link of the box that was copied.
pub(crate) fn on_a_link_of_its_own(twin: &Edge) {
    let environment = vec![("EDGE_HUB".to_owned(), twin.link().url())];
    twin.surround(Surroundings { environment, ..Surroundings::default() });
}

/// Makes dead rows old enough to be forgotten.
async fn age(world: &Deployment) {
    world.sql("update sync.row_versions set hlc = 1 where gone is not null and last_row is not null").await;
}

/// Forgets what the hub may forget; returns how many dead rows it still remembers.
async fn collect(world: &Deployment) -> String {
    world.hub_command(&["db", "maintain"]).await.succeeded();
    world.sql("select count(*) from sync.row_versions where last_row is not null and table_id = 8").await
}

async fn until_told(world: &Deployment, edges: &[&Edge], number: u32) {
    for edge in edges {
        eventually("the edge knows that the row is gone", async || {
            let left = edge.sqlite(&format!("select count(*) from tasks where id = '{}'", crate::id(number))).await;
            if left == "0" { Ok(()) } else { Err(edge.log()) }
        })
        .await;
        edge.sync_now().await;
    }
    // Who has applied a page says so when it asks for the next one.
    eventually("those who can be reached have said what they know", async || {
        let lag =
            "select count(*) from sync.fences as fence join sync.replicas as replica on replica.id = fence.replica_id
            join sync.row_versions as dead on dead.last_row is not null and dead.table_id = 8
            where fence.cursor_acknowledged is not null and fence.cursor_acknowledged::pg_snapshot is not null
              and pg_visible_in_snapshot(dead.txid::text::xid8, fence.cursor_acknowledged::pg_snapshot)";
        let known: usize = world.sql(lag).await.parse().expect("a count");
        if known >= edges.len() { Ok(()) } else { Err(format!("{known} know")) }
    })
    .await;
}

#[tokio::test]
async fn the_slower_of_two_copies_holds_back_what_it_has_not_been_told() {
    let (world, twin) = two_copies().await;
    let edge = world.edge(0);
    edge.link().cut();
    world.edge(1).sqlite(&delete(1)).await;
    world.assert_equal_dumps_of(vec![&twin, world.edge(1)]).await;
    until_told(&world, &[&twin, world.edge(1)], 1).await;
    age(&world).await;
    assert_eq!(collect(&world).await, "1", "the copy that is cut off has not heard of it");
    let compared = world.sql("select verified_at from sync.edges where name = 'hq-1'").await;
    edge.link().heal();
    edge.sync_now().await;
    world.assert_equal_dumps_of(vec![edge, &twin, world.edge(1)]).await;
    assert_eq!(titles(&world, 1..=1).await, ["-"]);
    assert_eq!(
        world.sql("select verified_at from sync.edges where name = 'hq-1'").await,
        compared,
        "by the feed alone"
    );
    eventually("it is forgotten when everybody knows", async || {
        edge.sync_now().await;
        let left = collect(&world).await;
        if left == "0" { Ok(()) } else { Err(world.sql("table sync.fences").await) }
    })
    .await;
    is_integral(&world).await;
}

#[tokio::test]
async fn a_copy_that_is_no_longer_waited_for_is_compared_first_and_brings_nothing_back() {
    let (world, twin) = two_copies().await;
    let edge = world.edge(0);
    edge.link().cut();
    edge.sqlite(&(retitle(2, "written far away") + &insert(6, "made far away"))).await;
    world.edge(1).sqlite(&(delete(1) + &delete(2))).await;
    until_told(&world, &[&twin, world.edge(1)], 1).await;
    until_told(&world, &[&twin, world.edge(1)], 2).await;
    age(&world).await;
    let id = replica(edge).await;
    world
        .sql(&format!("update sync.fences set last_seen_at = now() - interval '8 days' where replica_id = {id}"))
        .await;
    eventually("they are forgotten", async || {
        let left = collect(&world).await;
        if left == "0" { Ok(()) } else { Err(world.sql("table sync.fences").await) }
    })
    .await;
    edge.link().heal();
    edge.sync_now().await;
    world.assert_equal_dumps_of(vec![edge, &twin, world.edge(1)]).await;
    assert_eq!(titles(&world, 1..=6).await, ["-", "-", "old", "of one copy", "of one copy", "made far away"]);
    let listed = world.sql("select loser ->> 'value' from sync.conflicts where status = 'open'").await;
    assert_eq!(listed, "written far away");
    assert_eq!(world.sql("select count(*) from sync.fences where stale_at is not null").await, "0");
    is_integral(&world).await;
}

#[tokio::test]
async fn a_copy_that_first_appears_when_the_dead_are_forgotten_brings_nothing_back() {
    let (world, twin) = copied().await;
    let edge = world.edge(0);
    edge.start().await;
    edge.sqlite(&(delete(1) + &delete(2))).await;
    world.assert_equal_dumps().await;
    until_told(&world, &[edge, world.edge(1)], 2).await;
    age(&world).await;
    eventually("they are forgotten", async || {
        let left = collect(&world).await;
        if left == "0" { Ok(()) } else { Err(world.sql("table sync.fences").await) }
    })
    .await;
    twin.start().await;
    twin.sqlite(&(retitle(2, "written far away") + &insert(6, "made far away"))).await;
    world.assert_equal_dumps_of(vec![edge, &twin, world.edge(1)]).await;
    assert_eq!(titles(&world, 1..=6).await, ["-", "-", "old", "-", "-", "made far away"]);
    assert_ne!(replica(edge).await, replica(&twin).await);
    is_integral(&world).await;
}

#[tokio::test]
async fn what_one_copy_sent_under_a_new_name_is_not_sent_once_more_by_the_next() {
    let (world, twin) = copied().await;
    let edge = world.edge(0);
    edge.start().await;
    edge.sqlite(&insert(4, "went on")).await;
    world.assert_equal_dumps().await;
    edge.stop();
    twin.sqlite(&retitle(1, "written on the copy")).await;
    let third = world.new_edge(Place { edge: "hq-1-third", ..COPY });
    copy(twin.data(), third.data());
    on_a_link_of_its_own(&third);
    twin.start().await;
    world.assert_equal_dumps_of(vec![&twin, world.edge(1)]).await;
    world.edge(1).sqlite(&retitle(1, "written by who had read that")).await;
    world.assert_equal_dumps_of(vec![&twin, world.edge(1)]).await;
    third.start().await;
    world.assert_equal_dumps_of(vec![&twin, &third, world.edge(1)]).await;
    assert_ne!(replica(&twin).await, replica(&third).await);
    assert_eq!(titles(&world, 1..=1).await, ["written by who had read that"]);
    assert_eq!(world.sql("select count(*) from sync.conflicts").await, "0", "it was overwritten by who knew it");
    is_integral(&world).await;
}
