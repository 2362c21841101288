//! What a disk may hold after the power went, rebuilt from a record of what was done to it.
//!
//! What was written since a file was last made durable may be there, or not, or in part: the disk keeps or loses each of its
//! sectors for itself, in any order. The names of a directory are durable when the directory was made so; of later changes
//! of names any first part may be there, as a journal keeps them (`ext4(5)`, `man 2 fsync`).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rand::Rng as _;
use rand::rngs::SmallRng;

use crate::disk_recorder::Record;

/// What a disk writes whole or not at all, in bytes.
const SECTOR_BYTES: usize = 512;

/// What becomes of what was not yet durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All of it is lost.
    Whole,
    /// Nothing is lost, as when only the process is killed.
    None,
    /// Of each write all, nothing, or some sectors are lost.
    Torn,
}

/// A directory on a disk: what is durable, and what is not yet.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    renamings: Vec<Naming>,
}

#[derive(Clone, Debug, Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Cut(usize),
}

#[derive(Clone, Debug)]
enum Naming {
    Made(String, usize),
    Removed(String),
    Renamed(String, String),
}

impl Disk {
    /// A directory all of whose files have long been durable.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn of(directory: &Path) -> Self {
        let mut disk = Self::default();
        for entry in fs::read_dir(directory).expect("the directory is there").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("edge.db") && !name.ends_with("-shm") {
                let durable = fs::read(entry.path()).expect("a file can be read");
                disk.names.insert(name, disk.files.len());
                disk.files.push(File { durable, pending: Vec::new() });
            }
        }
        disk.durable_names = disk.names.clone();
        disk
    }

    /// Does what was recorded.
    ///
    /// # Panics
    /// When a file is not known.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Made(name) => {
                let file = self.files.len();
                self.files.push(File::default());
                self.rename(Naming::Made(name.clone(), file));
            }
            Record::Written { name, offset, bytes } => {
                self.file(name).pending.push(Change::Write(*offset, bytes.clone()));
            }
            Record::Cut(name, length) => self.file(name).pending.push(Change::Cut(*length)),
            Record::Durable(name) => {
                let file = self.file(name);
                for change in std::mem::take(&mut file.pending) {
                    change.apply(&mut file.durable);
                }
            }
            Record::DirectoryDurable => {
                self.durable_names = self.names.clone();
                self.renamings.clear();
            }
            Record::Removed(name) => self.rename(Naming::Removed(name.clone())),
            Record::Renamed(from, to) => self.rename(Naming::Renamed(from.clone(), to.clone())),
            Record::Told(_) => {}
        }
    }

    /// Writes what the directory may hold if the power goes now.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn image(&self, loss: Loss, random: &mut SmallRng, into: &Path) {
        let kept = match loss {
            Loss::Whole => 0,
            Loss::None => self.renamings.len(),
            Loss::Torn => random.random_range(0..=self.renamings.len()),
        };
        let mut names = self.durable_names.clone();
        for naming in &self.renamings[..kept] {
            naming.apply(&mut names);
        }
        for (name, file) in names {
            let content = self.files[file].after(loss, random);
            fs::write(into.join(name), content).expect("an image can be written");
        }
    }

    fn file(&mut self, name: &str) -> &mut File {
        let file = *self.names.get(name).unwrap_or_else(|| panic!("{name} was never made"));
        &mut self.files[file]
    }

    fn rename(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.renamings.push(naming);
    }
}

impl File {
    fn after(&self, loss: Loss, random: &mut SmallRng) -> Vec<u8> {
        let mut content = self.durable.clone();
        match loss {
            Loss::Whole => {}
            Loss::None => self.pending.iter().for_each(|change| change.apply(&mut content)),
            Loss::Torn => self.pending.iter().for_each(|change| match random.random_range(0..3) {
                0 => {}
                1 => change.apply(&mut content),
                _ => change.apply_torn(&mut content, random),
            }),
        }
        content
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(offset, bytes) => write(content, *offset, bytes),
            Self::Cut(length) => content.resize(*length, 0),
        }
    }

    /// As far as a disk gets that loses its power in the middle of it.
    fn apply_torn(&self, content: &mut Vec<u8>, random: &mut SmallRng) {
        let Self::Write(offset, bytes) = self else { return };
        let (mut at, end) = (*offset, offset + bytes.len());
        while at < end {
            let sector_end = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
            let next = sector_end.min(end);
            if random.random() {
                write(content, at, &bytes[at - offset..next - offset]);
            }
            at = next;
        }
    }
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Made(name, file) => _ = names.insert(name.clone(), *file),
            Self::Removed(name) => _ = names.remove(name),
            Self::Renamed(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
        }
    }
}

fn write(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}
