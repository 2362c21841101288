//! Carries out the session's actions. A stand-in until the exchange lands: it answers that it cannot.

use crate::App;
use crate::sync_handle::{SyncPort, SyncRequest};

/// Serves requests until every handle is gone.
pub async fn run(_app: App, mut port: SyncPort) {
    while let Some(request) = port.requests.recv().await {
        if let SyncRequest::Now(answer) = request {
            // Whoever asked may have gone.
            let _ = answer.send(Err("this edge cannot exchange yet".to_owned()));
        }
    }
}
