// SPDX-License-Identifier: GPL-2.0

//! The program as it is run.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::Client;
use rustix::process::{kill_process, Pid, Signal};

/// It is ended when this is dropped.
pub struct Program(pub Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_ntb-emu"))
}

fn serve(directory: &Path) -> Command {
    let host = |name: &str| {
        let path = directory.display();
        format!("{name},socket={path}/{name},ram={path}/{name}.ram")
    };
    let mut command = program();
    command
        .args(["--host", &host("lender"), "--host", &host("borrower")])
        .args([
            "--window",
            "1M",
            "--window",
            "64M",
            "--window",
            "512M,direct",
            "--control",
        ])
        .arg(directory.join("control"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

pub fn start(directory: &Path) -> Program {
    let mut child = serve(directory).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ntb-emu: ready\n");
    Program(child)
}

#[test]
fn it_starts_answers_and_ends() {
    let directory = tempfile::tempdir().unwrap();
    // A socket left behind by a killed process is no obstacle.
    drop(std::os::unix::net::UnixListener::bind(directory.path().join("lender")).unwrap());
    let mut running = start(directory.path());
    let _lender = UnixStream::connect(directory.path().join("lender")).unwrap();
    let _borrower = UnixStream::connect(directory.path().join("borrower")).unwrap();

    let query = |what: &str| {
        let output = program()
            .arg("query")
            .arg(directory.path().join("control"))
            .arg(what)
            .output()
            .unwrap();
        assert!(output.status.success());
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let counters = query("counters");
    assert_eq!(counters["ntb0"]["lender"]["windows"][1]["ram_reads"], 0);
    assert_eq!(counters["ntb0"]["borrower"]["windows"][2]["direct"], false);
    let state = query("state");
    assert_eq!(state["ntb0"]["up"], false);
    assert_eq!(state["ntb0"]["ends"]["lender"]["side"], "primary");
    assert_eq!(
        state["ntb0"]["ends"]["borrower"]["windows"][2]["size"],
        512 << 20
    );

    let fault = |words: &str| {
        program()
            .arg("fault")
            .arg(directory.path().join("control"))
            .args(words.split_whitespace())
            .output()
            .unwrap()
    };
    let done = fault("--link ntb0 delay --host lender 5ms");
    assert!(done.status.success());
    let answer: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(answer["faults"]["hosts"]["lender"]["delay"], "5ms");
    assert!(fault("down").status.success());
    let state = query("state");
    assert_eq!(state["ntb0"]["faults"]["cable_out"], true);
    assert_eq!(
        state["ntb0"]["faults"]["hosts"]["lender"]["delay"],
        answer["faults"]["hosts"]["lender"]["delay"]
    );
    for (words, expected) in [
        ("--link ntb7 down", "no link 'ntb7' (there is: ntb0)"),
        (
            "freeze --host nobody",
            "no host 'nobody' (it has: lender, borrower)",
        ),
        ("all-ones 3", "no window 3 (there is: 0 to 2)"),
        ("delay 2s", "2s with 2s the other way"),
        ("break", "'break'"),
    ] {
        let refused = fault(words);
        let error = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success(), "{words}");
        assert!(error.contains(expected), "{words}: {error}");
    }
    assert!(fault("clear").status.success());
    assert_eq!(query("state")["ntb0"]["faults"], serde_json::json!({}));

    let trace = |words: &[&str]| {
        let mut command = program();
        command
            .arg("trace")
            .arg(directory.path().join("control"))
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    };
    let mut watching = Program(trace(&["--count", "2"]).spawn().unwrap());
    let mut lines = BufReader::new(watching.0.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<serde_json::Value>(&lines.next()?.unwrap()).ok();
    let start = next().unwrap();
    assert_eq!(
        (&start["kind"], &start["links"]),
        (&"start".into(), &serde_json::json!(["ntb0"]))
    );
    assert!(fault("flap --times 5 --period 10ms").status.success());
    for event in ["cable pulled", "cable put in"] {
        let line = next().unwrap();
        assert_eq!(
            (&line["kind"], &line["event"]),
            (&"event".into(), &event.into())
        );
    }
    assert_eq!(next(), None, "that is enough");
    assert!(watching.0.wait().unwrap().success());
    // Who goes without a word is noticed.
    let mut watching = Program(trace(&[]).spawn().unwrap());
    // Kept open: without a reader it goes by itself.
    let mut lines = BufReader::new(watching.0.stdout.take().unwrap());
    lines.read_line(&mut String::new()).unwrap();
    assert_eq!(query("state")["ntb0"]["watchers"], 1);
    drop(watching);
    crate::faults::wait_until("the watcher to be missed", || {
        query("state")["ntb0"]["watchers"] == 0
    });
    let refused = trace(&["--link", "ab"]).output().unwrap();
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(error.contains("no link 'ab' (there is: ntb0)"), "{error}");
    let file = directory.path().join("trace");
    let out = ["--count", "0", "--out", file.to_str().unwrap()];
    assert!(trace(&out).status().unwrap().success());
    assert!(std::fs::read_to_string(&file).unwrap().contains("start"));

    kill_process(Pid::from_child(&running.0), Signal::TERM).unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
    for name in ["lender", "borrower", "control"] {
        assert!(
            !directory.path().join(name).exists(),
            "{name} is left behind"
        );
    }
}

#[test]
fn what_cannot_be_done_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let fails = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(fails(program().args(["query", "/nonexistent/x", "state"]))
        .contains("cannot connect to /nonexistent/x"));
    let file = directory.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    let host = |name: &str, socket: &Path| {
        format!("{name},socket={},ram=/nonexistent/{name}", socket.display())
    };
    let error = fails(
        program()
            .args([
                "--host",
                &host("a", &file),
                "--host",
                &host("b", &directory.path().join("b")),
            ])
            .args(["--window", "1M", "--window", "1M", "--window", "1M"]),
    );
    assert!(error.contains("not a socket"), "{error}");
    let error = fails(
        program()
            .args(["--family", "intel"])
            .args(["--host", &host("a", &directory.path().join("a"))])
            .args(["--host", &host("b", &directory.path().join("b"))])
            .args(["--window", "1M", "--window", "1M", "--window", "1M"]),
    );
    assert!(
        error.contains("intel has 2 memory windows, not 3"),
        "{error}"
    );
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
}

#[test]
fn who_connects_and_says_nothing_stands_in_nobodys_way() {
    let directory = tempfile::tempdir().unwrap();
    let _running = start(directory.path());
    let connect = |name: &str| UnixStream::connect(directory.path().join(name)).unwrap();
    let _silent: Vec<_> = (0..10).map(|_| connect("lender")).collect();
    let mut lender = Client::over(connect("lender"));
    assert!(!lender.greet().header.is_refusal());
    lender.flush();
    let _silent: Vec<_> = (0..10).map(|_| connect("control")).collect();
    let mut control = connect("control");
    control
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    control.write_all(b"state\n").unwrap();
    let mut line = String::new();
    BufReader::new(control).read_line(&mut line).unwrap();
    assert!(line.contains("\"connected\":true"), "{line}");
}

#[test]
fn a_crowd_is_turned_away_until_there_is_room_again() {
    let directory = tempfile::tempdir().unwrap();
    let _running = start(directory.path());
    let connect = || UnixStream::connect(directory.path().join("lender")).unwrap();
    let mut lender = Client::over(connect());
    assert!(!lender.greet().header.is_refusal());
    let mut crowd: Vec<_> = (0..100).map(|_| connect()).collect();
    // The last one is closed at once, long before anybody's time is over.
    let last = crowd.last_mut().unwrap();
    last.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
    assert_eq!(last.read(&mut [0]).unwrap(), 0);
    lender.flush();
    drop((crowd, lender));
    let deadline = Instant::now() + Duration::from_secs(10);
    // Until one is not closed.
    while matches!(read_from(&connect()), Ok(0)) {
        assert!(Instant::now() < deadline, "still no room");
    }
    let mut lender = Client::over(connect());
    assert!(!lender.greet().header.is_refusal());
}

fn read_from(mut socket: &UnixStream) -> std::io::Result<usize> {
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    socket.read(&mut [0])
}

#[test]
fn sockets_in_use_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let _running = start(directory.path());
    let output = serve(directory.path())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("somebody listens there"), "{error}");
    let socket = UnixStream::connect(directory.path().join("lender")).unwrap();
    let mut lender = Client::over(socket);
    assert!(!lender.greet().header.is_refusal());
}
