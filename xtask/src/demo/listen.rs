//! What each side of the demonstration's call heard, measured and judged.

use std::io;
use std::ops::Range;
use std::path::PathBuf;

use super::show::Show;
use crate::audio::measure::{self, Carried};
use crate::audio::pcap::{self, Stream};
use crate::audio::wav::Wav;
use crate::shell;

/// Speech that must have come through, in seconds, and which share of what was offered.
const ENOUGH: (f64, f64) = (3.0, 0.85);

/// One party of the call.
pub(super) struct Side<'a> {
    pub(super) said: &'a [i16],
    pub(super) heard: Wav,
    /// The ports of its sound.
    pub(super) ports: Range<u16>,
}

/// Everything that the call left behind.
pub(super) struct Evidence<'a> {
    pub(super) caller: Side<'a>,
    pub(super) agent: Side<'a>,
    pub(super) recording: PathBuf,
    pub(super) capture: Option<PathBuf>,
}

impl Evidence<'_> {
    /// Prints what was heard; true when both directions carried the speech.
    pub(super) fn judge(&self, show: &mut Show) -> io::Result<bool> {
        let streams = match &self.capture {
            Some(file) => Some(pcap::streams(file)?.into_iter().collect::<Vec<_>>()),
            None => None,
        };
        let streams = streams.as_deref();
        for (name, file) in [("the greeting", "greeting.wav"), ("the music", "music.wav")] {
            self.prompt(show, name, file)?;
        }
        let to_agent = direction(
            show,
            ("the agent", "the caller"),
            &self.agent,
            &self.caller,
            streams,
        );
        let to_caller = direction(
            show,
            ("the caller", "the agent"),
            &self.caller,
            &self.agent,
            streams,
        );
        let recorded = self.recorded(show)?;
        let verdict = if to_agent && to_caller {
            "both directions carried the speech"
        } else {
            "FAILED"
        };
        show.line(verdict);
        Ok(to_agent && to_caller && recorded)
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

    fn recorded(&self, show: &Show) -> io::Result<bool> {
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
        let caller = measure::carried(self.caller.said, left);
        let agent = measure::carried(self.agent.said, right);
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

/// Prints what `listener` heard of `speaker`; true when it was enough.
fn direction(
    show: &Show,
    (listener_name, speaker_name): (&str, &str),
    listener: &Side<'_>,
    speaker: &Side<'_>,
    streams: Option<&[(pcap::Key, Stream)]>,
) -> bool {
    let heard = &listener.heard.channels[0];
    let level = measure::level(heard);
    let carried = measure::carried(speaker.said, heard);
    let (spoken, offered) = carried.map_or((0.0, 0.0), |found| (found.carried, found.offered));
    let path = streams.and_then(|streams| path(streams, speaker, listener));
    let (delay, loss) = path.unwrap_or((
        "not measured (needs root and tshark)".into(),
        "not measured".into(),
    ));
    show.line(&format!(
        "{listener_name} heard {speaker_name}: {spoken:.1} of {offered:.1} s of speech; in all \
         {:.1} s, {:.1} s of it sound at {:.1} dBov; delay {delay}; loss {loss}",
        listener.heard.seconds(),
        level.active,
        level.dbov,
    ));
    is_enough(carried)
}

fn is_enough(found: Option<Carried>) -> bool {
    found
        .is_some_and(|found| found.carried >= ENOUGH.0 && found.carried >= ENOUGH.1 * found.offered)
}

/// Delay from the speaker's packets to those that the listener got, and what was lost on the way.
fn path(
    streams: &[(pcap::Key, Stream)],
    from: &Side<'_>,
    to: &Side<'_>,
) -> Option<(String, String)> {
    let sent = streams
        .iter()
        .find(|(key, _)| from.ports.contains(&key.from))?;
    let got = streams.iter().find(|(key, _)| to.ports.contains(&key.to))?;
    let origin = sent.1.begins().min(got.1.begins());
    let found = measure::carried(&sent.1.sound(origin), &got.1.sound(origin))?;
    let (lost, seen) = got.1.loss();
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
            })
        };
        assert!(is_enough(found(7.5, 8.0)));
        assert!(!is_enough(found(2.0, 2.0)));
        assert!(!is_enough(found(4.0, 8.0)));
        assert!(!is_enough(None));
    }
}
