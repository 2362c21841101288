//! Commands beside a running edge: one request and its answers as JSON lines over `EDGE_DATA/control.sock`.
//!
//! Whoever can open the socket is the operator of the box: its mode keeps everybody else out, and no further question
//! is asked. The same [`Request`] is performed by a command on its own when no edge runs, so that both ways answer alike.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sync::wire::recovery::Verification;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use uuid::Uuid;

use crate::break_glass::MadeCode;
use crate::sync_handle::Progress;
use crate::{App, operator, socket};

/// The longest request, in bytes.
pub const REQUEST_BYTES_MAX: u64 = 64 * 1024;
/// How long a client may take to say what it wants.
pub const REQUEST_MS_MAX: u64 = 10_000;
/// How many commands may run beside an edge at once.
pub const COMMANDS_MAX: usize = 32;
/// How many answers may wait for a client that does not read.
pub const ANSWERS_MAX: usize = 16;

/// What an operator asks.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// How does this edge stand?
    Status,
    /// Exchange now; answers with progress until it is done.
    Sync,
    /// Exchange, then compare with the centre.
    Verify,
    /// Trade a one-time code for an identity.
    Enroll {
        /// The hub's URL.
        hub: String,
        /// The code.
        code: String,
        /// The certificates of the only CAs to trust, in PEM form; those that were given before, or the system's, without.
        #[serde(default)]
        ca: Option<String>,
    },
    /// Make a session for a person.
    Token {
        /// The person.
        email: String,
    },
    /// Decide about a conflict.
    DecideConflict {
        /// The conflict.
        id: Uuid,
        /// What to do about it.
        decision: Decision,
        /// The person who decides; the operator of the box when it is nobody of the tenant.
        email: Option<String>,
    },
    /// Take an entry off the list of refused rows.
    DiscardRefused(Uuid),
    /// Make emergency codes.
    NewEmergencyCodes {
        /// How many.
        count: u8,
    },
    /// Make an emergency code good for nothing.
    RevokeEmergencyCode(Uuid),
}

/// As it is sent, without a code.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enroll { hub, .. } => f.debug_struct("Enroll").field("hub", hub).finish_non_exhaustive(),
            other => f.write_str(&serde_json::to_string(other).map_err(|_| fmt::Error)?),
        }
    }
}

/// What to do about a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Write the losing value again.
    Restore,
    /// Leave the winning value.
    Dismiss,
}

/// What an edge answers. The last answer of a request is any but `Progress`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// How far a transfer has come.
    Progress(Progress),
    /// It is done.
    Done,
    /// How this edge stands, as `GET /api/v1/sync/status` says it.
    Status(Value),
    /// What a comparison with the centre found.
    Verified(Verification),
    /// Who this edge is now.
    Enrolled {
        /// Its name at the hub.
        name: String,
        /// Its tenant.
        tenant: Uuid,
        /// Its site.
        site: Uuid,
    },
    /// A bearer token.
    Token(String),
    /// Emergency codes that were made.
    EmergencyCodes(Vec<MadeCode>),
    /// It was not done, and why.
    Failed(String),
}

/// As it is sent, without a token.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token(..)"),
            other => f.write_str(&serde_json::to_string(other).map_err(|_| fmt::Error)?),
        }
    }
}

/// Why a command got no answer from the edge that runs.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The socket cannot be used.
    #[error("cannot use the control socket {}: {source}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The edge ended in the middle of an answer, or is of another version.
    #[error("the running edge's answer is not understood: is it of this version, and still running?")]
    Answer,
}

/// Listens, and performs what is asked until the task is dropped.
///
/// # Errors
/// [`ControlError::Socket`] when the socket cannot be made.
pub fn listen(path: &Path) -> Result<UnixListener, ControlError> {
    socket::bind(path).map_err(|source| ControlError::Socket { path: path.to_owned(), source })
}

/// Performs what is asked until the task is dropped.
pub async fn serve(listener: UnixListener, app: App) {
    let commands = std::sync::Arc::new(Semaphore::new(COMMANDS_MAX));
    loop {
        let Ok(permit) = std::sync::Arc::clone(&commands).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the control socket took no connection");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let app = app.clone();
        tokio::spawn(async move {
            if let Err(error) = answer(stream, app).await {
                tracing::debug!(%error, "a command went away");
            }
            drop(permit);
        });
    }
}

async fn answer(stream: UnixStream, app: App) -> io::Result<()> {
    let (input, mut output) = stream.into_split();
    let mut line = String::new();
    let mut input = BufReader::new(input.take(REQUEST_BYTES_MAX));
    tokio::time::timeout(Duration::from_millis(REQUEST_MS_MAX), input.read_line(&mut line)).await??;
    let (answers, mut answered) = mpsc::channel(ANSWERS_MAX);
    match serde_json::from_str(&line) {
        Ok(request) => drop(tokio::spawn(operator::perform(app, request, answers))),
        Err(error) => {
            let failed = Answer::Failed(format!("the running edge does not understand this command: {error}"));
            // The channel is new and takes it.
            let _ = answers.try_send(failed);
            drop(answers);
        }
    }
    while let Some(answer) = answered.recv().await {
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        output.write_all(&line).await?;
    }
    output.shutdown().await
}

/// Asks the edge that runs on a data directory; `None` when none runs there. Answers come one by one; the last is any
/// but [`Answer::Progress`].
///
/// # Errors
/// [`ControlError::Socket`].
pub async fn ask(path: &Path, request: &Request) -> Result<Option<Answers>, ControlError> {
    let failed = |source| ControlError::Socket { path: path.to_owned(), source };
    let Some(mut stream) = socket::connect(path).await.map_err(failed)? else { return Ok(None) };
    let mut line = serde_json::to_vec(request).map_err(|error| failed(error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).await.map_err(failed)?;
    Ok(Some(Answers { lines: BufReader::new(stream) }))
}

/// The answers to a request.
#[derive(Debug)]
pub struct Answers {
    lines: BufReader<UnixStream>,
}

impl Answers {
    /// The next answer.
    ///
    /// # Errors
    /// [`ControlError::Answer`], also when the edge ended before it answered.
    pub async fn next(&mut self) -> Result<Answer, ControlError> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).await;
        if !read.is_ok_and(|bytes| bytes > 0) {
            return Err(ControlError::Answer);
        }
        serde_json::from_str(&line).map_err(|_| ControlError::Answer)
    }
}
