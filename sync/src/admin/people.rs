//! `hub user`: how people sign in at sites.

use std::io::Read as _;

use serde_json::json;
use tokio_postgres::Config;

use super::{Failure, connect, print_json, print_line};
use crate::hub::clock;
use crate::pg::credentials::{self, SECRET_BYTES_MAX, Workplace};

/// Sets the secret on standard input for every site that the person may sign in at, or for one of them.
pub async fn set_pin(database: &Config, email: &str, site: Option<&str>, json: bool) -> Result<(), Failure> {
    let mut client = connect(database).await?;
    if !credentials::user_exists(&client, email).await? {
        return Err(Failure::Input(format!("nobody has the address {email}; check it, or add the user first")));
    }
    let workplaces = chosen(credentials::workplaces(&client, email).await?, email, site)?;
    let secret = read_secret()?;
    let mut verified = Vec::with_capacity(workplaces.len());
    for workplace in workplaces {
        let verifier = credentials::verifier(&secret, &clock::random()?)?;
        verified.push((workplace, verifier));
    }
    credentials::set(&mut client, &verified).await?;
    if json {
        let sites: Vec<_> = verified
            .iter()
            .map(|(place, _)| json!({"tenant": place.tenant_slug, "site": place.site_name, "site_id": place.site}))
            .collect();
        return print_json(&json!({"email": email, "sites": sites}));
    }
    for (place, _) in &verified {
        print_line(&format!("{email} can sign in at {} of {}", place.site_name, place.tenant_slug))?;
    }
    Ok(())
}

fn chosen(all: Vec<Workplace>, email: &str, site: Option<&str>) -> Result<Vec<Workplace>, Failure> {
    if all.is_empty() {
        return Err(Failure::Input(format!(
            "{email} is assigned to no site and owns or administers no tenant that has one; assign a site first"
        )));
    }
    let Some(site) = site else { return Ok(all) };
    let names = all.iter().map(|place| format!("{} of {}", place.site_name, place.tenant_slug)).collect::<Vec<_>>();
    let is_it = |place: &Workplace| {
        place.site_name.to_lowercase() == site.to_lowercase()
            || place.site.hyphenated().to_string() == site.to_lowercase()
    };
    let matching: Vec<Workplace> = all.into_iter().filter(is_it).collect();
    match matching.len() {
        1 => Ok(matching),
        0 => Err(Failure::Input(format!("{email} does not work at {site}; it could be: {}", names.join(", ")))),
        _ => Err(Failure::Input(format!("{email} works at several sites named {site}; give the site's id instead"))),
    }
}

/// The first line of standard input.
fn read_secret() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(SECRET_BYTES_MAX as u64 + 2).read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).map_err(|_| Failure::Input("the secret is not UTF-8 text".to_owned()))?;
    Ok(text.lines().next().unwrap_or_default().trim_end_matches('\r').to_owned())
}
