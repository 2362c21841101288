//! A box in trouble: its clock, its disk, its file, its memory. Real processes, real files, real PostgreSQL.
//!
//! What was acknowledged stays and reaches the centre; what was not is refused in words; the box goes on by itself when
//! the trouble is over. `WAYSTATION_CAMPAIGN` in the environment makes the runs long.

#[path = "boxes/clocks.rs"]
mod clocks;
#[path = "boxes/damage.rs"]
mod damage;
#[path = "boxes/disks.rs"]
mod disks;
#[path = "boxes/limits.rs"]
mod limits;
#[path = "boxes/lost_logs.rs"]
mod lost_logs;
#[path = "boxes/power_loss.rs"]
mod power_loss;

/// Acme's id in the sample data.
const ACME: &str = "5eed0000-0000-4000-8000-000100000001";

/// An id of a test's own row, in the form of a random one.
fn id(number: u32) -> String {
    format!("7e570000-0000-4000-8000-{number:012}")
}

/// An insert of one of Acme's tasks, in SQL that both databases take.
fn insert_task(id: &str, title: &str) -> String {
    format!("insert into tasks (id, tenant_id, title) values ('{id}', '{ACME}', '{title}');")
}
