//! A listener to an edge's server-sent events.

use reqwest::Response;
use serde_json::Value;

/// A stream of events.
#[derive(Debug)]
pub struct Events {
    response: Response,
    text: String,
}

/// An event.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// The place that it brings a listener to.
    pub id: String,
    /// What it tells.
    pub data: Value,
}

impl Events {
    /// Listens at an edge, from a place on if there is one.
    pub async fn open(url: &str, token: &str, after: Option<&str>) -> Self {
        let mut request = crate::client::plain().get(format!("{url}/api/v1/events")).bearer_auth(token);
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let response = request.send().await.expect("the edge answers");
        assert_eq!(response.status(), 200);
        Self { response, text: String::new() }
    }

    /// The next event.
    pub async fn next(&mut self) -> Event {
        self.read().await.expect("the stream goes on")
    }

    /// The next event with a name; others are passed over.
    pub async fn next_named(&mut self, name: &str) -> Event {
        loop {
            let event = self.next().await;
            if event.name == name {
                return event;
            }
        }
    }

    /// Whether the stream ends without another event.
    pub async fn ends(&mut self) -> bool {
        self.read().await.is_none()
    }

    async fn read(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let parsed = parse(event);
                self.text = rest.to_owned();
                if parsed.is_some() {
                    return parsed;
                }
                continue;
            }
            let piece = self.response.chunk().await.expect("the stream is not cut")?;
            self.text.push_str(std::str::from_utf8(&piece).expect("events are UTF-8"));
        }
    }
}

/// An event of its lines; `None` for a comment.
fn parse(text: &str) -> Option<Event> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let data = serde_json::from_str(field("data")?).expect("data are JSON");
    Some(Event { name: field("event")?.to_owned(), id: field("id")?.to_owned(), data })
}
