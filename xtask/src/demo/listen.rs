//! What each side of the demonstration's call heard, measured and judged.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use super::phone::Phone;
use super::show::Show;
use crate::audio::measure::{self, Carried};
use crate::audio::pcap::{self, Key, Stream};
use crate::audio::wav::Wav;
use crate::shell;

/// Speech that must have come through, in seconds, and which share of what was offered.
const ENOUGH: (f64, f64) = (3.0, 0.85);

/// One party of the call.
pub(super) struct Side {
    heard: Wav,
    /// The ports of its sound, where they are known.
    ports: Option<Range<u16>>,
    /// What its own program says about the packets that it received.
    report: Option<String>,
}

impl Side {
    /// What is left of a phone's call.
    pub(super) fn of(phone: &Phone<'_>) -> io::Result<Self> {
        Ok(Self {
            heard: phone.heard()?,
            ports: phone.ports(),
            report: phone.report(),
        })
    }
}

/// Everything that the call left behind.
pub(super) struct Evidence {
    pub(super) caller: Side,
    pub(super) agent: Side,
    pub(super) recording: PathBuf,
    pub(super) capture: Option<PathBuf>,
}

impl Evidence {
    /// Prints what was heard of what caller and agent said; true when both directions carried it.
    pub(super) fn judge(&self, show: &Show, [said, answered]: [&[i16]; 2]) -> io::Result<bool> {
        let streams = self
            .capture
            .as_deref()
            .map(pcap::streams)
            .transpose()?
            .unwrap_or_default();
        self.prompt(show, "the greeting", "greeting.wav")?;
        self.prompt(show, "the music", "music.wav")?;
        let (caller, agent) = (&self.caller, &self.agent);
        let there = direction(
            show,
            ["the agent", "the caller"],
            said,
            [caller, agent],
            &streams,
        );
        let back = direction(
            show,
            ["the caller", "the agent"],
            answered,
            [agent, caller],
            &streams,
        );
        let recorded = self.recorded(show, [said, answered])?;
        show.line(match (there && back, recorded) {
            (true, true) => "both directions carried the speech, and both were recorded",
            (true, false) => "FAILED: the recording does not hold both sides",
            (false, _) => "FAILED: the speech did not come through in both directions",
        });
        Ok(there && back && recorded)
    }

    fn prompt(&self, show: &Show, name: &str, file: &str) -> io::Result<()> {
        let path = shell::root()
            .join("examples/agent-bridge/prompts")
            .join(file);
        let prompt = Wav::read(&path)?;
        let found = measure::carried(&prompt.channels[0], &self.caller.heard.channels[0]);
        let text = found.map_or("nothing".to_owned(), |found| {
            format!("{:.1} s", found.carried)
        });
        show.line(&format!("the caller heard {name}: {text} of it"));
        Ok(())
    }

    fn recorded(&self, show: &Show, [said, answered]: [&[i16]; 2]) -> io::Result<bool> {
        let wav = Wav::read(&self.recording)?;
        show.line(&format!(
            "recording: {} ({:.1} s)",
            self.recording.display(),
            wav.seconds()
        ));
        let [left, right] = &wav.channels[..] else {
            show.line("the recording is not stereo");
            return Ok(false);
        };
        let caller = measure::carried(said, left);
        let agent = measure::carried(answered, right);
        for (name, found) in [("left", caller), ("right", agent)] {
            let seconds = found.map_or(0.0, |found| found.carried);
            let who = if name == "left" {
                "the caller"
            } else {
                "the agent"
            };
            show.line(&format!("  {name}: {seconds:.1} s of {who}'s speech"));
        }
        Ok(is_enough(caller) && is_enough(agent))
    }
}

/// Prints what the one heard of what the other said; true when it was enough.
fn direction(
    show: &Show,
    [listener, speaker]: [&str; 2],
    said: &[i16],
    [from, to]: [&Side; 2],
    streams: &BTreeMap<Key, Stream>,
) -> bool {
    let heard = &to.heard.channels[0];
    let level = measure::level(heard);
    let carried = measure::carried(said, heard);
    let (spoken, offered) = carried.map_or((0.0, 0.0), |found| (found.carried, found.offered));
    let (delay, loss) = path(streams, from, to).unwrap_or_else(|| {
        let loss = to.report.clone().unwrap_or_else(|| "not reported".into());
        (
            "not measured (a capture by tshark and root can)".into(),
            loss,
        )
    });
    show.line(&format!(
        "{listener} heard {spoken:.1} of {offered:.1} s of {speaker}'s speech"
    ));
    show.line(&format!(
        "  in all {:.1} s, of which {:.1} s are not silence, at {:.1} dBov",
        to.heard.seconds(),
        level.active,
        level.dbov,
    ));
    show.line(&format!("  delay: {delay}; loss: {loss}"));
    is_enough(carried)
}

fn is_enough(found: Option<Carried>) -> bool {
    found
        .is_some_and(|found| found.carried >= ENOUGH.0 && found.carried >= ENOUGH.1 * found.offered)
}

/// Delay from the speaker's packets to those that the listener got, and what was lost on the way.
fn path(streams: &BTreeMap<Key, Stream>, from: &Side, to: &Side) -> Option<(String, String)> {
    let (from, to) = (from.ports.as_ref()?, to.ports.as_ref()?);
    let (_, sent) = streams.iter().find(|(key, _)| from.contains(&key.from))?;
    let (_, got) = streams.iter().find(|(key, _)| to.contains(&key.to))?;
    let origin = sent.begins().min(got.begins());
    let found = measure::carried(&sent.sound(origin), &got.sound(origin))?;
    let (lost, seen) = got.loss();
    let share = 100.0 * lost as f64 / (lost + seen).max(1) as f64;
    Some((
        format!("{:.0} ms", found.delay * 1000.0),
        format!("{lost} of {} packets ({share:.1} %)", lost + seen),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_speech_is_not_enough() {
        let found = |carried, offered| {
            Some(Carried {
                delay: 0.0,
                offered,
                carried,
                gaps: 0.0,
            })
        };
        assert!(is_enough(found(7.5, 8.0)));
        assert!(!is_enough(found(2.0, 2.0)));
        assert!(!is_enough(found(4.0, 8.0)));
        assert!(!is_enough(None));
    }
}
