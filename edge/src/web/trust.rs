//! How a phone comes to trust this box: the CA's certificate, its fingerprint to compare, and a code to scan that leads here.
//!
//! Everybody may see it: nobody can sign in safely before, and nothing of it is secret.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use qrcode::QrCode;
use qrcode::render::svg;

use super::page::{ASSETS, PageError, render};
use crate::api::Server;
use crate::api::error::Error;
use crate::page_tls::{Certificate, Visits, fingerprint};

/// The least width of the code in pixels.
const CODE_PIXELS_MIN: u32 = 240;

#[derive(Template)]
#[template(path = "trust.html")]
struct TrustPage {
    assets: &'static str,
    url: String,
    fingerprint: String,
    names: String,
}

pub(super) async fn show(State(server): State<Server>) -> Result<Response, PageError> {
    let Certificate { names, ca, .. } = certificate(&server)?;
    let (url, fingerprint) = (url(&server, &names), fingerprint(&ca));
    Ok(render(StatusCode::OK, &TrustPage { assets: &ASSETS, url, fingerprint, names: names.join(", ") }))
}

/// The CA's certificate as phones install it.
pub(super) async fn ca(State(server): State<Server>) -> Result<Response, PageError> {
    let Certificate { ca, .. } = certificate(&server)?;
    let headers = [
        (CONTENT_TYPE, "application/x-x509-ca-cert"),
        (CONTENT_DISPOSITION, "attachment; filename=\"waystation-pages-ca.crt\""),
    ];
    Ok((headers, ca).into_response())
}

/// The address of the page as a code.
pub(super) async fn code(State(server): State<Server>) -> Result<Response, PageError> {
    let Certificate { names, .. } = certificate(&server)?;
    let code = QrCode::new(url(&server, &names)).map_err(|error| Error::Unwritten(error.to_string()))?;
    let image = code.render::<svg::Color<'_>>().min_dimensions(CODE_PIXELS_MIN, CODE_PIXELS_MIN).build();
    Ok(([(CONTENT_TYPE, "image/svg+xml")], image).into_response())
}

fn certificate(server: &Server) -> Result<Certificate, Error> {
    let standing = server.app.pages.standing();
    let none = || Error::NoRoute("/trust, because this box has no certificate for its pages".to_owned());
    standing.certificate.filter(|_| standing.visits == Visits::Tls).ok_or_else(none)
}

/// Where a phone on the site's network finds the page: by address if there is one, which needs no name service.
fn url(server: &Server, names: &[String]) -> String {
    let port = server.app.config.listen.port();
    let reached = |name: &&String| name.parse::<std::net::Ipv4Addr>().is_ok_and(|address| !address.is_loopback());
    let host = names.iter().find(reached).or_else(|| names.first()).map_or("localhost", String::as_str);
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    format!("https://{host}:{port}/trust")
}
