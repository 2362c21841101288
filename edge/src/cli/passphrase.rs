//! A passphrase from a person at the terminal, or from a file for programs. It is never taken from the command line or the
//! environment, where others could read it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};

use age::secrecy::{ExposeSecret as _, SecretString};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// Characters of a new passphrase.
const CHARS_MIN: usize = 12;
/// The longest, in bytes.
const BYTES_MAX: u64 = 4096;
/// The name that stands for standard input.
const STANDARD_INPUT: &str = "-";

/// Where a passphrase comes from.
#[derive(Debug, clap::Args)]
pub(super) struct Source {
    /// Read the passphrase from the first line of this file, `-` for standard input; without it, it is asked for at the terminal
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// A passphrase that cannot be had or used.
#[derive(Debug, thiserror::Error)]
pub(super) enum PassphraseError {
    /// There is nobody to ask.
    #[error(
        "there is no terminal to ask for the passphrase at ({0}): give it with --passphrase-file FILE, or - for standard input"
    )]
    NoTerminal(#[source] io::Error),
    /// The file cannot be read.
    #[error("cannot read the passphrase from {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is too short.
    #[error(
        "the passphrase has {chars} characters: give {CHARS_MIN} or more, such as five words that nobody would guess"
    )]
    Short {
        /// How many it has.
        chars: usize,
    },
    /// It was typed in two ways.
    #[error("the two passphrases differ: nothing was made")]
    Different,
}

impl Source {
    /// Whether somebody said where it comes from.
    pub(super) fn is_given(&self) -> bool {
        self.passphrase_file.is_some()
    }

    /// A passphrase for something new: long enough, and typed twice at a terminal.
    ///
    /// # Errors
    /// [`PassphraseError`].
    pub(super) fn new_one(&self) -> Result<SecretString, PassphraseError> {
        let passphrase = match &self.passphrase_file {
            Some(path) => of_file(path)?,
            None => {
                let (first, again) = (asked("Passphrase: ")?, asked("Once more: ")?);
                if first.expose_secret() != again.expose_secret() {
                    return Err(PassphraseError::Different);
                }
                first
            }
        };
        match passphrase.expose_secret().chars().count() {
            chars if chars < CHARS_MIN => Err(PassphraseError::Short { chars }),
            _ => Ok(passphrase),
        }
    }

    /// A passphrase for what is there.
    ///
    /// # Errors
    /// [`PassphraseError`].
    pub(super) fn known_one(&self) -> Result<SecretString, PassphraseError> {
        match &self.passphrase_file {
            Some(path) => of_file(path),
            None => asked("Passphrase: "),
        }
    }
}

fn of_file(path: &Path) -> Result<SecretString, PassphraseError> {
    let line = match path.to_str() {
        Some(STANDARD_INPUT) => first_line(io::stdin().lock()),
        _ => File::open(path).and_then(first_line),
    };
    line.map_err(|source| PassphraseError::File { path: path.to_owned(), source })
}

/// Asks at the terminal of the process, wherever its input and output lead; what is typed is not shown.
fn asked(question: &str) -> Result<SecretString, PassphraseError> {
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty");
    let ask = |mut terminal: File| -> io::Result<SecretString> {
        // First, because what was typed before it counts for nothing.
        let silence = Silence::begin(terminal.try_clone()?)?;
        terminal.write_all(question.as_bytes())?;
        let line = first_line(&terminal);
        drop(silence);
        terminal.write_all(b"\n")?;
        line
    };
    terminal.and_then(ask).map_err(PassphraseError::NoTerminal)
}

fn first_line(source: impl Read) -> io::Result<SecretString> {
    let mut line = String::new();
    BufReader::new(source.take(BYTES_MAX)).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned().into())
}

/// A terminal that does not show what is typed, until this is dropped.
struct Silence {
    terminal: File,
    before: Termios,
}

impl Silence {
    fn begin(terminal: File) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut silent = before.clone();
        silent.local_modes -= LocalModes::ECHO;
        tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // A terminal that went away shows nothing either.
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}
