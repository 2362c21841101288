//! What a real process does to its database files, call by call: `disk_recorder.c` stands between the process and the C
//! library and writes it down.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::deployment::Surroundings;
use crate::preload::build;
use crate::scratch::Scratch;

const HEAD_BYTES: usize = 15;

/// Something that was done to the files of one directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A file was made, empty.
    Made(String),
    /// Bytes were written.
    Written {
        /// To which file.
        name: String,
        /// From where on, in bytes.
        offset: usize,
        /// What.
        bytes: Vec<u8>,
    },
    /// A file was cut or grown to a length in bytes.
    Cut(String, usize),
    /// All of a file was made durable.
    Durable(String),
    /// The directory was made durable: which names there are, and for which files.
    DirectoryDurable,
    /// A name was removed.
    Removed(String),
    /// A file was renamed.
    Renamed(String, String),
    /// Somebody outside was told that something is kept for good; a number of the test's own.
    Told(u64),
}

/// Records what processes do in one directory.
#[derive(Debug)]
pub struct DiskRecorder {
    scratch: Scratch,
    library: PathBuf,
    directory: PathBuf,
}

impl DiskRecorder {
    /// One for the databases in a directory.
    ///
    /// # Panics
    /// When there is no C compiler; `tests/run` installs one.
    pub fn new(directory: &Path) -> Self {
        let scratch = Scratch::new();
        let library = build("disk_recorder.c", scratch.path());
        let directory = directory.canonicalize().expect("the directory is there");
        Self { scratch, library, directory }
    }

    /// What a process needs whose calls are to be recorded.
    pub fn surroundings(&self) -> Surroundings {
        let variable = |name: &str, value: &Path| (name.to_owned(), value.display().to_string());
        let environment = vec![
            variable("LD_PRELOAD", &self.library),
            variable("DISK_RECORDER_PATH", &self.directory),
            variable("DISK_RECORDER_LOG", &self.log()),
        ];
        Surroundings { starter: Vec::new(), environment }
    }

    /// Notes that somebody has now been told something.
    ///
    /// # Panics
    /// When the record cannot be written.
    pub fn tell(&self, number: u64) {
        let mut log = fs::File::options().append(true).create(true).open(self.log()).expect("the log can be written");
        log.write_all(&told(number)).expect("the log can be written");
    }

    /// Where the record is; whoever appends [`told`] to it tells something.
    pub fn log(&self) -> PathBuf {
        self.scratch.path().join("log")
    }

    /// What was recorded so far.
    ///
    /// # Panics
    /// When the record is damaged.
    pub fn read(&self) -> Vec<Record> {
        let bytes = fs::read(self.log()).unwrap_or_default();
        let mut rest = bytes.as_slice();
        let mut records = Vec::new();
        while !rest.is_empty() {
            let (record, more) = parse(rest);
            records.push(record);
            rest = more;
        }
        records
    }
}

/// The record of [`Record::Told`].
pub fn told(number: u64) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[0] = b'A';
    head[3..11].copy_from_slice(&number.to_ne_bytes());
    head
}

fn parse(bytes: &[u8]) -> (Record, &[u8]) {
    let (head, rest) = bytes.split_at(HEAD_BYTES);
    let part = |from: usize, to: usize| &head[from..to];
    let name_length = usize::from(u16::from_ne_bytes(part(1, 3).try_into().expect("two bytes")));
    let number = u64::from_ne_bytes(part(3, 11).try_into().expect("eight bytes"));
    let length = u32::from_ne_bytes(part(11, 15).try_into().expect("four bytes"));
    let (name, rest) = rest.split_at(name_length);
    let (data, rest) = rest.split_at(usize::try_from(length).expect("a small number"));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("names are text");
    let (name, offset) = (text(name), usize::try_from(number).expect("a small number"));
    let record = match head[0] {
        b'C' => Record::Made(name),
        b'W' => Record::Written { name, offset, bytes: data.to_vec() },
        b'T' => Record::Cut(name, offset),
        b'S' => Record::Durable(name),
        b'D' => Record::DirectoryDurable,
        b'U' => Record::Removed(name),
        b'R' => Record::Renamed(name, text(data)),
        b'A' => Record::Told(number),
        kind => panic!("a record of kind {kind}"),
    };
    (record, rest)
}
