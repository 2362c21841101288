//! Broken links and killed processes, on real programs. What was acknowledged stays, and has one effect.
//!
//! `WAYSTATION_CAMPAIGN` in the environment makes the runs long; `SEED` replays one.

#[path = "faults/centres.rs"]
mod centres;
#[path = "faults/copies.rs"]
mod copies;
#[path = "faults/cuts.rs"]
mod cuts;
#[path = "faults/kills.rs"]
mod kills;
#[path = "faults/lost_centres.rs"]
mod lost_centres;
#[path = "faults/networks.rs"]
mod networks;
#[path = "faults/replacements.rs"]
mod replacements;
#[path = "faults/restores.rs"]
mod restores;
#[path = "faults/statements.rs"]
mod statements;
#[path = "faults/transport.rs"]
mod transport;

use tests::writers::{ACME, id};
