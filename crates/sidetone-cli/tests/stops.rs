//! How the programs that serve are stopped.
#![cfg(unix)]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Starts the program, tells it to stop as service managers do when it listens, and returns its exit status.
fn stopped_by_term(words: &[&str]) -> Option<i32> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidetone"));
    let command = command.args(words).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the program");
    let said = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut lines = said.lines();
    let listens = lines.find(|line| line.as_ref().is_ok_and(|it| it.contains("listening on")));
    assert!(listens.is_some(), "it ended by itself");
    let id = child.id().to_string();
    let told = Command::new("kill").args(["-TERM", &id]).status();
    assert!(told.expect("kill").success());
    for _rest in lines {}
    child.wait().expect("a child").code()
}

#[test]
fn a_service_manager_stops_them_well() {
    let spool = std::env::temp_dir();
    let spool = spool.to_str().expect("a name");
    assert_eq!(stopped_by_term(&["srs", spool, "--port", "0"]), Some(0));
    assert_eq!(stopped_by_term(&["answer", "--port", "0"]), Some(0));
}
