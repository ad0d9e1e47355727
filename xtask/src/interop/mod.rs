//! Calls between the engine and peers that we did not write, on loopback, dissected by tshark.

mod accounts;
mod b2bua;
mod bridge;
mod client;
mod codecs;
mod digits;
mod events;
mod flows;
mod identity;
mod impaired;
mod ivr;
mod peers;
mod registrar;
mod scan;
mod secure;
mod siprec;
mod stereo;
mod store;
mod talk;
mod tls;
mod web;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::audio::wav::Wav;
use crate::audio::{measure, pcap, wide};
use crate::peer::capture::{self, Capture};
use crate::peer::engine;
use crate::peer::network::Network;
use crate::peer::place::Place;
use crate::report::Tally;
use crate::setup;
use crate::shell;
use crate::tools;

/// How many calls with sound run at once: they mostly wait.
const AT_ONCE: usize = 4;
/// How many runs of signalling alone go beside them: they cost next to nothing.
const QUIET_AT_ONCE: usize = 4;
/// How long a step of a call may take.
const SOON: Duration = Duration::from_secs(20);
/// Encrypted bytes are spread more evenly than this, nothing else is (see `Stream::unevenness`).
const UNEVEN: f64 = 8.0;
/// What a case needs that is no program: namespaces with a link between them.
const NETWORK: &str = "a network";
/// What a case needs that is no program: JsSIP.
const WEB: &str = "JsSIP";
/// What a case needs that comes from npm as well.
const S3: &str = "s3rver";

/// One call and what must be true of it.
struct Case {
    name: &'static str,
    /// Programs without which it cannot run, or `NETWORK`.
    needs: &'static [&'static str],
    run: fn(&Place) -> io::Result<Proof>,
}

/// What the capture of a call must show, where there is one.
#[derive(Default)]
struct Proof {
    /// The call did not go over the loopback: its captures were judged by the case itself.
    elsewhere: bool,
    /// Figures, shown behind the case's name.
    figures: Vec<String>,
    heard: Vec<Heard>,
    seen: Vec<Seen>,
    secret: Option<Secret>,
    /// The sound is not encrypted, and must be seen not to be: else what finds encryption finds it
    /// everywhere.
    open: bool,
    /// SIP goes over TLS: the capture must show none, nor any key.
    veiled: bool,
    /// tshark does not know what is encrypted, and how: the suite is younger than it, or the
    /// description says plain RTP (RFC 8643). It takes the encrypted parts of RTCP and of events for
    /// faults.
    opaque: bool,
}

/// Sound that nobody on the way may hear, and keys that nobody may read but in SIP.
struct Secret {
    /// What our own programs wrote.
    logs: Vec<PathBuf>,
}

/// The sound that came to `port` holds `seconds` of `said`.
struct Heard {
    who: &'static str,
    port: u16,
    said: Vec<i16>,
    seconds: f64,
}

/// So many packets match a display filter.
struct Seen {
    what: &'static str,
    filter: String,
    count: RangeInclusive<usize>,
}

impl Proof {
    fn none() -> Self {
        Self::default()
    }

    fn hears(mut self, who: &'static str, port: u16, said: &[i16], seconds: f64) -> Self {
        self.heard.push(Heard {
            who,
            port,
            said: said.to_vec(),
            seconds,
        });
        self
    }

    fn shows(mut self, what: &'static str, filter: impl Into<String>, at_least: usize) -> Self {
        self.seen.push(Seen {
            what,
            filter: filter.into(),
            count: at_least..=usize::MAX,
        });
        self
    }

    fn lacks(mut self, what: &'static str, filter: impl Into<String>) -> Self {
        self.seen.push(Seen {
            what,
            filter: filter.into(),
            count: 0..=0,
        });
        self
    }
}

/// Runs every case, each captured and dissected where this machine allows it.
pub(crate) fn run() -> io::Result<Tally> {
    engine::build()?;
    let dissected = Capture::possible();
    if dissected {
        capture::self_check(&Place::new("planted-fault")?)?;
    }
    // What takes longest begins first.
    let cases: Vec<&'static Case> = impaired::CASES
        .iter()
        .chain(&peers::CASES)
        .chain(&registrar::CASES)
        .chain(&ivr::CASES)
        .chain(&bridge::CASES)
        .chain(&b2bua::CASES)
        .chain(&client::CASES)
        .chain(&accounts::CASES)
        .chain(&scan::CASES)
        .chain(&secure::CASES)
        .chain(&tls::CASES)
        .chain(&codecs::CASES)
        .chain(&stereo::CASES)
        .chain(&digits::CASES)
        .chain(&siprec::CASES)
        .chain(&store::CASES)
        .collect();
    let quiet = web::CASES
        .iter()
        .chain(&flows::CASES)
        .chain(&registrar::QUIET)
        .chain(&b2bua::QUIET)
        .chain(&events::QUIET)
        .chain(&identity::QUIET)
        .chain(&siprec::QUIET)
        .collect();
    let only = std::env::var("INTEROP_ONLY").unwrap_or_default();
    let waiting = |cases: Vec<&'static Case>| {
        Mutex::new(cases.into_iter().filter(|case| case.name.contains(&only)))
    };
    let lanes = [(AT_ONCE, waiting(cases)), (QUIET_AT_ONCE, waiting(quiet))];
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for (count, waiting) in &lanes {
            for _ in 0..*count {
                scope.spawn(|| {
                    while let Some(case) = take(waiting) {
                        judge(case, dissected, &tally);
                    }
                });
            }
        }
    });
    let mut tally = tally.into_inner().unwrap_or_default();
    if !dissected {
        tally.skipped += 1;
        tally
            .lines
            .push("skipped  dissection by tshark: needs root and tshark".to_owned());
    }
    Ok(tally)
}

fn take(waiting: &Mutex<impl Iterator<Item = &'static Case>>) -> Option<&'static Case> {
    waiting.lock().ok()?.next()
}

fn judge(case: &Case, dissected: bool, tally: &Mutex<Tally>) {
    let start = Instant::now();
    let missing = lacks(case);
    let verdict = if missing.is_none() {
        twice(case, dissected)
    } else {
        Ok(Vec::new())
    };
    let took = start.elapsed().as_secs_f64();
    let Ok(mut tally) = tally.lock() else { return };
    match (missing, verdict) {
        (Some(reason), _) => {
            tally.skipped += 1;
            tally
                .lines
                .push(format!("skipped  {}: {reason}", case.name));
        }
        (None, Ok(figures)) => {
            tally.passed += 1;
            tally
                .lines
                .push(format!("ok       {:<58} {took:>5.1} s", case.name));
            let figures = figures.into_iter().map(|line| format!("           {line}"));
            tally.lines.extend(figures);
        }
        (None, Err(error)) => {
            tally.failed += 1;
            // Before what went well: who reads only the beginning reads this.
            let text = format!("FAILED   {}: {error}", case.name);
            let lines = text.lines().map(str::to_owned);
            tally.lines.splice(..0, lines);
        }
    }
}

/// Why a case cannot run here, if it cannot.
fn lacks(case: &Case) -> Option<String> {
    if case.needs.contains(&NETWORK)
        && let Some(why) = Network::impossible()
    {
        return Some(why);
    }
    if let Some(program) = case
        .needs
        .iter()
        .filter(|need| ![NETWORK, WEB, S3].contains(need))
        .find(|program| shell::find(program).is_none())
    {
        return Some(format!("{program} is missing"));
    }
    type Module = (&'static str, fn() -> io::Result<PathBuf>);
    let modules: [Module; 2] = [(WEB, tools::jssip), (S3, tools::s3rver)];
    for (name, get) in modules {
        if case.needs.contains(&name)
            && let Err(why) = get()
        {
            return Some(format!("{name} cannot be had: {why}"));
        }
    }
    let raw = case.needs.contains(&"sipp") && !setup::is_root();
    raw.then(|| "SIPp sends sound through a raw socket, which needs root".to_owned())
}

/// Real programs in real time: what a machine that stood still for a moment spoils is tried once more, and that
/// is said.
fn twice(case: &Case, dissected: bool) -> io::Result<Vec<String>> {
    let first = match one(case, dissected) {
        Ok(figures) => return Ok(figures),
        Err(error) => error,
    };
    let mut figures = one(case, dissected)?;
    figures.push(format!("at the second try, after: {first}").replace('\n', " "));
    Ok(figures)
}

fn one(case: &Case, dissected: bool) -> io::Result<Vec<String>> {
    let place = Place::new(&folder(case.name))?;
    let capture = if dissected {
        Some(Capture::start(&place, "lo")?)
    } else {
        None
    };
    let outcome = (case.run)(&place);
    let file = capture.map(Capture::stop).transpose()?;
    let proven = outcome.and_then(|proof| {
        match file {
            Some(file) if !proof.elsewhere => prove(&place, &proof, &file)?,
            _ => {}
        }
        Ok(proof.figures)
    });
    proven.map_err(|error| io::Error::other(format!("{error}\n    in {}", place.dir().display())))
}

/// Holds a capture against what it must show; whatever it must show, it must be free of faults.
fn prove(place: &Place, proof: &Proof, file: &Path) -> io::Result<()> {
    let mut dissection = capture::dissect(place, file)?;
    if proof.opaque {
        let encrypted =
            |fault: &String| fault.contains("RTCP") || fault.contains("telephone-event");
        dissection.faults.retain(|fault| !encrypted(fault));
    }
    if let Some(fault) = dissection.faults.first() {
        let count = dissection.faults.len();
        return Err(io::Error::other(format!(
            "tshark finds {count} faults: {fault}"
        )));
    }
    if proof.veiled != (dissection.sip == 0) || (!proof.heard.is_empty() && dissection.rtp == 0) {
        return Err(io::Error::other("the capture holds no call"));
    }
    for seen in &proof.seen {
        let count = capture::count(place, file, &seen.filter)?;
        if !seen.count.contains(&count) {
            let text = format!("{}: {count} packets, not {:?}", seen.what, seen.count);
            return Err(io::Error::other(text));
        }
    }
    let streams = pcap::streams(file)?;
    if proof.open {
        hidden(false, &streams)?;
    }
    if let Some(secret) = &proof.secret {
        hidden(true, &streams)?;
        untold(&secret.logs, &fs::read(file)?, proof.veiled)?;
    }
    for Heard {
        who,
        port,
        said,
        seconds,
    } in &proof.heard
    {
        let begins = streams
            .values()
            .map(pcap::Stream::begins)
            .fold(f64::INFINITY, f64::min);
        let mut sound = Vec::new();
        for (_, stream) in streams.iter().filter(|(key, _)| key.to == *port) {
            measure::add(&mut sound, &stream.sound(begins));
        }
        must_hear(who, said, &sound, *seconds)?;
    }
    Ok(())
}

/// An error unless the streams of both directions are encrypted, or unless both are not.
fn hidden(encrypted: bool, streams: &BTreeMap<pcap::Key, pcap::Stream>) -> io::Result<()> {
    if streams.len() < 2 {
        return Err(io::Error::other(
            "the capture does not hold both directions",
        ));
    }
    for (key, stream) in streams {
        let found = stream.unevenness();
        if found.is_none_or(|found| (found < UNEVEN) != encrypted) {
            let not = if encrypted { "not " } else { "" };
            return Err(io::Error::other(format!(
                "the payload from port {} is {not}encrypted: {found:?}",
                key.from
            )));
        }
    }
    Ok(())
}

/// An error where a key that a capture holds stands in a log; where it holds none, or, of signalling
/// over TLS, any.
fn untold(logs: &[PathBuf], capture: &[u8], veiled: bool) -> io::Result<()> {
    let text = String::from_utf8_lossy(capture);
    let keys: Vec<&str> = text
        .split("inline:")
        .skip(1)
        .filter_map(|rest| rest.get(..40).or_else(|| rest.split_whitespace().next()))
        .filter(|key| key.is_ascii())
        .collect();
    if veiled != keys.is_empty() || (!veiled && keys.len() < 2) {
        let text = format!("the capture holds {} keys", keys.len());
        return Err(io::Error::other(text));
    }
    for log in logs {
        let log = fs::read(log)?;
        let log = String::from_utf8_lossy(&log);
        if log.contains("inline:") || keys.iter().any(|key| log.contains(key)) {
            return Err(io::Error::other("a log tells a key"));
        }
    }
    Ok(())
}

/// An error unless `heard` holds at least `seconds` of `said`.
fn must_hear(who: &str, said: &[i16], heard: impl Into<Wav>, seconds: f64) -> io::Result<()> {
    match measure::carried(said, &wide::narrow(&heard.into())) {
        Some(found) if found.carried >= seconds => Ok(()),
        found => Err(io::Error::other(format!(
            "{who} did not hear what was said: {found:?}"
        ))),
    }
}

/// The same of wide-band speech, both halves of whose band must have come through.
fn must_hear_wide(who: &str, said: &Wav, heard: &Wav, seconds: f64) -> io::Result<()> {
    match wide::carried(said, heard) {
        Some(found) if found.lower.carried >= seconds && found.is_wide() => Ok(()),
        found => Err(io::Error::other(format!(
            "{who} did not hear what was said in wide band: {found:?}"
        ))),
    }
}

/// A case's name as the name of its folder.
fn folder(name: &str) -> String {
    let words = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}
