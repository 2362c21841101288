//! Whoever finds, cuts or changes an encrypted backup gets nothing of it, and nothing of it reaches a box.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use edge::backup::{self, BackupError};
use edge::data_dir::DataDir;
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use tests::desk::{TASK_HERE, prepare};
use tests::processes::{Finished, Program};
use tests::programs::{Running, edge, run};
use tests::scratch::Scratch;

const PASSPHRASE: &str = "correct horse battery staple";
const CANARY: &str = "canary in a title";
const CREDENTIAL: &str = r#"{"hub":"http://hub","edge":"00000000-0000-4000-8000-00000000ed9e","name":"hq-1","replica":7,
    "credential":"canary of the credential","tenant":"00000000-0000-4000-8000-0000000000a0",
    "site":"00000000-0000-4000-8000-000000000101","fence":{"count":0,"token":"f"}}"#;

/// A data directory with something to hide, and the passphrase in a file beside it.
struct OneBox {
    scratch: Scratch,
    data: PathBuf,
}

impl OneBox {
    fn new() -> Self {
        let scratch = Scratch::new();
        let data = scratch.path().join("data");
        prepare(&data);
        fs::write(data.join("credential.json"), CREDENTIAL).unwrap();
        fs::write(scratch.path().join("passphrase"), format!("{PASSPHRASE}\n")).unwrap();
        let this = Self { scratch, data };
        this.sql(&format!("update tasks set title = '{CANARY}' where id = '{TASK_HERE}'"));
        this
    }

    fn sql(&self, sql: &str) {
        rusqlite::Connection::open(self.data.join("edge.db")).unwrap().execute_batch(sql).unwrap();
    }

    fn on(&self, data: &Path, arguments: &[&str]) -> Finished {
        run(edge(arguments).env("EDGE_DATA", data).current_dir(self.scratch.path()))
    }

    fn sealed(&self) -> PathBuf {
        self.on(&self.data, &["backup", "sealed", "--encrypt", "--passphrase-file", "passphrase"]).succeeded();
        self.scratch.path().join("sealed")
    }

    /// Every file below the scratch directory but those of the edge itself.
    fn outside(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.scratch.path()).unwrap().flatten().map(|entry| entry.path());
        entries.filter(|path| path.is_file()).collect()
    }
}

fn holds(path: &Path, text: &str) -> bool {
    fs::read(path).unwrap().windows(text.len()).any(|part| part == text.as_bytes())
}

#[test]
fn an_encrypted_backup_shows_nothing_and_is_an_edge_again_with_its_passphrase() {
    let this = OneBox::new();
    let sealed = this.sealed();
    let plain = this.scratch.path().join("plain");
    this.on(&this.data, &["backup", "plain"]).succeeded();
    for secret in [CANARY, "canary of the credential", "SQLite format 3", "sync_backup", PASSPHRASE] {
        assert!(!holds(&sealed, secret), "{secret}");
    }
    assert!(holds(&plain, CANARY) && holds(&plain, "canary of the credential"), "the search finds what is there");
    assert_eq!(fs::metadata(&sealed).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::read(&sealed).unwrap().starts_with(b"age-encryption.org/v1\n-> scrypt "), "a file of age");
    assert!(!this.data.join("edge.db.sealing").exists());

    let new = this.scratch.path().join("new");
    let restored = this.on(&new, &["restore", "sealed", "--passphrase-file", "passphrase"]).succeeded();
    assert!(restored.contains("restored edge hq-1"), "{restored}");
    let dump = this.on(&this.data, &["dump"]).succeeded();
    assert!(dump.contains(CANARY));
    assert_eq!(this.on(&new, &["dump"]).succeeded(), dump);
}

#[test]
fn a_wrong_short_or_missing_passphrase_is_refused_and_nothing_is_changed() {
    let this = OneBox::new();
    let sealed = this.sealed();
    let before = fs::read(&sealed).unwrap();
    let new = this.scratch.path().join("new");
    fs::write(this.scratch.path().join("wrong"), "correct horse battery stable").unwrap();
    fs::write(this.scratch.path().join("short"), "elevenchars").unwrap();
    let wrong = this.on(&new, &["restore", "sealed", "--passphrase-file", "wrong"]).failed(1);
    assert!(wrong.contains("the passphrase does not open it; nothing was changed [passphrase]"), "{wrong}");
    let short = this.on(&this.data, &["backup", "other", "--encrypt", "--passphrase-file", "short"]).failed(1);
    assert!(short.contains("has 11 characters: give 12 or more"), "{short}");
    let gone = this.on(&this.data, &["backup", "other", "--encrypt", "--passphrase-file", "gone"]).failed(1);
    assert!(gone.contains("cannot read the passphrase from gone"), "{gone}");
    // In a session of its own there is no terminal, whoever runs the tests.
    for arguments in [&["backup", "other", "--encrypt"][..], &["restore", "sealed"]] {
        let mut alone = Command::new("setsid");
        alone.arg("--wait").arg(Program::Edge.path()).args(arguments);
        let data = if arguments[0] == "backup" { &this.data } else { &new };
        let refused = run(alone.env("EDGE_DATA", data).current_dir(this.scratch.path())).failed(1);
        assert!(refused.contains("no terminal") && refused.contains("--passphrase-file"), "{refused}");
    }
    assert_eq!(this.scratch.names().iter().filter(|name| *name == "other").count(), 0);
    assert!(!new.join("edge.db").exists() && !new.join("edge.db.restoring").exists());
    assert_eq!(fs::read(&sealed).unwrap(), before);
}

#[test]
fn a_backup_that_was_cut_or_changed_anywhere_makes_no_edge() {
    let this = OneBox::new();
    let whole = fs::read(this.sealed()).unwrap();
    let header = whole.windows(4).position(|part| part == b"--- ").expect("the header ends");
    let payload = whole[header..].iter().position(|byte| *byte == b'\n').expect("in a line") + header + 1;
    let length = whole.len();
    let changed = |position: usize| {
        let mut bytes = whole.clone();
        bytes[position] ^= 1;
        (format!("byte {position} of {length} flipped"), bytes)
    };
    let cut = |end: usize| (format!("cut to {end} of {length}"), whole[..end].to_vec());
    let piece = 64 * 1024 + 16;
    // In the work, the salt, the key and the seal of the header; in the nonce, in a first, a middle and the last piece.
    let flips = [24, 34, 60, header - 3, header + 6, payload, payload + 20, payload + piece, length / 2, length - 1];
    let cuts = [0, 10, 22, header, payload, payload + 8, payload + 16, payload + 16 + piece, length / 2, length - 1];
    let longer = ("one byte more".to_owned(), [whole.as_slice(), b"x"].concat());
    let again = ("twice".to_owned(), [whole.as_slice(), whole.as_slice()].concat());
    let cases: Vec<_> = flips.map(changed).into_iter().chain(cuts.map(cut)).chain([longer, again]).collect();
    for (number, (what, bytes)) in cases.into_iter().enumerate() {
        let file = this.scratch.path().join(format!("case-{number}"));
        fs::write(&file, bytes).unwrap();
        let data = DataDir::new(this.scratch.path().join(format!("new-{number}")));
        // As the command does it: what is not recognised as encrypted is taken for an ordinary backup.
        let passphrase = backup::is_encrypted(&file).unwrap().then(|| PASSPHRASE.to_owned().into());
        match backup::restore(&data, &file, passphrase.as_ref()) {
            Err(BackupError::Locked { .. } | BackupError::NoBackup { .. }) => {}
            other => panic!("{what}: {other:?}"),
        }
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0, "{what}: something is left");
    }
}

#[test]
fn what_a_killed_backup_leaves_is_private_and_goes_with_the_next_start() {
    let this = OneBox::new();
    // The kernel kills whoever writes more to a file than it may: in the middle of the copy.
    let mut killed = Command::new("prlimit");
    killed.arg("--fsize=65536").arg(Program::Edge.path());
    killed.args(["backup", "sealed", "--encrypt", "--passphrase-file", "passphrase"]);
    let status = killed.env("EDGE_DATA", &this.data).current_dir(this.scratch.path()).status().unwrap();
    assert_eq!(status.signal(), Some(Signal::XFSZ.as_raw()), "{status}");
    let left = this.data.join("edge.db.sealing");
    assert_eq!(fs::metadata(&left).expect("it was killed at work").permissions().mode() & 0o777, 0o600);
    for file in this.outside() {
        assert!(!holds(&file, "SQLite format 3") && !holds(&file, CANARY), "{} is not encrypted", file.display());
    }
    // What somebody is at work on stays.
    let restoring = this.data.join("edge.db.restoring");
    let at_work = File::create(&restoring).unwrap();
    flock(&at_work, FlockOperation::NonBlockingLockExclusive).unwrap();
    fs::write(this.data.join("edge.db.sealing-journal"), "pages").unwrap();
    let (mut running, _) = Running::serve(&this.data, &this.scratch);
    assert!(!left.exists() && !this.data.join("edge.db.sealing-journal").exists());
    assert!(restoring.exists());
    running.end(Signal::TERM);
    drop(at_work);
    let (_running, _) = Running::serve(&this.data, &this.scratch);
    assert!(!restoring.exists());
}

/// Reads from a terminal until it shows some words.
fn read_until(terminal: &mut File, shown: &mut String, words: &str) {
    let mut byte = [0];
    while !shown.ends_with(words) {
        terminal.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error}, after {shown:?}"));
        shown.push(char::from(byte[0]));
    }
}

#[test]
fn a_passphrase_that_is_typed_is_asked_for_twice_and_not_shown() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let this = OneBox::new();
    for (again, code) in [("another than the first", 1), (PASSPHRASE, 0)] {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
        let mut terminal = File::from(terminal);
        let input = File::options().read(true).write(true).open(name).unwrap();
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(Program::Edge.path()).args(["backup", "typed", "--encrypt"]);
        command.env("EDGE_DATA", &this.data).current_dir(this.scratch.path());
        let child = command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut shown = String::new();
        for (question, answer) in [("Passphrase: ", PASSPHRASE), ("Once more: ", again)] {
            read_until(&mut terminal, &mut shown, question);
            terminal.write_all(format!("{answer}\n").as_bytes()).unwrap();
        }
        read_until(&mut terminal, &mut shown, "\n");
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(code), "{said}");
        assert_eq!(said.contains("differ"), code == 1, "{said}");
        assert!(!shown.contains(PASSPHRASE) && !shown.contains(again), "{shown:?}");
        assert_eq!(this.scratch.path().join("typed").exists(), code == 0);
    }
}
