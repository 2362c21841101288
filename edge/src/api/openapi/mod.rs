//! The API's own description (OpenAPI 3.1), for programs at `/api/openapi.json` and for people at `/docs`.
//!
//! Rows are described from the catalog and other answers from the very types that are sent, so neither can fall behind.
//! `routes` says what the routes are for; a test asks a running edge about every one of them.

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    Components, ContactBuilder, InfoBuilder, License, OpenApi, OpenApiBuilder, Paths, PathsBuilder, ServerBuilder, Tag,
};

use utoipa_swagger_ui::{Config, SwaggerUi};

use super::Server;

mod examples;
mod operation;
mod problems;
mod routes;
mod rows;

/// Where programs find it.
pub const PATH: &str = "/api/openapi.json";
/// The parts that routes are grouped in, each with what it is.
const TAGS: [(&str, &str); 6] = [
    ("session", "Signing in and out, with the WAN up or down."),
    ("tasks", "What is to be done."),
    ("devices", "What stands at the sites."),
    ("sites", "Where the tenant works."),
    ("tenant", "Who belongs to the tenant, and what they did here. Kept at the centre; read only."),
    ("sync", "How this edge stands with headquarters."),
];

/// The whole description.
pub fn document() -> OpenApi {
    let about = "The API of one Waystation edge: the tasks, devices and sites of one tenant, at one site, with the WAN up \
                 or down. What is answered with 2xx is on the disk and will reach headquarters. Every row says in `_sync` \
                 how it stands with headquarters. Errors are RFC 9457 problems with a stable `code`.";
    let contact = ContactBuilder::new().name(Some("Waystation")).build();
    let mut license = License::new("Apache-2.0");
    license.identifier = Some("Apache-2.0".to_owned());
    let info = InfoBuilder::new()
        .title("Waystation edge")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(about))
        .contact(Some(contact))
        .license(Some(license))
        .build();
    let tags = TAGS.map(|(name, about)| {
        let mut tag = Tag::new(name);
        tag.description = Some(about.to_owned());
        tag
    });
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([ServerBuilder::new().url("/").description(Some("this edge")).build()]))
        .tags(Some(tags))
        .paths(paths())
        .components(Some(components()))
        .build()
}

/// The description as JSON text.
pub fn text() -> String {
    document().to_pretty_json().unwrap_or_default()
}

/// The description for people. Its program and styles are part of this binary.
pub(super) fn docs() -> Router<Server> {
    const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                          connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";
    let pages: Router<Server> = SwaggerUi::new("/docs").config(Config::from(PATH).try_it_out_enabled(true)).into();
    pages.layer(map_response(async |mut response: Response| {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        response
    }))
}

pub(super) async fn show() -> Response {
    ([(CONTENT_TYPE, "application/vnd.oai.openapi+json;version=3.1")], text()).into_response()
}

fn paths() -> Paths {
    let add = |paths: PathsBuilder, operation: operation::Described| {
        let (path, method, operation) = operation.finish();
        let mut paths: Paths = paths.build();
        paths.add_path_operation(path, vec![method], operation);
        paths.into()
    };
    routes::all().into_iter().fold(PathsBuilder::new(), add).build()
}

fn components() -> Components {
    let mut components = routes::components();
    let bearer = Http::builder()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The token that POST /api/v1/session answers, or `edge token` prints."))
        .build();
    components.add_security_scheme("token", SecurityScheme::Http(bearer));
    let cookie = ApiKeyValue::with_description("waystation-PORT", "What browsers send after signing in.");
    components.add_security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    components
}
