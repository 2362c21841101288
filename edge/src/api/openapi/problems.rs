//! Problems (RFC 9457) as answers, each status with the codes that it comes with.

use std::collections::BTreeSet;

use serde_json::json;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{Content, Ref, RefOr};

use sync::wire::codes::ErrorCode;

use crate::api::codes::CODES;

/// What every problem has in common.
pub(super) fn schema() -> RefOr<Schema> {
    let text = |about: &str| ObjectBuilder::new().schema_type(Type::String).description(Some(about));
    let codes: Vec<&str> = CODES.iter().map(|code| code.code).collect();
    ObjectBuilder::new()
        .description(Some("What failed, for which input, and what to do (RFC 9457)."))
        .property("type", text("`about:blank`: the code says which problem it is.").examples(["about:blank"]))
        .property("title", text("The status in words.").examples(["Unprocessable Entity"]))
        .property("status", ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(400)).maximum(Some(599)))
        .property("code", text("A stable code.").enum_values(Some(codes)))
        .property("detail", text("For people.").examples(["title: must not be blank"]))
        .property("field", text("The field or parameter at fault."))
        .property("pointer", text("Where it is in the body, as a JSON pointer (RFC 6901)."))
        .property("parameter", text("The query parameter at fault."))
        .property("header", text("The header at fault."))
        .property(
            "index",
            ObjectBuilder::new().schema_type(Type::Integer).description(Some("The operation of a batch.")),
        )
        .property("allowed", allowed())
        .property("current", ObjectBuilder::new().description(Some("The row as it is now.")))
        .required("type")
        .required("title")
        .required("status")
        .required("code")
        .required("detail")
        .into()
}

fn allowed() -> impl Into<RefOr<Schema>> {
    let text = ObjectBuilder::new().schema_type(Type::String);
    utoipa::openapi::schema::ArrayBuilder::new().items(text).description(Some("The words that may stand there."))
}

/// The name of the answer with a status.
pub(super) fn name(status: u16) -> String {
    format!("Problem{status}")
}

/// Every status that a problem comes with.
pub(super) fn statuses() -> BTreeSet<u16> {
    CODES.iter().map(|code| code.status).collect()
}

/// The answer with a status.
pub(super) fn response(status: u16) -> Response {
    let codes: Vec<&ErrorCode> = CODES.iter().filter(|code| code.status == status).collect();
    let listed = codes.iter().map(|code| format!("`{}`: {}", code.code, code.when)).collect::<Vec<_>>().join("; ");
    let mut content = Content::new(Some(Ref::from_schema_name("Problem")));
    content.example = codes.first().map(|code| {
        let title = axum::http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
        json!({"type": "about:blank", "title": title, "status": status, "code": code.code, "detail": code.when})
    });
    let response = ResponseBuilder::new().description(listed).content("application/problem+json", content);
    if status != 429 {
        return response.build();
    }
    let seconds = ObjectBuilder::new().schema_type(Type::Integer);
    let again =
        HeaderBuilder::new().schema(Some(seconds)).description(Some("Seconds to wait before the next try.")).build();
    response.header("Retry-After", again).build()
}
