//! A wall clock that a test sets, for a real process: `libfaketime` stands between the process and the system's clock.
//!
//! The monotonic clock stays the machine's, as it does when a real box's clock is set.

use std::fs;
use std::path::{Path, PathBuf};

use crate::deployment::Surroundings;
use crate::scratch::Scratch;

/// Where Debian, Fedora and Homebrew put the library.
const USUAL_PLACES: [&str; 5] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
    "/usr/local/lib/faketime/libfaketimeMT.so.1",
];

/// A clock for processes.
#[derive(Debug)]
pub struct FakeClock {
    scratch: Scratch,
    library: PathBuf,
}

impl FakeClock {
    /// A clock that goes like the machine's until it is set.
    ///
    /// # Panics
    /// When the library is not installed; `tests/run` installs it.
    pub fn new() -> Self {
        let library = USUAL_PLACES.iter().map(PathBuf::from).find(|path| path.exists());
        let clock =
            Self { scratch: Scratch::new(), library: library.expect("libfaketime (Debian: faketime) is installed") };
        clock.set("+0");
        clock
    }

    /// Sets it: `+3600` is an hour ahead of the machine's, `@1970-01-01 00:00:10` starts there, now or at the next start
    /// of a process. It takes effect at the next reading.
    pub fn set(&self, setting: &str) {
        let new = self.file().with_extension("new");
        fs::write(&new, setting).expect("the scratch directory is there");
        fs::rename(&new, self.file()).expect("the scratch directory is there");
    }

    /// What a process needs to read this clock. Times are UTC.
    pub fn surroundings(&self) -> Surroundings {
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let environment = vec![
            variable("LD_PRELOAD", &self.library.display().to_string()),
            variable("FAKETIME_TIMESTAMP_FILE", &self.file().display().to_string()),
            variable("FAKETIME_NO_CACHE", "1"),
            variable("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            variable("NO_FAKE_STAT", "1"),
            variable("TZ", "UTC"),
        ];
        Surroundings { starter: Vec::new(), environment }
    }

    fn file(&self) -> PathBuf {
        Path::join(self.scratch.path(), "clock")
    }
}

impl Default for FakeClock {
    fn default() -> Self {
        Self::new()
    }
}
