//! A real browser without a window (Chromium), driven by the WebDriver protocol (W3C, 2018) through its own driver.
//!
//! `./tests/run` installs both. The browser keeps everything in a scratch directory and ends with this.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::client;
use crate::processes::{Process, free_port};
use crate::scratch::Scratch;
use crate::wait::eventually;

/// How long the browser may take to end, in milliseconds.
const END_MS_MAX: u64 = 10_000;

/// A browser with one window.
pub struct Browser {
    session: String,
    port: u16,
    client: reqwest::Client,
    // It ends before its directory goes.
    driver: Process,
    _directory: Scratch,
}

impl Browser {
    /// Starts one.
    ///
    /// # Panics
    /// When there is none on this machine.
    pub async fn start() -> Self {
        let directory = Scratch::new();
        let (port, log) = (free_port(), directory.path().join("driver.log"));
        let program = in_path("chromedriver");
        let driver =
            Process::start("chromedriver", &program, &[&format!("--port={port}")], &[], directory.path(), &log);
        let client = client::plain();
        let url = format!("http://127.0.0.1:{port}");
        let profile = format!("--user-data-dir={}", directory.path().join("profile").display());
        let arguments = [
            "--headless",
            // The tests may run as root, and the pages are ours.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            // It ends when its driver does, however that ends.
            "--remote-debugging-pipe",
            &profile,
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": arguments}}}});
        let begun = eventually("the browser starts", async || {
            let answer = client.post(format!("{url}/session")).json(&wanted).send().await;
            let answer = answer.map_err(|error| error.to_string())?;
            answer.json::<Value>().await.map_err(|error| error.to_string())
        })
        .await;
        let session = begun["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {begun}")).to_owned();
        Self { session, port, client, driver, _directory: directory }
    }

    /// Opens a page and waits until all of it is loaded.
    ///
    /// # Panics
    /// When it cannot be.
    pub async fn open(&self, url: &str) {
        self.command("url", json!({"url": url})).await;
    }

    /// Gives the browser a cookie for the host of the page that is open.
    pub async fn set_cookie(&self, name: &str, value: &str) {
        let cookie = json!({"name": name, "value": value, "path": "/", "httpOnly": true, "sameSite": "Strict"});
        self.command("cookie", json!({"cookie": cookie})).await;
    }

    /// What a script's `return` returns, run in the page by the driver, whatever the page's policy says of scripts.
    pub async fn evaluate(&self, script: &str) -> Value {
        self.command("execute/sync", json!({"script": script, "args": []})).await
    }

    async fn command(&self, path: &str, body: Value) -> Value {
        let url = format!("http://127.0.0.1:{}/session/{}/{path}", self.port, self.session);
        let answer = self.client.post(url).json(&body).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.driver.log()));
        let (status, answer) = (answer.status(), answer.json::<Value>().await.expect("the driver answers in JSON"));
        assert!(status.is_success(), "{path} {body}: {answer}");
        answer["value"].clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The answer comes when the browser has ended. A driver that does not give one is ended all the same.
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
            let _ = stream.set_read_timeout(Some(Duration::from_millis(END_MS_MAX)));
            let _ = write!(
                stream,
                "DELETE /session/{} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
                self.session
            );
            let _ = stream.read(&mut [0; 1024]);
        }
    }
}

fn in_path(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| Path::is_file(file));
    found.unwrap_or_else(|| panic!("{program} is not installed: ./tests/run installs it"))
}
