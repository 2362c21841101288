//! A client of an edge's HTTP API that shows what was said.

use std::fmt;

use reqwest::Method;
use serde_json::Value;

/// How long an edge may take for an answer before it counts as hanging; an exchange that is asked for may take a while.
const ANSWER_MS_MAX: u64 = 60_000;

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The request, for messages.
    pub request: String,
    /// The status.
    pub status: u16,
    /// The header `ETag`.
    pub etag: Option<String>,
    /// The header `Content-Type`.
    pub media_type: Option<String>,
    /// The body as text.
    pub text: String,
}

impl Answer {
    /// The body of an answer that has this status; null when it has none.
    ///
    /// # Panics
    /// When the status is another one, with the body.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self}");
        if self.text.is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("no JSON: {error}\n{self}"))
    }

    /// The stable code of a problem (RFC 9457) with this status.
    ///
    /// # Panics
    /// When the answer is no such problem.
    #[track_caller]
    pub fn problem(self, status: u16) -> String {
        assert_eq!(self.media_type.as_deref(), Some("application/problem+json"), "{self}");
        let body = self.clone().expect(status);
        let code = body["code"].as_str().map(str::to_owned);
        code.unwrap_or_else(|| panic!("a problem has a code\n{self}"))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} answered {}\n{}", self.request, self.status, self.text)
    }
}

/// A person at an edge.
#[derive(Clone, Debug)]
pub struct Api {
    base: String,
    token: Option<String>,
    client: reqwest::Client,
}

impl Api {
    /// A client for the edge on `port`, signed in if there is a token.
    pub fn new(port: u16, token: Option<String>) -> Self {
        let limit = std::time::Duration::from_millis(ANSWER_MS_MAX);
        // A connection each: an edge closes one whose request it did not read to the end, such as too large a body.
        let builder = crate::client::builder().timeout(limit).pool_max_idle_per_host(0);
        let client = builder.build().expect("a client needs nothing");
        Self { base: format!("http://127.0.0.1:{port}"), token, client }
    }

    /// Asks for a path below `/api/v1`.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, &[]).await
    }

    /// Posts JSON to a path below `/api/v1`.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, Some(body.to_string()), &[]).await
    }

    /// Patches a path below `/api/v1` with JSON.
    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PATCH, path, Some(body.to_string()), &[]).await
    }

    /// Deletes a path below `/api/v1`.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None, &[]).await
    }

    /// Sends a form of a page to its path, as the page itself would, and returns the page that it leads to.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn submit(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let body: Vec<String> = form.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let request = self.client.post(format!("{}{path}", self.base)).header("origin", &self.base);
        let mut request = request.header("content-type", "application/x-www-form-urlencoded").body(body.join("&"));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.unwrap_or_else(|error| panic!("POST {path}: {error:?}"));
        let (request, status) = (format!("POST {path} {form:?}"), answer.status().as_u16());
        let text = answer.text().await.unwrap_or_else(|error| panic!("POST {path}: {error:?}"));
        Answer { request, status, etag: None, media_type: None, text }
    }

    /// Any request.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn send(&self, method: Method, path: &str, body: Option<String>, headers: &[(&str, &str)]) -> Answer {
        let sent = self.try_send(method.clone(), path, body, headers).await;
        sent.unwrap_or_else(|error| panic!("{method} {path}: {error:?}"))
    }

    /// Any request, to an edge that may be dead.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, reqwest::Error> {
        let path = if path.starts_with("/healthz") || path.starts_with("/readyz") {
            path.to_owned()
        } else {
            format!("/api/v1{path}")
        };
        let shown = format!("{method} {path} {}", body.as_deref().unwrap_or_default());
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.body(body);
            if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
                request = request.header("content-type", "application/json");
            }
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await?;
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (status, etag, media_type) = (answer.status().as_u16(), header("etag"), header("content-type"));
        Ok(Answer { request: shown, status, etag, media_type, text: answer.text().await? })
    }
}
