//! Boxes and centres that go back in time, and what may be lost by that: only what nobody holds any more.

use std::collections::BTreeMap;

use sync::merge::conflict::Conflict;
use sync::sqlite::outbox;
use uuid::Uuid;

use super::{Event, Node, World};
use crate::centre::{Database, Kind, name_of};
use crate::checkers::Offer;
use crate::journal::{Deed, Seen};
use crate::schedule::register_text;
use crate::site::Site;

impl World {
    /// Keeps a copy of a site's file.
    pub fn copy_site(&mut self, site: usize) {
        let copy = self.nodes[site].site.copy();
        self.copies.push((site, copy));
        self.note(format!("site {site}: its file is copied"));
    }

    /// Puts a site's file back to a copy of it. The process is a new one.
    pub fn restore_site(&mut self, copy: usize) {
        let conflicts = self.conflicts();
        let (site, copy) = &self.copies[copy];
        let site = *site;
        let node = &mut self.nodes[site];
        node.site = Site::from_copy(copy);
        node.whole = false;
        let unanswered = outbox::load(&node.site.connection).expect("our own batch can be read").is_some();
        self.coverage.count("an edge is restored");
        if unanswered {
            self.coverage.count("an edge is restored with a push unanswered");
        }
        self.forget_deliveries();
        self.note(format!("site {site}: is restored"));
        self.declare_lost(&conflicts);
        self.restart(site);
    }

    /// Starts a second box with a copy of a site's file.
    pub fn start_copy(&mut self, copy: usize) {
        let (site, copy) = &self.copies[copy];
        let site = *site;
        let mut node = Node::new(Site::from_copy(copy));
        (node.whole, self.nodes[site].whole) = (false, false);
        let twin = self.nodes.len();
        self.nodes.push(node);
        self.network.at(self.network.now_ms + outbox::RETRY_REFUSED_MS, Event::Retry(twin));
        self.coverage.count("an edge is copied");
        self.forget_deliveries();
        self.note(format!("site {twin}: is a copy of site {site}"));
        self.drive(twin);
    }

    /// Keeps a backup of the centre.
    pub fn back_up_centre(&mut self) {
        self.backups.push(self.centre.backup());
        self.note("the centre is backed up".to_owned());
    }

    /// Puts the centre back to a backup.
    pub fn restore_centre(&mut self, backup: usize, kind: Kind) {
        let conflicts = self.conflicts();
        let backup: Database = self.backups[backup].clone();
        let offers = self.centre.database.recovered.iter().filter(|(id, _)| !backup.recovered.contains_key(id));
        self.unoffered.extend(offers.flat_map(|(_, entry)| entry.seen.iter().copied()));
        self.centre.restore(&backup, kind);
        // It has lost what it took: should that come now, it comes for the first time.
        self.arrived.clear();
        self.coverage.count(match kind {
            Kind::Dump => "a dump of the centre is restored",
            Kind::NewServer => "a dump of the centre is restored on a new server",
            Kind::Image => "the storage of the centre goes back",
            Kind::Failover => "a standby that lagged takes over",
        });
        self.forget_deliveries();
        self.note(format!("the centre is restored: {kind:?}"));
        self.declare_lost(&conflicts);
    }

    /// Somebody at the centre sees to it that what is refused may refer to what it refers to.
    pub(super) fn mend_references(&mut self) {
        let now_ms = self.network.now_ms;
        let rows: Vec<_> = self.nodes.iter().flat_map(|node| node.site.rows()).collect();
        let named = |column: &str| {
            let values = rows.iter().filter_map(|(_, registers)| registers.get(column)?.as_ref()?.parse().ok());
            values.collect::<std::collections::BTreeSet<Uuid>>()
        };
        for (column, table) in [("site_id", "sites"), ("device_id", "devices"), ("user_id", "users")] {
            for id in named(column) {
                crate::schedule::provide(&mut self.centre, &mut self.journal, table, id, now_ms);
            }
        }
        self.note("the centre provides what is referred to".to_owned());
    }

    /// What was delivered until now means something else from now on.
    pub fn forget_deliveries(&mut self) {
        self.batches.clear();
        self.pages.clear();
        self.renamed = true;
    }

    fn conflicts(&self) -> BTreeMap<Uuid, Conflict> {
        let kept = self.nodes.iter().flat_map(|node| node.site.conflicts());
        let kept = kept.chain(self.centre.database.conflicts.values().map(|(conflict, _)| conflict.clone()));
        kept.map(|conflict| (conflict.id(), conflict)).collect()
    }

    /// What somebody has seen, or has offered.
    pub(super) fn held(&self) -> Seen {
        let database = &self.centre.database;
        let mut held: Seen = database.knowledge.all();
        held.extend(database.recovered.values().flat_map(|entry| entry.seen.iter().copied()));
        held.extend(self.nodes.iter().flat_map(|node| node.site.knowledge.all()));
        held
    }

    /// What no replica holds any more is lost: its writes, and values that only a conflict still held.
    fn declare_lost(&mut self, conflicts: &BTreeMap<Uuid, Conflict>) {
        let (held, present) = (self.held(), self.conflicts());
        let lost: Seen = (0..self.journal.len()).filter(|place| !held.contains(place)).collect();
        for conflict in conflicts.iter().filter(|(id, _)| !present.contains_key(id)).map(|(_, conflict)| conflict) {
            let row = name_of((conflict.table, conflict.row));
            let said = |deed: &Deed| match (deed, &conflict.register) {
                (Deed::Deleted, register) => register.is_none(),
                (Deed::Wrote(wrote), Some(register)) => {
                    wrote.get(register) == Some(&register_text(conflict.loser.value.as_ref()))
                }
                (Deed::Wrote(_), None) => false,
            };
            let of_row = self.journal.iter().filter(|(_, write)| write.row == row && said(&write.deed));
            self.unlisted.extend(of_row.map(|(place, _)| (place, conflict.register.clone())));
        }
        for place in lost {
            if self.lost.insert(place) {
                self.coverage.count("a write is declared lost");
                self.note(format!("write {place} is lost"));
            }
        }
    }

    /// What edges have offered.
    pub(super) fn offered(&self) -> Vec<Offer> {
        let entries = self.centre.database.recovered.values();
        let offer = |entry: &crate::centre::Recovered| Offer {
            row: name_of(entry.key),
            values: entry.row.version.is_alive().then(|| {
                let values = entry.row.values.iter();
                values.map(|(register, value)| (register.clone(), register_text(Some(value)))).collect()
            }),
        };
        entries.map(offer).collect()
    }
}
