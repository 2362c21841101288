//! Everything at once, from outside: three boxes of one tenant and one of another, two hubs before one PostgreSQL, people,
//! programs and applications that write, and every kind of trouble that we can make, drawn by a seed.
//!
//! In the end everything heals, and what became of every write is judged by what its writer was told and what the dumps
//! show. The judge reads no code and no state of the programs. `SEED` in the environment replays the draws; how the
//! processes run beside each other is the machine's. `WAYSTATION_CAMPAIGN` makes it half an hour and asks for 200 injections
//! of 25 kinds.

#[path = "black_box/checks.rs"]
mod checks;
#[path = "black_box/run.rs"]
mod run;
#[path = "black_box/trouble.rs"]
mod trouble;

use tests::campaign::seed;

#[tokio::test]
async fn nothing_acknowledged_is_lost_whatever_happens() {
    run::run(seed(20_261_124)).await;
}
