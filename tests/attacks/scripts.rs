//! Text that wants to be a program: in every column, seen by a real browser.
//!
//! Each payload calls a listener that the test runs, and changes the title, if it gets to run. On a careless page it does,
//! which shows that the browser, the payloads and the listener are able to. On the edge's pages it stands there as text, and makes
//! no element or attribute that our pages do not have. The edge's policy is a wall of its own: with it, not even the careless page runs anything.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Path;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderValue, Uri};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use sync::catalog;
use tests::browser::Browser;
use tests::desk::{DEVICE_HERE, Desk, HERE, PEOPLE, TENANT};
use tests::wait::eventually;
use tokio::net::TcpListener;

/// The payloads; `CALL` stands for the address that each calls. The first ones run when a careless page is opened; the others
/// wait for a click, or for a page that is careless in another way.
const RUNS: &[&str] = &[
    "<script>document.title='pwned';fetch('CALL')</script>",
    "<script src='CALL'></script>",
    "\"><script>document.title='pwned';fetch('CALL')</script>",
    "'><img src=x onerror=\"document.title='pwned';fetch('CALL')\">",
    "<img src='CALL'>",
    "<svg onload=\"document.title='pwned';fetch('CALL')\"></svg>",
    "<svg><script>fetch('CALL')</script></svg>",
    "</title><script>fetch('CALL')</script>",
    "</textarea><script>fetch('CALL')</script>",
    "</option></select><script>fetch('CALL')</script>",
    "</fieldset></form><script>fetch('CALL')</script>",
    "--><script>fetch('CALL')</script><!--",
    "<input autofocus onfocus=\"document.title='pwned';fetch('CALL')\">",
    "<details open ontoggle=\"fetch('CALL')\">x</details>",
    "<iframe srcdoc=\"<script>fetch('CALL')</script>\"></iframe>",
    "<iframe src=\"javascript:fetch('CALL')\"></iframe>",
    "<iframe src='CALL'></iframe>",
    "<object data='CALL'></object>",
    "<embed src='CALL'>",
    "<video><source onerror=\"fetch('CALL')\"></video>",
    "<style>@import 'CALL';</style>",
    "<style>body{background:url(CALL)}</style>",
    "<link rel=stylesheet href='CALL'>",
    "<p style=\"background:url(CALL)\">x</p>",
    "<ScRiPt>fetch('CALL')</sCrIpT>",
    "<script/x>fetch('CALL')</script>",
];
const WAITS: &[&str] = &[
    "<a href=\"javascript:fetch('CALL')\">x</a>",
    "javascript:fetch('CALL')",
    "\" onmouseover=\"fetch('CALL')\" x=\"",
    "<form action='CALL'><button>x</button></form>",
    "<base href='CALL/'>",
    "&lt;script&gt;fetch('CALL')&lt;/script&gt;",
    "&#60;script&#62;fetch('CALL')&#60;/script&#62;",
    "%3Cscript%3Efetch('CALL')%3C/script%3E",
    "\\u003cscript\\u003efetch('CALL')\\u003c/script\\u003e",
    "\u{ff1c}script\u{ff1e}fetch('CALL')\u{ff1c}/script\u{ff1e}",
    "+ADw-script+AD4-fetch('CALL')+ADw-/script+AD4-",
    "{{constructor.constructor('fetch(`CALL`)')()}}",
    "${fetch('CALL')}",
    "<%= fetch('CALL') %>",
    "\u{202e}<script>fetch('CALL')</script>",
];

/// A listener that hears what calls it, and serves careless pages.
struct Listener {
    url: String,
    /// The same by another name, which makes it another site to a browser.
    elsewhere: String,
    heard: Arc<Mutex<BTreeSet<String>>>,
}

impl Listener {
    /// Serves each payload as markup at `/careless/N`, and at `/walled/N` with a policy.
    async fn start(policy: &str) -> Self {
        let socket = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        let (heard, policy) = (Arc::<Mutex<BTreeSet<String>>>::default(), HeaderValue::from_str(policy).unwrap());
        let elsewhere = url.replace("127.0.0.1", "localhost");
        let (hear, base) = (Arc::clone(&heard), elsewhere.clone());
        let page = move |index: usize, site: &str| {
            Html(format!("<!doctype html><title>x</title><body>{}</body>", payload(index, &base, site)))
        };
        let walled = page.clone();
        let router = Router::new()
            .route("/careless/{index}", get(async move |Path(index): Path<usize>| page(index, "careless")))
            .route(
                "/walled/{index}",
                get(async move |Path(index): Path<usize>| {
                    ([(CONTENT_SECURITY_POLICY, policy)], walled(index, "walled")).into_response()
                }),
            )
            .fallback(async move |uri: Uri| -> Response {
                hear.lock().unwrap().insert(uri.path().to_owned());
                ([(CONTENT_TYPE, "text/plain")], "").into_response()
            });
        tokio::spawn(async move { axum::serve(socket, router).await });
        Self { url, elsewhere, heard }
    }

    /// The calls of one place.
    fn calls(&self, site: &str) -> BTreeSet<String> {
        let begin = format!("/call/{site}/");
        self.heard.lock().unwrap().iter().filter(|path| path.starts_with(&begin)).cloned().collect()
    }
}

fn payload(index: usize, listener: &str, site: &str) -> String {
    let call = format!("{listener}/call/{site}/{index}");
    RUNS.iter().chain(WAITS).nth(index).expect("one of the payloads").replace("CALL", &call)
}

/// What a browser made of a page.
struct Seen {
    title: String,
    /// All text, and what stands in fields.
    text: String,
    /// Elements and attributes that no page of ours has: those that run, fetch, or lead elsewhere.
    strange: String,
}

const TEXT: &str = "return document.documentElement.textContent + ' ' +
    [...document.querySelectorAll('input, textarea')].map(field => field.value).join(' ')";
const STRANGE: &str = "
    const tags = ['script', 'iframe', 'object', 'embed', 'svg', 'video', 'source', 'style', 'base'];
    const leads = ['href', 'src', 'action', 'formaction', 'data'];
    const isInside = url => new URL(url, location.href).origin === location.origin;
    const isStrange = attribute => attribute.name.startsWith('on') || attribute.name === 'style'
      || leads.includes(attribute.name) && !isInside(attribute.value);
    if (document.contentType !== 'text/html') return '';
    return [...document.querySelectorAll('*')]
      .filter(element => tags.includes(element.tagName.toLowerCase()) || [...element.attributes].some(isStrange))
      .map(element => element.outerHTML.slice(0, 200)).join('\\n')";

/// Opens a page, and then one of the listener's, so that the first has had its time.
async fn open(browser: &Browser, listener: &Listener, url: &str) -> Seen {
    browser.open(url).await;
    let evaluate = async |script| browser.evaluate(script).await.as_str().unwrap_or_default().to_owned();
    let (title, text, strange) =
        (evaluate("return document.title").await, evaluate(TEXT).await, evaluate(STRANGE).await);
    browser.open(&format!("{}/between", listener.url)).await;
    Seen { title, text, strange }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_in_any_column_is_shown_as_text_and_never_runs() {
    let desk = Desk::start().await;
    let token = desk.sign_in("olga").await;
    let policy = desk.send(&token, "GET", "/", None, &[]).await.header("content-security-policy").to_owned();
    let listener = Listener::start(&policy).await;
    let browser = Browser::start().await;

    // On careless pages the payloads run, and behind the policy alone nothing does.
    for index in 0..RUNS.len() {
        open(&browser, &listener, &format!("{}/careless/{index}", listener.url)).await;
        open(&browser, &listener, &format!("{}/walled/{index}", listener.url)).await;
    }
    let all: BTreeSet<String> = (0..RUNS.len()).map(|index| format!("/call/careless/{index}")).collect();
    eventually("every payload that should run is heard", async || {
        let missing: Vec<_> = all.difference(&listener.calls("careless")).cloned().collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?}")) }
    })
    .await;
    assert_eq!(listener.calls("walled"), BTreeSet::new(), "the policy lets something run");

    let count = RUNS.len() + WAITS.len();
    let payloads: Vec<String> = (0..count).map(|index| payload(index, &listener.elsewhere, "edge")).collect();
    let ids = store(&desk, &payloads).await;
    browser.open(&format!("{}/sign-in", desk.url)).await;
    browser.set_cookie(&format!("waystation-{}", desk.app.config.listen.port()), &token).await;
    let mut pages: Vec<(String, Vec<&str>)> = Vec::new();
    let every: Vec<&str> = payloads.iter().map(String::as_str).collect();
    for path in ["/?view=all", "/devices?view=all", "/conflicts", "/sync", "/sessions", "/tasks/new"] {
        pages.push((path.to_owned(), every.clone()));
    }
    pages.push(("/conflicts?decided".to_owned(), Vec::new()));
    for (payload, (task, device)) in payloads.iter().zip(&ids) {
        pages.push((format!("/tasks/{task}"), vec![payload]));
        pages.push((format!("/devices/{device}"), vec![payload]));
        let encoded: String = payload.bytes().map(|byte| format!("%{byte:02X}")).collect();
        pages.push((format!("/?view=all&q={encoded}"), vec![payload]));
        pages.push((format!("/sign-in?next={encoded}"), Vec::new()));
        pages.push((format!("/tasks/{encoded}?{encoded}={encoded}"), Vec::new()));
    }
    for (path, expected) in pages {
        let Seen { title, text, strange } = open(&browser, &listener, &format!("{}{path}", desk.url)).await;
        assert!(!title.starts_with("pwned"), "{path} is called {title:?}");
        assert!(!text.trim().is_empty(), "{path} shows nothing");
        assert_eq!(strange, "", "{path} has what none of our pages has");
        for payload in expected {
            assert!(text.contains(payload), "{path} does not show {payload:?} as text: {text}");
        }
    }
    assert_eq!(listener.calls("edge"), BTreeSet::new(), "something ran, or was fetched");
}

/// Puts each payload into every text column of a task and a device of its own, and all of them into the names of the site, the
/// tenant and the people, into a conflict and into the reason of a refused row. Returns the tasks' and devices' ids.
async fn store(desk: &Desk, payloads: &[String]) -> Vec<(String, String)> {
    let quote = |text: &str| text.replace('\'', "''");
    let all = quote(&payloads.join(" "));
    let (person, tasks) = (PEOPLE[0].id, catalog::by_name("tasks").unwrap().id.0);
    let mut sql = format!(
        "begin immediate; update sync_self set applying = 1;
         update tenants set name = '{all}' where id = '{TENANT}';
         update sites set name = '{all}', address = '{all}', metadata = json_object('{all}', '{all}');
         update users set first_name = '{all}', last_name = '{all}';
         update sync_replicas set name = '{all}';"
    );
    let mut ids = Vec::new();
    for text in payloads {
        let (task, device, conflict) = (desk.app.clock.uuid_v4(), desk.app.clock.uuid_v4(), desk.app.clock.uuid_v4());
        let text = quote(text);
        sql += &format!(
            "insert into devices (id, tenant_id, site_id, name, type, serial_number, metadata) values
               ('{device}', '{TENANT}', '{HERE}', '{text}', 'sensor', '{text}', json_object('{text}', '{text}'));
             insert into tasks (id, tenant_id, site_id, user_id, device_id, title, description, metadata) values
               ('{task}', '{TENANT}', '{HERE}', '{person}', '{device}', '{text}', '{text}', json_object('{text}', '{text}'));
             insert into sync_conflicts (id, tbl, row_id, kind, register, winner, loser) values
               ('{conflict}', {tasks}, '{task}', 'edit_edit', 'title',
                json_object('dot', json_array(1, 1, 1), 'value', '{text}'), json_object('dot', json_array(8, 1, 1), 'value', '{text}'));"
        );
        ids.push((task.to_string(), device.to_string()));
    }
    sql += &format!(
        "insert into sync_quarantine (id, tbl, row_id, code, reason, payload, created_at) values
           ('{DEVICE_HERE}', {tasks}, '{}', 'rule', '{all}', '{{}}', '2026-01-01T00:00:00.000000Z');
         update sync_self set applying = 0; commit",
        ids[0].0
    );
    desk.sql(&sql).await;
    ids
}
