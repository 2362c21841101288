//! Cutting a site off and mending its link, from another terminal.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::link::Link;
use super::{DemoError, place};
use crate::socket;

/// The longest request, in bytes.
const REQUEST_BYTES_MAX: u64 = 1024;

/// What can be done to a site's link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// Cut the link of an edge.
    Cut(String),
    /// Mend it.
    Heal(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Done,
    /// There is no such edge; these are the ones there are.
    Unknown(Vec<String>),
}

/// Asks the demo in a directory, or the one that was started last.
pub(super) async fn ask(directory: Option<&Path>, request: &Request) -> Result<(), DemoError> {
    let directory = directory.map(Path::to_owned).or_else(place::found).ok_or(DemoError::NoDemo)?;
    let failed = |source| DemoError::Directory { path: directory.clone(), source };
    let stream = socket::connect(&place::socket(&directory)).await.map_err(failed)?.ok_or(DemoError::NoDemo)?;
    let mut stream = BufReader::new(stream);
    let mut line = serde_json::to_vec(request).map_err(|error| failed(error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).await.map_err(failed)?;
    let mut answer = String::new();
    stream.read_line(&mut answer).await.map_err(failed)?;
    match serde_json::from_str(&answer).map_err(|error| failed(error.into()))? {
        Answer::Done => Ok(()),
        Answer::Unknown(known) if known.is_empty() => Err(DemoError::NoLinks),
        Answer::Unknown(known) => {
            let (Request::Cut(edge) | Request::Heal(edge)) = request;
            Err(DemoError::UnknownEdge { edge: edge.clone(), known: known.join(", ") })
        }
    }
}

/// Does what one connection asks.
pub(super) async fn answer(stream: UnixStream, links: &[(&str, Link)]) -> io::Result<()> {
    let (input, mut output) = stream.into_split();
    let mut line = String::new();
    BufReader::new(input.take(REQUEST_BYTES_MAX)).read_line(&mut line).await?;
    let (edge, whole) = match serde_json::from_str(&line)? {
        Request::Cut(edge) => (edge, false),
        Request::Heal(edge) => (edge, true),
    };
    let answer = match links.iter().find(|(name, _)| *name == edge) {
        Some((_, link)) => {
            link.set_whole(whole);
            Answer::Done
        }
        None => Answer::Unknown(links.iter().map(|(name, _)| (*name).to_owned()).collect()),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    output.write_all(&line).await
}
