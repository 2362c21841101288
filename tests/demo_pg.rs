//! The demo: what a person sees in the first five minutes has to hold.
//!
//! Goal: one command raises a centre and three sites in sync; a site that is cut off keeps what is written there and
//! catches up when it is mended; nothing outlives the demo, however it ends. Method: real processes, judged by their
//! output, their dumps, and the process table.

use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;
use tests::processes::Finished;
use tests::programs::{Running, edge, hub, is_alive, run};
use tests::scratch::Scratch;
use tests::wait;

struct Demo {
    process: Running,
    ready: Value,
    /// Where the demo leaves word of itself, away from one that a person may be running.
    runtime: PathBuf,
}

impl Demo {
    fn start(scratch: &Scratch) -> Self {
        let mut command = edge(&["demo", "--json", "--for", "600"]);
        let runtime = scratch.path().to_owned();
        let mut process = Running::start(command.current_dir(&runtime).env("XDG_RUNTIME_DIR", &runtime), scratch);
        let line = process.first_line();
        Self { process, ready: serde_json::from_str(&line).expect("one line of JSON"), runtime }
    }

    fn directory(&self) -> PathBuf {
        PathBuf::from(self.ready["dir"].as_str().expect("dir is text"))
    }

    fn edge(&self, name: &str) -> &Value {
        let edges = self.ready["edges"].as_array().expect("edges is an array");
        edges.iter().find(|edge| edge["name"] == name).unwrap_or_else(|| panic!("no edge {name}"))
    }

    fn data(&self, name: &str) -> &Path {
        Path::new(self.edge(name)["data"].as_str().expect("data is text"))
    }

    fn status(&self, name: &str) -> Value {
        let status = run(edge(&["status", "--json", "--data"]).arg(self.data(name))).succeeded();
        serde_json::from_str(&status).expect("status prints JSON")
    }

    fn dump(&self, name: &str) -> String {
        run(edge(&["dump", "--data"]).arg(self.data(name))).succeeded()
    }

    fn central_dump(&self, tenant: &str) -> String {
        let database = self.ready["database_url"].as_str().expect("database_url is text");
        run(hub(&["dump", "--tenant", tenant]).env("DATABASE_URL", database)).succeeded()
    }

    fn switch(&self, action: &str, name: &str) -> Finished {
        run(edge(&["demo", action, name]).env("XDG_RUNTIME_DIR", &self.runtime))
    }

    fn pids(&self) -> Vec<u32> {
        let edges = self.ready["edges"].as_array().expect("edges is an array").iter();
        let pids = edges.chain([&self.ready["hub"]]).map(|process| process["pid"].as_u64().expect("pid is a number"));
        pids.map(|pid| u32::try_from(pid).expect("process ids are small")).chain(self.postmaster()).collect()
    }

    fn postmaster(&self) -> Option<u32> {
        let file = std::fs::read_to_string(self.directory().join("postgresql/data/postmaster.pid")).ok()?;
        file.lines().next()?.parse().ok()
    }
}

fn everything_goes(demo: Demo, signal: Signal) {
    let (pids, directory) = (demo.pids(), demo.directory());
    assert_eq!(pids.len(), 5, "three edges, the hub and PostgreSQL");
    assert!(pids.iter().all(|pid| is_alive(*pid)) && directory.exists());
    let mut process = demo.process;
    process.end(signal);
    wait::until_true("no process outlives the demo", || !pids.iter().any(|pid| is_alive(*pid)));
    wait::until_true("the demo's directory is removed", || !directory.exists());
}

#[test]
fn a_site_that_is_cut_off_keeps_its_writes_and_catches_up() {
    let scratch = Scratch::new();
    let demo = Demo::start(&scratch);
    for (name, tenant, site) in
        [("hq-1", "acme-corp", "headquarters"), ("wh-1", "acme-corp", "warehouse"), ("office-1", "techstart", "office")]
    {
        let edge = demo.edge(name);
        assert_eq!((&edge["tenant"], &edge["site"]), (&Value::from(tenant), &Value::from(site)));
        let people = edge["people"].as_array().expect("people is an array");
        assert!(people.len() >= 2, "{edge}");
        for person in people {
            let text = |field: &str| person[field].as_str().unwrap_or_default().to_owned();
            assert!(text("email").contains('@') && text("pin").len() >= 6 && text("token").len() >= 32, "{person}");
            assert!(["owner", "admin", "member", "viewer"].contains(&text("role").as_str()), "{person}");
        }
        // The tokens that the demo printed are audited, and those records may still be on their way.
        wait::until_true("the edge is in sync", || demo.status(name)["in_sync"] == true);
        assert_eq!(demo.dump(name), demo.central_dump(tenant));
    }

    let said = demo.switch("cut", "hq-1").succeeded();
    assert_eq!(said, "hq-1 is cut off from the centre; mend it with: edge demo heal hq-1\n");
    wait::until_true("the edge notices that it is cut off", || demo.status("hq-1")["state"] == "offline");
    let connection = rusqlite::Connection::open(demo.data("hq-1").join("edge.db")).expect("a plain client");
    connection.busy_timeout(std::time::Duration::from_secs(5)).expect("a plain client");
    let changed = connection.execute("update tasks set title = title || ' (cut off)' where status = 'open'", []);
    let changed = changed.expect("a plain client writes");
    assert!(changed > 0);
    drop(connection);
    wait::until_true("the writes wait", || demo.status("hq-1")["pending"] == changed);
    assert_eq!(demo.status("hq-1")["in_sync"], false);
    assert!(!demo.central_dump("acme-corp").contains("(cut off)"));

    assert_eq!(demo.switch("heal", "hq-1").succeeded(), "hq-1 is connected to the centre again\n");
    let settled = || {
        let central = demo.central_dump("acme-corp");
        central.contains("(cut off)") && demo.dump("hq-1") == central && demo.dump("wh-1") == central
    };
    wait::until_true("both sites and the centre are equal", settled);
    wait::until_true("the site is in sync", || demo.status("hq-1")["in_sync"] == true);
    assert!(!demo.central_dump("techstart").contains("(cut off)"));

    codes_are_good_once(&demo, &scratch);
    let unknown = run(edge(&["demo", "cut", "hq-9", "--dir"]).arg(demo.directory())).failed(1);
    assert!(unknown.contains("hq-9") && unknown.contains("hq-1, wh-1, office-1"), "{unknown}");
    everything_goes(demo, Signal::TERM);
}

/// A wrong code and a used one are told apart from a hub that is not there, and change nothing.
fn codes_are_good_once(demo: &Demo, scratch: &Scratch) {
    let database = demo.ready["database_url"].as_str().expect("database_url is text");
    let hub_url = demo.ready["hub"]["url"].as_str().expect("url is text");
    let arguments = ["edge", "enroll", "--tenant", "acme-corp", "--site", "Warehouse", "--name", "wh-2", "--json"];
    let issued = run(hub(&arguments).env("DATABASE_URL", database)).succeeded();
    let issued: Value = serde_json::from_str(&issued).expect("--json prints JSON");
    let enroll = |code: &str, data: &str| {
        let data = scratch.path().join(data);
        (run(edge(&["enroll", "--hub", hub_url, "--code", code, "--data"]).arg(&data)), data)
    };
    let code = issued["code"].as_str().expect("code is text");
    let (wrong, data) = enroll("ZZZZ-ZZZZ-ZZZZ", "wrong");
    let wrong = wrong.failed(1);
    assert!(!data.exists(), "a wrong code leaves nothing");
    let (right, data) = enroll(code, "right");
    assert!(right.succeeded().contains("wh-2"));
    let mode = std::os::unix::fs::PermissionsExt::mode;
    let credential = std::fs::metadata(data.join("credential.json")).expect("the credential is kept");
    assert_eq!(mode(&credential.permissions()) & 0o777, 0o600);
    let (again, _) = enroll(code, "again");
    assert!(again.failed(1).contains("code"), "{wrong}");
    let twice = run(edge(&["enroll", "--hub", hub_url, "--code", code, "--data"]).arg(&data)).failed(1);
    assert!(twice.contains("enrolled already"), "{twice}");
    run(edge(&["sync", "--data"]).arg(&data)).succeeded();
    assert_eq!(run(edge(&["dump", "--data"]).arg(&data)).succeeded(), demo.central_dump("acme-corp"));
}

#[test]
fn a_demo_that_is_killed_takes_everything_with_it() {
    let scratch = Scratch::new();
    let demo = Demo::start(&scratch);
    everything_goes(demo, Signal::KILL);
}
