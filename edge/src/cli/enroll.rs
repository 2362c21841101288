//! `edge enroll`: trades a one-time code for an identity.

use std::path::PathBuf;

use super::error::CliError;
use super::{Options, answers, print, runtime};
use crate::clock::Clock;
use crate::config::{Config, Settings, is_hub_url};
use crate::control::{Answer, Request};
use crate::credential::Credential;
use crate::data_dir::DataDir;
use crate::trust::{self, Transport, Trust, TrustError};
use crate::{operator, running};

/// Trades a one-time code for an identity. Works beside a running edge, and before the first start.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  hub edge enroll --tenant acme-corp --site Warehouse --name wh-1   (at the centre, prints CODE)\n  edge enroll --hub https://hub.example.com:7400 --code CODE --ca ca.crt"
)]
pub(super) struct Arguments {
    /// The hub's URL [environment: EDGE_HUB]
    #[arg(long, value_name = "URL")]
    hub: Option<String>,
    /// The code that `hub edge enroll` printed
    #[arg(long)]
    code: String,
    /// The certificate of the hub's own CA, in PEM form: it is trusted, and nobody else, from now on; without it, the CAs of
    /// this system are
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Speak to a hub on another machine without TLS; `edge serve` has to be told too [environment: EDGE_PLAIN_HTTP=true]
    #[arg(long)]
    plain_http: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(options: &Options, arguments: Arguments) -> Result<(), CliError> {
    let Arguments { hub, code, ca, plain_http, json } = arguments;
    if let Some(value) = hub.as_deref().filter(|url| !is_hub_url(url)) {
        return Err(CliError::HubUrl { value: value.to_owned() });
    }
    let flags = Settings { hub, plain_http: plain_http.then_some(true), ..Settings::default() };
    let config = options.load_with(flags)?.config;
    // An edge that is enrolled again knows where.
    let known = || Credential::load(&DataDir::new(&config.data).credential()).ok().flatten();
    let Some(hub) = config.hub.clone().or_else(|| Some(known()?.hub)) else {
        return Err(CliError::Failed("no hub is given: say --hub URL or set EDGE_HUB".to_owned()));
    };
    let ca = ca.as_deref().map(trust::read_ca).transpose()?;
    if ca.is_some() && Transport::to(&hub) != Some(Transport::Tls) {
        return Err(TrustError::NoTls(hub).into());
    }
    let answer = runtime()?.block_on(enroll(config, hub, code, ca))?;
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

async fn enroll(config: Config, hub: String, code: String, ca: Option<String>) -> Result<Answer, CliError> {
    let data = DataDir::new(&config.data);
    let request = Request::Enroll { hub: hub.clone(), code: code.clone(), ca: ca.clone() };
    if data.database().exists() {
        return answers::ask(config, request, |_| {}).await;
    }
    // There is no edge yet. The hub is asked first, so that a wrong code leaves nothing behind.
    let trust = Trust { ca, plain_http: config.plain_http, hub_ms: None };
    let credential = operator::trade(Clock::new(), &hub, trust, &code).await.map_err(CliError::Failed)?;
    let edge = running::open(config)?;
    let answer = operator::adopt(&edge.app, credential).await;
    edge.close().await;
    match answer {
        Answer::Failed(why) => Err(CliError::Failed(why)),
        answer => Ok(answer),
    }
}
