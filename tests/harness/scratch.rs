//! Directories of tests, removed with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::processes::remove_at_the_end;

/// A directory that is removed with its owner, and at the latest when the test process ends. With `WAYSTATION_KEEP` in
/// the environment it stays.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new empty one.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("waystation-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        // An earlier process of this id may have been killed.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("create {}: {error}", path.display()));
        if !kept() {
            remove_at_the_end(&path);
        }
        Self(path)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What is in it, by name.
    ///
    /// # Panics
    /// When it is gone.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("the scratch directory is there").flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if kept() {
            eprintln!("kept: {}", self.0.display());
        } else if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("remove {}: {error}", self.0.display());
        }
    }
}

fn kept() -> bool {
    std::env::var_os("WAYSTATION_KEEP").is_some()
}
