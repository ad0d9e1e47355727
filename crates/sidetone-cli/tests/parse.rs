//! `sidetone parse` as its users run it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

fn torture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../sidetone/tests/torture")
        .join(name)
}

fn run(files: &[PathBuf]) -> (Output, Vec<Value>) {
    let output = Command::new(env!("CARGO_BIN_EXE_sidetone"))
        .arg("parse")
        .args(files)
        .output()
        .expect("the tool runs");
    let text = std::str::from_utf8(&output.stdout).expect("UTF-8");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    (output, lines)
}

#[test]
fn a_valid_request_is_told_in_full() {
    let path = torture("rfc4475/wsinv.dat");
    let (output, reports) = run(std::slice::from_ref(&path));
    assert_eq!(output.status.code(), Some(0));
    let report = &reports[0];
    assert_eq!(report["file"], json!(path.display().to_string()));
    assert_eq!(report["valid"], true);
    assert_eq!(report["kind"], "request");
    assert_eq!(report["method"], "INVITE");
    assert_eq!(
        report["request_uri"],
        "sip:vivekg@chair-dnrc.example.com;unknownparam"
    );
    assert_eq!(report["status"], Value::Null);
    assert_eq!(report["body_length"], 150);
    assert_eq!(report.get("reason"), None);
    assert_eq!(report.get("answer"), None);
    assert_eq!(report["headers"].as_array().expect("a list").len(), 14);
    assert_eq!(
        report["headers"][0],
        json!({"name": "To", "value": "sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n"})
    );
    let typed = &report["typed"];
    assert_eq!(typed["From"]["display_name"], "J Rosenberg \\\"");
    assert_eq!(typed["From"]["uri"], "sip:jdrosen@example.com");
    assert_eq!(typed["From"]["tag"], "98asjd8");
    assert_eq!(typed["To"]["tag"], "1918181833n");
    assert_eq!(typed["Via"][1]["transport"], "TCP");
    assert_eq!(typed["Via"][2]["branch"], "z9hG4bK30239");
    assert_eq!(typed["CSeq"], json!({"number": 9, "method": "INVITE"}));
    assert_eq!(typed["Call-ID"], "wsinv.ndaksdj@192.0.2.1");
    assert_eq!(typed["Contact"][0]["params"]["q"], "0.33");
    assert_eq!(typed["Route"][0]["uri_params"]["lr"], Value::Null);
    assert_eq!(typed["Max-Forwards"], 68);
}

#[test]
fn answers_are_told_for_what_is_invalid() {
    let cases = [
        ("rfc4475/badvers.dat", false, json!(505)),
        ("rfc4475/badinv01.dat", false, json!(400)),
        ("rfc4475/bigcode.dat", false, Value::Null),
        ("rfc4475/unkscm.dat", true, json!(416)),
    ];
    let files: Vec<_> = cases.iter().map(|(name, ..)| torture(name)).collect();
    let (output, reports) = run(&files);
    assert_eq!(output.status.code(), Some(1));
    for ((name, valid, answer), report) in cases.iter().zip(&reports) {
        assert_eq!(report["valid"], *valid, "{name}");
        assert_eq!(report.get("answer"), Some(answer), "{name}");
        assert!(
            report["reason"]
                .as_str()
                .is_some_and(|reason| !reason.is_empty()),
            "{name}"
        );
        assert!(
            !report["headers"].as_array().expect("a list").is_empty(),
            "{name}"
        );
    }
    assert_eq!(reports[2]["kind"], "response");
}

#[test]
fn responses_and_stars_are_told() {
    let dir = std::env::temp_dir().join(format!("sidetone-parse-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let star = dir.join("star.sip");
    std::fs::write(
        &star,
        "REGISTER sip:a.example SIP/2.0\r\nv: SIP/2.0/UDP h;branch=z9hG4bK1\r\nf: <sip:a@a>;tag=1\r\n\
         t: <sip:a@a>\r\ni: 1\r\nCSeq: 1 REGISTER\r\nm: *\r\nExpires: 0\r\n\r\n",
    )
    .expect("written");
    let junk = dir.join("junk.sip");
    std::fs::write(&junk, b"GET / HTTP/1.1\r\n\r\n").expect("written");
    let (output, reports) = run(&[star, junk, torture("rfc4475/unreason.dat")]);
    std::fs::remove_dir_all(&dir).expect("removed");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(reports[0]["typed"]["Contact"][0]["uri"], "*");
    assert_eq!(reports[0]["headers"][0]["name"], "Via");
    assert_eq!(reports[1]["kind"], Value::Null);
    assert_eq!(reports[1]["valid"], false);
    assert_eq!(reports[1].get("answer"), Some(&Value::Null));
    assert_eq!(
        (&reports[2]["status"], &reports[2]["kind"]),
        (&json!(200), &json!("response"))
    );
}

#[test]
fn an_unreadable_file_hides_no_other() {
    let files = [
        torture("nowhere.dat"),
        torture("rfc4475/badvers.dat"),
        torture("rfc4475"),
    ];
    let (output, reports) = run(&files);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(reports.len(), 1);
    let complaints = String::from_utf8_lossy(&output.stderr).lines().count();
    assert_eq!(complaints, 2);
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let files: Vec<_> = (0..2000).map(|_| torture("rfc4475/longreq.dat")).collect();
    let mut child = Command::new(env!("CARGO_BIN_EXE_sidetone"))
        .arg("parse")
        .args(files)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool runs");
    drop(child.stdout.take());
    let mut complaints = String::new();
    child
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut complaints)
        .expect("UTF-8");
    assert!(child.wait().expect("it ends").code().is_some());
    assert!(!complaints.contains("panicked"), "{complaints}");
}
