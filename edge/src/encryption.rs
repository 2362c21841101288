//! Backups encrypted with a passphrase, as files in the format of age (<https://age-encryption.org/v1>): whoever has the passphrase
//! can open one without us, by `age -d`.
//!
//! The `age` library does all of the cryptography: a key from the passphrase by scrypt, then ChaCha20-Poly1305 over pieces of 64 KiB,
//! each of which is authenticated before any of it is given out, and the last of which says that it is the last. Files are
//! streamed; nothing here keeps more than a piece in memory.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::iter;

use age::secrecy::SecretString;
use age::{DecryptError, Decryptor, Encryptor, scrypt};

/// The power of two of scrypt's work for new files: 128 MiB of memory, which also a small box has.
const WORK: u8 = 17;
/// The most that a file may ask for, 1 GiB: others make them too, and one that asks for more would take the box down.
const WORK_MAX: u8 = 20;
/// How each such file begins.
const BEGIN: &[u8] = b"age-encryption.org/v1\n";
/// How much is read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// A file that does not open.
#[derive(Debug, thiserror::Error)]
pub enum Locked {
    /// Another passphrase, or the part that holds the key was changed.
    #[error("the passphrase does not open it")]
    Passphrase,
    /// It is encrypted in another way.
    #[error(
        "it is encrypted to a key and not with a passphrase: open it with `age -d`, and restore from what that makes"
    )]
    Key,
    /// It asks for too much work.
    #[error("it asks for 2^{0} units of work, and 2^{WORK_MAX} is the most")]
    Work(u8),
    /// It is cut, or was changed.
    #[error("it is cut or was changed")]
    Damaged,
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unread(#[source] io::Error),
    /// What comes out of it cannot be written.
    #[error("what comes out of it cannot be written: {0}")]
    Unwritten(#[source] io::Error),
}

/// Whether a file is an encrypted one. Nothing is said of a file that is shorter than the first line of one.
///
/// # Errors
/// The system's.
pub fn is_encrypted(file: &mut impl Read) -> io::Result<bool> {
    let mut begin = Vec::new();
    file.take(BEGIN.len() as u64).read_to_end(&mut begin)?;
    Ok(begin == BEGIN)
}

/// Writes all of `plain` to `sealed`, encrypted. Who calls makes it durable.
///
/// # Errors
/// The system's.
pub fn encrypt(plain: &mut impl Read, sealed: &File, passphrase: &SecretString) -> io::Result<()> {
    let mut recipient = scrypt::Recipient::new(passphrase.clone());
    recipient.set_work_factor(WORK);
    let encryptor = Encryptor::with_recipients(iter::once(&recipient as _)).map_err(io::Error::other)?;
    let mut writer = encryptor.wrap_output(sealed)?;
    io::copy(plain, &mut writer)?;
    writer.finish()?.flush()
}

/// Writes what is in `sealed` to `plain`. What was written is to be thrown away when it fails: a file that was cut is known by
/// its end.
///
/// # Errors
/// [`Locked`].
pub fn decrypt(sealed: &File, plain: &mut impl Write, passphrase: &SecretString) -> Result<(), Locked> {
    let decryptor = Decryptor::new_buffered(BufReader::new(sealed)).map_err(refused)?;
    if !decryptor.is_scrypt() {
        return Err(Locked::Key);
    }
    let mut identity = scrypt::Identity::new(passphrase.clone());
    identity.set_max_work_factor(WORK_MAX);
    let mut reader = decryptor.decrypt(iter::once(&identity as _)).map_err(refused)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match reader.read(&mut piece) {
            Ok(0) => return plain.flush().map_err(Locked::Unwritten),
            Ok(bytes) => plain.write_all(&piece[..bytes]).map_err(Locked::Unwritten)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unread(error)),
        }
    }
}

fn refused(error: DecryptError) -> Locked {
    match error {
        DecryptError::Io(error) => unread(error),
        DecryptError::ExcessiveWork { required, .. } => Locked::Work(required),
        DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed | DecryptError::NoMatchingKeys => {
            Locked::Passphrase
        }
        // A header that makes no sense, or whose seal does not fit.
        _ => Locked::Damaged,
    }
}

/// The library tells a piece that does not authenticate, and an end that is none, by the kinds of these errors.
fn unread(error: io::Error) -> Locked {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Locked::Damaged,
        _ => Locked::Unread(error),
    }
}
