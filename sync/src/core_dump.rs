//! A process that holds secrets leaves no copy of its memory behind: no core file when it crashes, and no look into it by
//! another process of the same user.
//!
//! Memory that the system swaps out is not guarded here; an encrypted disk does that.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

/// Forbids core files for this process and those that it starts, and, on Linux, makes the process one that is never dumped
/// (`PR_SET_DUMPABLE`, prctl(2)): a handler that the system pipes core dumps to gets none either, and only root may trace it.
///
/// # Errors
/// The system's. What was forbidden until then stays so.
pub fn forbid() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}
