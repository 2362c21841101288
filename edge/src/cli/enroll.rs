//! `edge enroll`: trades a one-time code for an identity.

use super::error::CliError;
use super::{Options, answers, print, runtime};
use crate::clock::Clock;
use crate::config::{Config, Settings, is_hub_url};
use crate::control::{Answer, Request};
use crate::data_dir::DataDir;
use crate::{operator, running};

/// Trades a one-time code for an identity. Works beside a running edge, and before the first start.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  hub edge enroll --tenant acme-corp --site Warehouse --name wh-1   (at the centre, prints CODE)\n  edge enroll --hub https://hub.example.com --code CODE"
)]
pub(super) struct Arguments {
    /// The hub's URL [environment: EDGE_HUB]
    #[arg(long, value_name = "URL")]
    hub: Option<String>,
    /// The code that `hub edge enroll` printed
    #[arg(long)]
    code: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(options: &Options, arguments: Arguments) -> Result<(), CliError> {
    let Arguments { hub, code, json } = arguments;
    if let Some(value) = hub.as_deref().filter(|url| !is_hub_url(url)) {
        return Err(CliError::HubUrl { value: value.to_owned() });
    }
    let config = options.load_with(Settings { hub, ..Settings::default() })?.config;
    let Some(hub) = config.hub.clone() else {
        return Err(CliError::Failed("no hub is given: say --hub URL or set EDGE_HUB".to_owned()));
    };
    let answer = runtime()?.block_on(enroll(config, hub, code))?;
    match answer {
        Answer::Enrolled { name, tenant, site } if json => {
            print::json(&serde_json::json!({ "name": name, "tenant": tenant, "site": site }))
        }
        Answer::Enrolled { name, tenant, site } => {
            print::text(&format!("enrolled as {name} (tenant {tenant}, site {site})\n"))
        }
        _ => Ok(()),
    }
}

async fn enroll(config: Config, hub: String, code: String) -> Result<Answer, CliError> {
    let data = DataDir::new(&config.data);
    let request = Request::Enroll { hub: hub.clone(), code: code.clone() };
    if data.database().exists() {
        return answers::ask(config, request, |_| {}).await;
    }
    // There is no edge yet. The hub is asked first, so that a wrong code leaves nothing behind.
    let credential = operator::trade(Clock::new(), &hub, &code).await.map_err(CliError::Failed)?;
    let edge = running::open(config)?;
    let answer = operator::adopt(&edge.app, credential).await;
    edge.close().await;
    match answer {
        Answer::Failed(why) => Err(CliError::Failed(why)),
        answer => Ok(answer),
    }
}
