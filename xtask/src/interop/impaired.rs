//! One real call over a bad link between two network namespaces, beside the same call over a clean
//! one: a caller behind the link, desk and agent at its other end.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::{Case, NETWORK, Proof, SOON};
use crate::audio::measure::{self, Carried};
use crate::audio::pcap::{self, Stream};
use crate::audio::speech::{Voice, say};
use crate::peer::baresip::Baresip;
use crate::peer::capture::{self, Capture};
use crate::peer::engine::Engine;
use crate::peer::network::Network;
use crate::peer::place::Place;

pub(super) const CASES: [Case; 1] = [Case {
    name: "impaired: baresip calls over a bad link, is bridged to baresip",
    needs: &["baresip", "tshark", "dumpcap", NETWORK],
    run: compare,
}];

/// How long caller and agent talk.
const TALK: Duration = Duration::from_secs(12);
/// Both links are this long.
const CLEAN: [&str; 2] = ["--delay", "20"];
/// 5 % loss and 40 ms jitter each way, some packets out of order and some twice.
const BAD: [&str; 12] = [
    "--delay",
    "20",
    "--jitter",
    "40",
    "--loss",
    "5",
    "--reorder",
    "1",
    "--duplicate",
    "1",
    "--seed",
    "7",
];

/// What the agent heard of the caller, and by which way.
struct Outcome {
    heard: Carried,
    /// Packets lost on the link, and packets that came over it.
    loss: (usize, usize),
    link: String,
}

fn compare(place: &Place) -> io::Result<Proof> {
    let apart = place.at("clean", place.site())?;
    let (clean, bad) = thread::scope(|scope| {
        let clean = scope.spawn(move || call(&apart, &CLEAN));
        let bad = call(&place.at("bad", place.site())?, &BAD);
        Ok::<_, io::Error>((clean.join(), bad))
    })?;
    let clean = clean.map_err(|_| io::Error::other("the clean call panicked"))??;
    let bad = bad?;
    let figures = vec![clean.told("clean link"), bad.told("bad link")];
    judge(&clean, &bad)
        .map_err(|why| io::Error::other(format!("{why}\n{}", figures.join("\n"))))?;
    Ok(Proof {
        elsewhere: true,
        figures,
        ..Proof::none()
    })
}

/// One bridged call with `link` between the caller and the desk.
fn call(place: &Place, link: &[&str]) -> io::Result<Outcome> {
    let network = Network::start(place, "link", link)?;
    let [far, near] = network.sites();
    let far = place.at("far", far)?;
    let near = place.at("near", near)?;
    let captures = [
        Capture::start(&far, "left")?,
        Capture::start(&near, "right")?,
        Capture::start(&near.at("loopback", near.site())?, "lo")?,
    ];
    let said = say(Voice::Caller, 60.0);
    let mut agent = Baresip::spawn(&near, "agent", &say(Voice::Agent, 60.0), true)?;
    let mut desk = Engine::agent_bridge(&near, &[agent.uri()])?;
    let mut caller = Baresip::spawn(&far, "caller", &said, false)?;
    caller.dial(&desk.uri())?;
    caller.expect_up(SOON)?;
    thread::sleep(Duration::from_secs(1));
    caller.press('2')?;
    desk.expect("bridged")?;
    thread::sleep(TALK);
    caller.hang_up()?;
    agent.expect_over(SOON)?;
    desk.expect("recorded")?;
    desk.stop()?;
    let mut files = Vec::new();
    for capture in captures {
        files.push(capture.stop()?);
    }
    let link = network.stop()?;
    for file in &files {
        faultless(&near, file)?;
    }
    measure(&files, &caller, &agent, link)
}

/// Compares what the caller sent into the link with what the desk sent to the agent.
fn measure(
    files: &[PathBuf],
    caller: &Baresip,
    agent: &Baresip,
    link: String,
) -> io::Result<Outcome> {
    let (from, to) = (caller.media_ports(), agent.media_ports());
    let sent = stream(&files[0], |key| from.contains(&key.from), "the caller's")?;
    let crossed = stream(&files[1], |key| from.contains(&key.from), "the link's")?;
    let got = stream(&files[2], |key| to.contains(&key.to), "the agent's")?;
    // The agent hears the caller from the bridge on, which follows its answer at once.
    let origin = got.begins() + 0.5;
    let heard = measure::followed(&sent.sound(origin), &got.sound(origin));
    Ok(Outcome {
        heard: heard.ok_or_else(|| io::Error::other("the agent heard nothing"))?,
        loss: crossed.loss(),
        link,
    })
}

fn stream(file: &Path, which: impl Fn(&pcap::Key) -> bool, whose: &str) -> io::Result<Stream> {
    let mut streams = pcap::streams(file)?.into_iter();
    let found = streams.find(|(key, _)| which(key));
    let missing = || io::Error::other(format!("{whose} stream is not in {}", file.display()));
    found.map(|(_, stream)| stream).ok_or_else(missing)
}

fn faultless(place: &Place, file: &Path) -> io::Result<()> {
    let found = capture::dissect(place, file)?;
    match found.faults.first() {
        Some(fault) => Err(io::Error::other(format!("tshark finds a fault: {fault}"))),
        None if found.rtp == 0 => Err(io::Error::other("the capture holds no sound")),
        None => Ok(()),
    }
}

/// What must be true of the two calls.
fn judge(clean: &Outcome, bad: &Outcome) -> Result<(), &'static str> {
    let lost = bad.loss.0 as f64 / (bad.loss.0 + bad.loss.1).max(1) as f64;
    if clean.loss.0 != 0 || !(0.02..0.10).contains(&lost) {
        return Err("the links did not do what they were told");
    }
    if clean.share() < 0.95 || clean.heard.gaps > 0.0 {
        return Err("the clean link did not carry the speech");
    }
    if bad.heard.offered < 5.0 || bad.share() < 0.85 * clean.share() {
        return Err("too little of the speech survived the bad link");
    }
    if bad.heard.gaps > 0.05 * bad.heard.offered {
        return Err("the speech has gaps");
    }
    if bad.heard.delay - clean.heard.delay > 0.2 {
        return Err("the bad link's delay grew beyond its jitter");
    }
    Ok(())
}

impl Outcome {
    fn share(&self) -> f64 {
        self.heard.carried / self.heard.offered.max(0.1)
    }

    fn told(&self, name: &str) -> String {
        let (lost, came) = self.loss;
        format!(
            "{name}: {:.1} of {:.1} s heard as said, {:.0} ms of gaps, {:.0} ms delay, {lost} of {} \
             packets lost ({})",
            self.heard.carried,
            self.heard.offered,
            self.heard.gaps * 1000.0,
            self.heard.delay * 1000.0,
            lost + came,
            self.link,
        )
    }
}
