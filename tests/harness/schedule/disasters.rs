//! The big disasters of a simulated run: boxes and centres that go back in time, and sites that are away for long.

use uuid::Uuid;

use super::Schedule;
use crate::centre::Kind;
use crate::world::World;

/// Copies of files and backups of the centre that are kept.
const COPIES_MAX: usize = 3;
/// How long a site is away, in milliseconds.
const AWAY_MS: u64 = 30_000;

/// Which disasters a seed has beside the small ones: one kind, so that what a finding comes from can be told, or in one seed of
/// five all of them. One seed in five has none, so that what is true only then is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Theme {
    edges: bool,
    centre: bool,
    absence: bool,
}

impl Theme {
    pub(super) fn of(seed: u64) -> Self {
        let kind = seed / 2 % 5;
        let mixed = kind == 4;
        Self { edges: mixed || kind == 1, centre: mixed || kind == 2, absence: mixed || kind == 3 }
    }
}

impl Schedule {
    /// Something big, if this seed has such things.
    pub(super) fn disaster(&mut self, world: &mut World, site: usize) {
        match world.network.below(12) {
            0..2 if self.theme.edges && world.copies.len() < COPIES_MAX => world.copy_site(site),
            2..4 if self.theme.edges && !world.copies.is_empty() => self.restore_site(world),
            4 if self.theme.edges && !world.copies.is_empty() && world.nodes.len() < 4 => {
                let copy = world.network.below(world.copies.len());
                world.start_copy(copy);
            }
            5..7 if self.theme.centre && world.backups.len() < COPIES_MAX => world.back_up_centre(),
            7 if self.theme.centre && !world.backups.is_empty() => {
                let backup = world.network.below(world.backups.len());
                let kinds = [Kind::Dump, Kind::NewServer, Kind::Image, Kind::Failover];
                let kind = kinds[world.network.below(kinds.len())];
                world.restore_centre(backup, kind);
            }
            8 | 9 if self.theme.centre => decide_offer(world),
            9 if self.theme.absence && self.away.is_none() => {
                world.nodes[site].link_up = false;
                self.away = Some((site, world.network.now_ms + AWAY_MS));
                world.coverage.count("an edge is away for long");
                world.note(format!("site {site}: is away"));
            }
            10 => {
                let edge = world.nodes[site].site.edge;
                world.centre.verify(edge);
            }
            _ if self.theme.absence => {
                let now_ms = world.network.now_ms;
                let collected = world.centre.collect(now_ms);
                if collected.tombstones > 0 {
                    world.forget_deliveries();
                }
                (0..collected.tombstones).for_each(|_| world.coverage.count("a dead row is forgotten"));
                (0..collected.stale).for_each(|_| world.coverage.count("an edge is marked as stale"));
                world.note(format!("the centre forgets {collected:?}"));
            }
            _ => {}
        }
    }

    pub(super) fn come_back(&mut self, world: &mut World) {
        match self.away {
            Some((site, until_ms)) if until_ms < world.network.now_ms => {
                world.nodes[site].link_up = true;
                self.away = None;
                world.note(format!("site {site}: is back"));
            }
            Some((site, _)) => world.nodes[site].link_up = false,
            None => {}
        }
    }

    /// Restores a box; half of the time people go on with it before anybody hears of it.
    fn restore_site(&mut self, world: &mut World) {
        let copy = world.network.below(world.copies.len());
        let site = world.copies[copy].0;
        let before = world.nodes[site].site.this().seq;
        let link_up = world.nodes[site].link_up;
        let alone = world.network.below(2) == 0;
        world.nodes[site].link_up &= !alone;
        world.restore_site(copy);
        if alone {
            for _ in 0..1 + world.network.below(12) {
                let sql = self.statement(world);
                world.write_at(site, &sql);
            }
            if world.nodes[site].site.this().seq >= before {
                world.coverage.count("an edge is restored and its new writes overtake the old counter");
            }
            world.nodes[site].link_up = link_up;
        }
    }
}

/// Somebody decides about a row that only an edge held.
fn decide_offer(world: &mut World) {
    let open = world.centre.database.recovered.iter().filter(|(_, entry)| entry.open);
    let open: Vec<Uuid> = open.map(|(id, _)| *id).collect();
    if open.is_empty() {
        return;
    }
    let (id, accept) = (open[world.network.below(open.len())], world.network.below(2) == 0);
    let now_ms = world.network.now_ms;
    if world.centre.decide_recovered(id, accept, &mut world.journal, now_ms) {
        world.coverage.count(if accept { "an offer is accepted" } else { "an offer is discarded" });
        world.note(format!("centre: decides about the offer {id}: {accept}"));
    }
}
