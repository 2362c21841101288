//! Performs a request by the edge that runs, or, when none does, by opening its files under the lock.

use tokio::sync::mpsc;

use super::error::CliError;
use crate::config::Config;
use crate::control::{self, ANSWERS_MAX, Answer, Request};
use crate::data_dir::DataDir;
use crate::sync_handle::Progress;
use crate::{operator, running};

/// The final answer. Progress is reported on the way.
///
/// # Errors
/// [`CliError::Failed`] when the edge says that it was not done; [`CliError::NoEdge`] when there is no database yet.
pub(super) async fn ask(
    config: Config,
    request: Request,
    mut on_progress: impl FnMut(Progress),
) -> Result<Answer, CliError> {
    let data = DataDir::new(&config.data);
    if let Some(mut answers) = control::ask(&data.control(), &request).await? {
        loop {
            if let Some(last) = sort(answers.next().await?, &mut on_progress)? {
                return Ok(last);
            }
        }
    }
    if !data.database().exists() {
        return Err(CliError::NoEdge { path: config.data });
    }
    let mut edge = running::open(config)?;
    if matches!(request, Request::Sync | Request::Verify) {
        edge.start_sync();
    }
    let (answers, mut answered) = mpsc::channel(ANSWERS_MAX);
    let performing = tokio::spawn(operator::perform(edge.app.clone(), request, answers));
    let mut last = Err(CliError::Failed("the edge did not answer".to_owned()));
    while let Some(answer) = answered.recv().await {
        if let Some(sorted) = sort(answer, &mut on_progress).transpose() {
            last = sorted;
        }
    }
    // It has dropped its end of the channel, so it is over; a panic has printed itself.
    let _ = performing.await;
    edge.close().await;
    last
}

fn sort(answer: Answer, on_progress: &mut impl FnMut(Progress)) -> Result<Option<Answer>, CliError> {
    match answer {
        Answer::Progress(progress) => on_progress(progress),
        Answer::Failed(why) => return Err(CliError::Failed(why)),
        last => return Ok(Some(last)),
    }
    Ok(None)
}
