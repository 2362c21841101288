//! What the tests of the workspace share: enumerators, models and checkers. No test lives here but theirs.

pub mod every_case;
pub mod history;
pub mod one_task;
