//! `sidetone replay` as its users run it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use sidetone::media::codec::g711::encode_mu;
use sidetone::rtp::packet::{HEADER_LEN, Header};
use sidetone::time::{Duration, WallTime};
use sidetone_sim::network::capture::Capture;
use sidetone_sim::peer::sound::Sound;

/// A directory of its own for a test, removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("sidetone-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        Self(dir)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Five seconds of speech on each of these ports, of which every tenth packet from the third second
/// on is missing.
fn capture(ports: &[u16]) -> Vec<u8> {
    let mut capture = Capture::default();
    let speech = Sound::speech(3, Duration::from_secs(5));
    for (n, samples) in speech.samples().chunks_exact(160).enumerate() {
        if n >= 100 && n % 10 == 0 {
            continue;
        }
        for &port in ports {
            let header = Header {
                payload_type: 0,
                marker: n == 0,
                sequence: n as u16,
                timestamp: 160 * n as u32,
                ssrc: u32::from(port),
            };
            let mut packet = [0; HEADER_LEN + 160];
            header.emit(&mut packet);
            encode_mu(samples, &mut packet[HEADER_LEN..]);
            let wall = WallTime::from_unix_nanos(1_700_000_000_000_000_000 + n as u64 * 20_000_000);
            let from = SocketAddr::from(([192, 0, 2, 1], 4_000));
            let to = SocketAddr::from(([192, 0, 2, 2], port));
            capture.record_udp(wall, from, to, &packet);
        }
    }
    capture.as_bytes().to_vec()
}

fn run(capture: &Path, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sidetone"))
        .arg("replay")
        .arg(capture)
        .args(options)
        .output()
        .expect("the tool runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn a_replay_is_told_in_words() {
    let dir = Dir::new("replay-words");
    let path = dir.file("call.pcap", &capture(&[6_000]));
    let output = run(&path, &["--jitter", "fixed:60"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    for line in [
        "codec       PCMU/8000\n",
        "packets     235 captured, ",
        "15 never came, 0 late, 0 discarded, 0 duplicated, 0 reordered, 0 refused\n",
        "quality     R ",
        "causes      network-loss; bad for ",
    ] {
        assert!(told.contains(line), "{line:?} in {told}");
    }
}

#[test]
fn figures_and_sound_are_the_same_every_time() {
    let dir = Dir::new("replay-twice");
    let path = dir.file("call.pcap", &capture(&[6_000]));
    let once = |name: &str| {
        let wav = dir.0.join(name);
        let output = run(&path, &["--json", "--out", wav.to_str().expect("a path")]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        (output.stdout, std::fs::read(wav).expect("a WAV file"))
    };
    let (one, two) = (once("one.wav"), once("two.wav"));
    assert!(one == two);
    let report: Value = serde_json::from_slice(&one.0).expect("JSON");
    assert_eq!(report["stream"]["codec"], "PCMU/8000");
    assert_eq!(report["packets"]["captured"], 235);
    assert_eq!(report["packets"]["never_came"], 15);
    assert_eq!(report["quality"]["causes"][0], "network-loss");
    assert_eq!(report["timeline"][1]["lost"], 0);
    let wav = Sound::of_recording(&one.1);
    assert!(wav.is_none(), "it is mono");
    assert!(one.1.len() > 70_000 && one.1.starts_with(b"RIFF"));
}

#[test]
fn several_streams_are_listed_and_one_is_chosen() {
    let dir = Dir::new("replay-list");
    let path = dir.file("two.pcap", &capture(&[6_000, 6_002]));
    let output = run(&path, &[]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        text(&output.stdout),
        "Several streams; choose one with --stream N:\n\
         \x20 1  0x00001770  192.0.2.1:4000 -> 192.0.2.2:6000  5.0 s from 0.0 s  235 packets  PCMU\n\
         \x20 2  0x00001772  192.0.2.1:4000 -> 192.0.2.2:6002  5.0 s from 0.0 s  235 packets  PCMU\n"
    );
    let listed: Value = serde_json::from_slice(&run(&path, &["--json"]).stdout).expect("JSON");
    assert_eq!(listed[1]["destination"], "192.0.2.2:6002");
    for choice in ["2", "0x1772"] {
        let output = run(&path, &["--json", "--stream", choice]);
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(report["stream"]["destination"], "192.0.2.2:6002");
    }
    for choice in ["3", "0x1773"] {
        let output = run(&path, &["--stream", choice]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("no stream"));
    }
}

#[test]
fn what_cannot_be_replayed_says_why_by_its_exit_status() {
    let dir = Dir::new("replay-errors");
    let call = dir.file("call.pcap", &capture(&[6_000]));
    let empty = dir.file("empty.pcap", Capture::default().as_bytes());
    let picture = dir.file("picture.png", b"\x89PNG\r\n\x1a\n and so on");
    let nowhere = dir.0.join("nowhere.pcap");
    let unwritable = dir.0.join("no/such/dir.wav");
    let unwritable = unwritable.to_str().expect("a path");
    let cases: [(&Path, &[&str], i32, &str); 6] = [
        (&empty, &[], 1, "no RTP stream"),
        (
            &call,
            &["--payload", "0=iLBC/8000"],
            1,
            "no codec for iLBC/8000",
        ),
        (&picture, &[], 2, "neither pcap, pcapng nor rtpdump"),
        (&nowhere, &[], 2, "nowhere.pcap"),
        (&call, &["--out", unwritable], 2, "dir.wav"),
        (&call, &["--jitter", "elastic"], 2, "not of the form"),
    ];
    for (path, options, status, reason) in cases {
        let output = run(path, options);
        assert_eq!(output.status.code(), Some(status), "{options:?}");
        assert!(
            text(&output.stderr).contains(reason),
            "{}",
            text(&output.stderr)
        );
        assert!(output.stdout.is_empty());
    }
    let mut cut = capture(&[6_000]);
    cut.truncate(cut.len() / 2 + 7);
    let output = run(&dir.file("cut.pcap", &cut), &[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("it is cut off; what came before is used"));
}
