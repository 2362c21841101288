//! The edge's command line, as a person meets it: each mistake has its own message and changes nothing.
//!
//! Goal: no wrong input is told as another one, and no failure leaves a trace. Method: real processes in scratch
//! directories. Nothing here needs PostgreSQL.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;

use rustix::process::Signal;
use serde_json::Value;
use tests::programs::{Running, edge, hub, is_alive, run};
use tests::scratch::Scratch;
use tests::wait;

#[path = "edge_cli/backup.rs"]
mod backup;
#[path = "edge_cli/break_glass.rs"]
mod break_glass;
#[path = "edge_cli/desk.rs"]
mod desk;
#[path = "edge_cli/doctor.rs"]
mod doctor;
#[path = "edge_cli/rows.rs"]
mod rows;

fn path(scratch: &Scratch, name: &str) -> String {
    scratch.path().join(name).to_str().expect("scratch paths are UTF-8").to_owned()
}

/// Runs an edge command on a data directory, away from everybody's settings.
fn on(scratch: &Scratch, data: &str, arguments: &[&str]) -> tests::processes::Finished {
    run(edge(arguments).args(["--data", data]).current_dir(scratch.path()))
}

#[track_caller]
fn says(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "{message:?} does not say {word:?}");
    }
}

#[test]
fn a_second_edge_on_one_directory_exits_at_once_and_names_it() {
    let scratch = Scratch::new();
    let data = path(&scratch, "data");
    let (_edge, url) = Running::serve(Path::new(&data), &scratch);
    let other_port = on(&scratch, &data, &["serve", "--listen", "127.0.0.1:0"]).failed(1);
    says(&other_port, &[&data, "another edge process"]);
    let same_port = on(&scratch, &data, &["serve", "--listen", url.trim_start_matches("http://")]).failed(1);
    says(&same_port, &[&data, "another edge process"]);
}

#[test]
fn a_lock_without_a_control_socket_is_enough_to_be_kept_out() {
    let scratch = Scratch::new();
    let data = path(&scratch, "data");
    let (_edge, _) = Running::serve(Path::new(&data), &scratch);
    fs::remove_file(Path::new(&data).join("control.sock")).unwrap();
    says(&on(&scratch, &data, &["serve", "--listen", "127.0.0.1:0"]).failed(1), &["edge.db", "another edge process"]);
    says(&on(&scratch, &data, &["status"]).failed(1), &["edge.db", "another edge process"]);
}

#[test]
fn a_file_that_is_not_ours_is_left_as_it_is() {
    let scratch = Scratch::new();
    let other = scratch.path().join("other.db");
    rusqlite::Connection::open(&other).unwrap().execute_batch("create table theirs (x)").unwrap();
    let cases = [("text", b"nothing that SQLite knows".to_vec()), ("theirs", fs::read(other).unwrap())];
    for (name, content) in cases {
        let data = path(&scratch, name);
        fs::create_dir(&data).unwrap();
        let file = Path::new(&data).join("edge.db");
        fs::write(&file, content).unwrap();
        let before = fs::read(&file).unwrap();
        for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["status"], &["dump"], &["sync"]] {
            says(&on(&scratch, &data, arguments).failed(1), &["edge.db", "not an edge's database"]);
        }
        assert_eq!(fs::read(&file).unwrap(), before);
    }
}

#[test]
fn a_busy_port_is_named_and_leaves_no_trace() {
    let scratch = Scratch::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let data = path(&scratch, "data");
    says(&on(&scratch, &data, &["serve", "--listen", &address]).failed(1), &[&address, "--listen"]);
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());
}

#[test]
fn a_data_directory_that_cannot_be_one_is_named() {
    let scratch = Scratch::new();
    let file = path(&scratch, "file");
    fs::write(&file, "x").unwrap();
    for data in [file.clone(), format!("{file}/below")] {
        says(&on(&scratch, &data, &["serve", "--listen", "127.0.0.1:0"]).failed(1), &[&data, "--data"]);
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "x");
}

#[test]
fn a_wrong_hub_is_told_apart_and_leaves_no_trace() {
    let scratch = Scratch::new();
    let data = path(&scratch, "data");
    let enroll = |hub: &str| on(&scratch, &data, &["enroll", "--hub", hub, "--code", "AAAA-BBBB"]).failed(1);
    says(&enroll("hub.example.com"), &["hub.example.com", "no URL"]);
    let nobody = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let unreachable = enroll(&nobody);
    says(&unreachable, &[&nobody]);
    let portal = portal();
    let no_hub = enroll(&portal);
    says(&no_hub, &[&portal]);
    assert_ne!(unreachable.replace(&nobody, ""), no_hub.replace(&portal, ""));
    says(&on(&scratch, &data, &["enroll", "--code", "AAAA-BBBB"]).failed(1), &["--hub", "EDGE_HUB"]);
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());
}

/// A server that answers everything with a friendly page, as captive portals do.
fn portal() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let mut request = [0; 4096];
            let read = stream.read(&mut request);
            let page =
                "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 7\r\nconnection: close\r\n\r\nwelcome";
            let answered = read.and_then(|_| stream.write_all(page.as_bytes()));
            // A client that goes away early is the test's to notice.
            drop(answered);
        }
    });
    format!("http://{address}")
}

#[test]
fn an_unknown_key_is_named_with_its_file() {
    let scratch = Scratch::new();
    let status = || run(edge(&["status"]).current_dir(scratch.path()));
    fs::write(scratch.path().join("edge.toml"), "lissten = '127.0.0.1:1'").unwrap();
    says(&status().failed(1), &["edge.toml", "lissten", "did you mean listen?"]);
    fs::remove_file(scratch.path().join("edge.toml")).unwrap();
    fs::write(scratch.path().join(".env"), "EDGE_LISTN=127.0.0.1:1").unwrap();
    says(&status().failed(1), &[".env", "EDGE_LISTN", "did you mean EDGE_LISTEN?"]);
    fs::remove_file(scratch.path().join(".env")).unwrap();
    says(&run(edge(&["status", "--config", "gone.toml"]).current_dir(scratch.path())).failed(1), &["gone.toml"]);
    says(&status().failed(1), &["there is no edge in"]);
    let stray = run(edge(&["status"]).env("EDGE_LISTNE", "x").current_dir(scratch.path()));
    says(&stray.stderr, &["EDGE_LISTNE", "does nothing", "did you mean EDGE_LISTEN?"]);
    assert!(scratch.names().is_empty(), "looking makes nothing");
}

#[test]
fn wrong_usage_exits_with_2_and_help_has_an_example() {
    for arguments in [&["serve", "--bogus"][..], &["token"], &["conflicts", "restore", "not-an-id"], &[]] {
        assert_eq!(run(&mut edge(arguments)).code, Some(2), "{arguments:?}");
    }
    for command in ["serve", "enroll", "sync", "status", "dump", "token", "conflicts", "demo"] {
        says(&run(&mut edge(&[command, "--help"])).succeeded(), &["Example:"]);
    }
}

#[test]
fn shells_and_man_know_every_command() {
    let scratch = Scratch::new();
    let programs = [(edge as fn(&[&str]) -> std::process::Command, "edge", "explain"), (hub, "hub", "doctor")];
    for (program, name, command) in programs {
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            says(&run(&mut program(&["completions", shell])).succeeded(), &[name, command]);
        }
        says(&run(&mut program(&["man"])).succeeded(), &[".TH", &format!("{name}\\-{command}")]);
        let pages = path(&scratch, name);
        run(&mut program(&["man", "--dir", &pages])).succeeded();
        let page = fs::read_to_string(Path::new(&pages).join(format!("{name}-{command}.1"))).unwrap();
        says(&page, &["Example:", "\\-\\-json"]);
        assert!(!Path::new(&pages).join("edge-demo-part.1").exists(), "what is hidden has no page");
        says(&run(&mut program(&["man", "--dir", "/proc/pages"])).failed(1), &["/proc/pages", "--dir"]);
        assert_eq!(run(&mut program(&["completions", "tcsh"])).code, Some(2));
    }
}

#[test]
fn commands_answer_alike_beside_a_running_edge_and_alone() {
    let scratch = Scratch::new();
    let data = path(&scratch, "data");
    let (mut edge, _) = Running::serve(Path::new(&data), &scratch);
    let mode = |name: &str| fs::metadata(Path::new(&data).join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("control.sock")), (0o700, 0o600));
    let ask = || {
        let status = on(&scratch, &data, &["status", "--json"]).succeeded();
        let status: Value = serde_json::from_str(&status).unwrap();
        let nobody = ["--email", "nobody@example.com"];
        let decide = ["conflicts", "dismiss", "0b5cf6a4-8f9c-5b0e-9d51-6f0b3f2d7c11", nobody[0], nobody[1]];
        let others = [&["token", nobody[0], nobody[1]][..], &["sync"], &decide, &decide[..3]];
        let mut said = others.map(|arguments| on(&scratch, &data, arguments).failed(1)).to_vec();
        said.push(on(&scratch, &data, &["dump"]).succeeded());
        said.push(on(&scratch, &data, &["conflicts", "list"]).succeeded());
        (status["state"].clone(), status["pending"].clone(), said)
    };
    let status = on(&scratch, &data, &["status"]).succeeded();
    let labels: Vec<&str> = status.lines().map(|line| line.get(..16).expect("labels are aligned").trim_end()).collect();
    assert_eq!(labels[..6], ["State", "In sync", "Waiting", "Last exchange", "Conflicts", "Refused"], "{status}");
    let beside = ask();
    assert_eq!((&beside.0, &beside.1), (&Value::from("unenrolled"), &Value::from(0)));
    assert!(edge.end(Signal::TERM).success(), "{}", edge.errors());
    assert!(!Path::new(&data).join("control.sock").exists());
    assert_eq!(ask(), beside);
}

#[test]
fn a_data_directory_with_a_very_long_path_works() {
    let scratch = Scratch::new();
    let data = path(&scratch, &format!("{}/{}", "long".repeat(40), "longer".repeat(30)));
    let (mut edge, _) = Running::serve(Path::new(&data), &scratch);
    let status = on(&scratch, &data, &["status", "--json"]).succeeded();
    says(&status, &["unenrolled"]);
    assert!(edge.end(Signal::INT).success(), "{}", edge.errors());
}

#[test]
fn a_socket_left_by_a_killed_edge_stops_nobody() {
    let scratch = Scratch::new();
    let data = path(&scratch, "data");
    let (mut killed, _) = Running::serve(Path::new(&data), &scratch);
    killed.end(Signal::KILL);
    assert!(Path::new(&data).join("control.sock").exists());
    says(&on(&scratch, &data, &["status", "--json"]).succeeded(), &["unenrolled"]);
    let (mut edge, _) = Running::serve(Path::new(&data), &scratch);
    assert!(edge.end(Signal::TERM).success());
}

#[test]
fn a_demo_alone_has_people_and_takes_everything_with_it_when_killed() {
    let scratch = Scratch::new();
    let mut command = edge(&["demo", "--alone", "--json", "--for", "600"]);
    command.env("TMPDIR", scratch.path()).env("XDG_RUNTIME_DIR", scratch.path()).current_dir(scratch.path());
    let mut demo = Running::start(&mut command, &scratch);
    let ready: Value = serde_json::from_str(&demo.first_line()).expect("one line of JSON");
    assert_eq!((&ready["hub"], &ready["database_url"]), (&Value::Null, &Value::Null));
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let (edge, person) = (&ready["edges"][0], &ready["edges"][0]["people"][0]);
    assert!(text(&person["email"]).contains('@') && text(&person["pin"]).len() == 6, "{person}");
    let me = get(&text(&edge["url"]), "/api/v1/me", &text(&person["token"]));
    says(&me, &["200 OK", &text(&person["email"])]);
    let dump = on(&scratch, &text(&edge["data"]), &["dump", "--table", "tasks"]).succeeded();
    assert!(dump.lines().count() > 3, "{dump}");

    let cut = on(&scratch, "x", &["demo", "cut", "hq-1", "--dir", &text(&ready["dir"])]).failed(1);
    says(&cut, &["one edge alone", "no link"]);

    let pid = u32::try_from(edge["pid"].as_u64().unwrap()).unwrap();
    let directory = text(&ready["dir"]);
    assert!(is_alive(pid) && Path::new(&directory).exists());
    demo.end(Signal::KILL);
    wait::until_true("no process outlives the demo", || !is_alive(pid));
    wait::until_true("the demo's directory is removed", || !Path::new(&directory).exists());
}

#[test]
fn mistakes_about_the_demo_have_their_own_messages() {
    let scratch = Scratch::new();
    let demo = |arguments: &[&str], variable: &str, value: &str| {
        let mut command = edge(arguments);
        run(command.env("XDG_RUNTIME_DIR", scratch.path()).env(variable, value).current_dir(scratch.path())).failed(1)
    };
    says(&demo(&["demo", "cut", "hq-1"], "X", ""), &["no demo was found"]);
    says(&demo(&["demo", "heal", "hq-1", "--dir", "nowhere"], "X", ""), &["no demo was found"]);
    says(&demo(&["demo", "--for", "1"], "PG_BIN", "/nowhere"), &["PG_BIN", "/nowhere"]);
    says(&demo(&["demo", "--alone", "--for", "1", "--dir", "/proc/demo"], "X", ""), &["/proc/demo", "--dir"]);
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());
}

/// One request, over a connection of its own.
fn get(url: &str, path: &str, token: &str) -> String {
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("the edge listens");
    let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n");
    stream.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).expect("the edge reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the edge answers");
    answer
}
