//! One route with one method: what it is for, what it takes, what it answers.

use serde_json::Value;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::{Content, HttpMethod, Ref, RefOr, Required, SecurityRequirement};

use super::problems;

/// A route's operation while it is described.
pub(super) struct Described {
    path: String,
    method: HttpMethod,
    operation: OperationBuilder,
    problems: Vec<u16>,
    is_public: bool,
}

/// Begins the description of what a method does on a path.
pub(super) fn operation(method: HttpMethod, path: &str, id: &str, tag: &str, summary: &str) -> Described {
    let operation = OperationBuilder::new().operation_id(Some(id)).tag(tag).summary(Some(summary));
    let described = Described {
        path: path.to_owned(),
        method,
        operation,
        problems: vec![408, 422, 429, 500, 503],
        is_public: false,
    };
    if path.contains("{id}") { described.parameter(id_in_path()).problem(404) } else { described }
}

impl Described {
    /// More about it.
    pub(super) fn about(mut self, text: &str) -> Self {
        self.operation = self.operation.description(Some(text));
        self
    }

    /// Nobody has to sign in for it.
    pub(super) fn public(mut self) -> Self {
        self.is_public = true;
        self
    }

    /// Something that it takes.
    pub(super) fn parameter(mut self, parameter: Parameter) -> Self {
        self.operation = self.operation.parameter(parameter);
        self
    }

    /// Several things that it takes.
    pub(super) fn parameters(self, parameters: impl IntoIterator<Item = Parameter>) -> Self {
        parameters.into_iter().fold(self, Self::parameter)
    }

    /// The JSON that it takes, by media type.
    pub(super) fn body(mut self, media_types: &[&str], schema: &RefOr<Schema>, example: &Value) -> Self {
        let content = || {
            let mut content = Content::new(Some(schema.clone()));
            content.example = Some(example.clone());
            content
        };
        let body = RequestBodyBuilder::new().required(Some(Required::True));
        let body = media_types.iter().fold(body, |body, kind| body.content(*kind, content()));
        self.operation = self.operation.request_body(Some(body.build()));
        [400, 413, 415].into_iter().fold(self, Self::problem)
    }

    /// What it answers.
    pub(super) fn answers(self, status: u16, about: &str, schema: impl Into<RefOr<Schema>>, example: Value) -> Self {
        let mut content = Content::new(Some(schema.into()));
        content.example = Some(example);
        self.answer(status, ResponseBuilder::new().description(about).content("application/json", content))
    }

    /// What it answers with an `ETag`.
    pub(super) fn answers_row(self, status: u16, about: &str, schema: RefOr<Schema>, example: Value) -> Self {
        let mut content = Content::new(Some(schema));
        content.example = Some(example);
        let tag = HeaderBuilder::new()
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
            .description(Some("The row's version, for If-Match and If-None-Match."))
            .build();
        let response =
            ResponseBuilder::new().description(about).content("application/json", content).header("ETag", tag);
        self.answer(status, response)
    }

    /// An answer without JSON.
    pub(super) fn answers_text(self, status: u16, about: &str, media_type: &str) -> Self {
        let text = ObjectBuilder::new().schema_type(Type::String).build();
        let content = Content::new(Some(text));
        self.answer(status, ResponseBuilder::new().description(about).content(media_type, content))
    }

    /// An answer without a body.
    pub(super) fn answers_nothing(self, status: u16, about: &str) -> Self {
        self.answer(status, ResponseBuilder::new().description(about))
    }

    fn answer(mut self, status: u16, response: ResponseBuilder) -> Self {
        self.operation = self.operation.response(status.to_string(), response.build());
        self
    }

    /// A status with which it may refuse.
    pub(super) fn problem(mut self, status: u16) -> Self {
        self.problems.push(status);
        self
    }

    /// It writes: an administrator's rights or the disk may be missing.
    pub(super) fn writes(self) -> Self {
        self.problem(403).problem(507)
    }

    /// The path, the method and the operation.
    pub(super) fn finish(mut self) -> (String, HttpMethod, Operation) {
        if self.is_public {
            // An empty requirement is the standard's word for "none is needed".
            self.operation = self.operation.security(SecurityRequirement::default());
        } else {
            self.problems.extend([401, 403]);
            for scheme in ["token", "cookie"] {
                self.operation = self.operation.security(SecurityRequirement::new(scheme, Vec::<String>::new()));
            }
        }
        self.problems.sort_unstable();
        self.problems.dedup();
        let operation = self.problems.iter().fold(self.operation, |operation, status| {
            operation.response(status.to_string(), Ref::from_response_name(problems::name(*status)))
        });
        (self.path, self.method, operation.build())
    }
}

/// A parameter of the query.
pub(super) fn query(name: &str, about: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    parameter(name, ParameterIn::Query, about, schema)
}

/// A header.
pub(super) fn header(name: &str, about: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    parameter(name, ParameterIn::Header, about, schema)
}

/// A part of the path.
pub(super) fn in_path(name: &str, about: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    let mut parameter = parameter(name, ParameterIn::Path, about, schema);
    parameter.required = Required::True;
    parameter
}

fn parameter(name: &str, place: ParameterIn, about: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(Required::False)
        .description(Some(about))
        .schema(Some(schema))
        .build()
}

fn id_in_path() -> Parameter {
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)))
        .examples(["0190a3c2-7d1e-7c4f-9a51-3f1f5b8e2d10"]);
    in_path("id", "The id.", schema)
}
