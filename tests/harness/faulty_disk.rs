//! A disk whose n-th call fails, for a real process: `faulty_disk.c` stands between the process and the C library.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::deployment::Surroundings;
use crate::preload::build;
use crate::scratch::Scratch;

/// A disk that fails on demand.
#[derive(Debug)]
pub struct FaultyDisk {
    scratch: Scratch,
    library: PathBuf,
    plans: AtomicU32,
}

/// Which calls are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Writing and cutting.
    Write,
    /// Making durable.
    Sync,
}

/// What fails it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// `EIO`
    Device = 5,
    /// `EROFS`
    ReadOnly = 30,
}

impl FaultyDisk {
    /// A disk without a fault.
    ///
    /// # Panics
    /// When there is no C compiler; `tests/run` installs one.
    pub fn new() -> Self {
        let scratch = Scratch::new();
        let library = build("faulty_disk.c", scratch.path());
        let disk = Self { scratch, library, plans: AtomicU32::new(0) };
        disk.mend();
        disk
    }

    /// What a process on this disk needs; files of databases below `path` are on it.
    pub fn surroundings(&self, path: &Path) -> Surroundings {
        let variable = |name: &str, value: &Path| (name.to_owned(), value.display().to_string());
        let environment = vec![
            variable("LD_PRELOAD", &self.library),
            variable("FAULTY_DISK_PATH", path),
            variable("FAULTY_DISK_PLAN", &self.plan()),
            variable("FAULTY_DISK_SEEN", &self.seen()),
        ];
        Surroundings { starter: Vec::new(), environment }
    }

    /// Fails the n-th call from now on, counted from 1, once.
    pub fn fail(&self, number: u32, operation: Operation, errno: Errno) {
        self.write(&i64::from(number).to_string(), operation, errno);
    }

    /// Fails every call from now on.
    pub fn fail_all(&self, operation: Operation, errno: Errno) {
        self.write("-1", operation, errno);
    }

    /// Fails nothing any more.
    pub fn mend(&self) {
        self.write("0", Operation::Write, Errno::Device);
    }

    /// Whether the present plan has made a call fail.
    pub fn has_failed(&self) -> bool {
        let seen = fs::read_to_string(self.seen()).unwrap_or_default();
        seen.trim() == self.plans.load(Ordering::SeqCst).to_string()
    }

    fn write(&self, number: &str, operation: Operation, errno: Errno) {
        let serial = self.plans.fetch_add(1, Ordering::SeqCst) + 1;
        let operation = match operation {
            Operation::Write => "write",
            Operation::Sync => "sync",
        };
        let new = self.plan().with_extension("new");
        let plan = format!("{number} {operation} {} {serial}", errno as i32);
        fs::write(&new, plan).expect("the scratch directory is there");
        fs::rename(&new, self.plan()).expect("the scratch directory is there");
    }

    fn plan(&self) -> PathBuf {
        self.scratch.path().join("plan")
    }

    fn seen(&self) -> PathBuf {
        self.scratch.path().join("seen")
    }
}

impl Default for FaultyDisk {
    fn default() -> Self {
        Self::new()
    }
}
