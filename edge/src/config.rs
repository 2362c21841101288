//! What an edge is told before it starts.

use std::net::SocketAddr;
use std::path::PathBuf;

/// What an edge is told before it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the API and the pages listen.
    pub listen: SocketAddr,
    /// The directory of the database, the credential, the lock and the control socket.
    pub data: PathBuf,
    /// The hub's URL; what enrolment stored when it is not given.
    pub hub: Option<String>,
}
