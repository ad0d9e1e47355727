//! Makes the calls of a grid, and leaves the sounds to be scored with the figures of each call.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sidetone::media::jitter::{self, Mode};
use sidetone::rtp::packet::View;
use sidetone::time::Duration;

use crate::clips::Clip;
use crate::format::Format;
use crate::grid::{Receiver, Scene, Table};
use crate::lab::{self, Received, Take};
use crate::measure::{self, Found};
use crate::network::oracle_ms;
use crate::plain;
use crate::sound::Sound;

/// The clips of a call one after the other, and where each lies.
struct Speech {
    sound: Sound,
    places: Vec<(usize, usize)>,
    /// Clip that lies at each place.
    clips: Vec<usize>,
}

/// Where everything is put, and what NetEQ is called by.
pub struct Bench<'a> {
    /// For the sounds.
    pub folder: &'a Path,
    /// The speech.
    pub clips: &'a [Clip],
    /// The program that plays packets through NetEQ; without it that peer is left out.
    pub neteq: Option<&'a Path>,
}

/// Silence between two clips, in milliseconds.
const PAUSE_MS: usize = 400;

impl Bench<'_> {
    /// Makes every call of a table, and gives a record for each.
    ///
    /// # Errors
    /// A sound cannot be written, or NetEQ's program fails.
    pub fn table(&self, table: &Table) -> io::Result<Vec<Value>> {
        let mut cells = Vec::new();
        for format in table.formats.iter().filter_map(|name| Format::named(name)) {
            self.write_references(&format)?;
            for scene in &table.scenes {
                cells.extend(self.scene(table, &format, scene)?);
            }
        }
        Ok(cells)
    }

    fn scene(&self, table: &Table, format: &Format, scene: &Scene) -> io::Result<Vec<Value>> {
        let speech = self.speech(format, scene.packets);
        let call = |jitter| lab::call(format, &speech.sound, scene.impairment, jitter);
        let take = call(jitter::Config::default());
        let delays: Vec<u64> = take.received.iter().map(|p| p.at_us - p.sent_us).collect();
        let oracle = oracle_ms(&delays, 100);
        let mut cells = Vec::new();
        for receiver in &table.receivers {
            let (heard, own) = match receiver {
                Receiver::Sidetone => (take.heard.clone(), own_figures(&take)),
                Receiver::Fixed(ms) => {
                    let take = call(fixed(*ms));
                    let own = own_figures(&take);
                    (take.heard, own)
                }
                Receiver::Oracle => {
                    let take = call(fixed(oracle));
                    let own = own_figures(&take);
                    (take.heard, own)
                }
                Receiver::Silence(ms) => {
                    let length = take.heard.samples.len();
                    let heard = plain::play(format, &take.received, *ms, length);
                    (heard, json!({}))
                }
                Receiver::Appendix(ms) => {
                    let length = take.heard.samples.len();
                    let heard = plain::play_concealed(format, &take.received, *ms, length);
                    (heard, json!({}))
                }
                Receiver::NetEq => match self.neteq(format, &take)? {
                    Some(heard) => heard,
                    None => continue,
                },
            };
            let id = format!(
                "{}-{}-{}-{}",
                table.name,
                format.name,
                scene.name,
                receiver.name()
            );
            let id: String = id
                .chars()
                .map(|c| if c.is_alphanumeric() { c } else { '_' })
                .collect();
            let found = measure::track(&speech.sound, &heard, scene.impairment.drift_ppm);
            let delay = measure::delay(&found, measure::spoken(&speech.sound));
            let pairs = self.write_pairs(format, &id, &speech, &heard, &found, scene)?;
            cells.push(json!({
                "table": table.name, "format": format.name, "scene": scene.name,
                "receiver": receiver.name(), "seed": scene.impairment.seed,
                "wide": format.is_wide(), "packets": take.sent,
                "lost": take.sent - take.received.len() as u64,
                "kbps": take.sent_bytes as f64 * 8.0 / speech.sound.millis() as f64,
                "oracle_ms": oracle,
                "delay_ms": delay.mean, "delay_p95_ms": delay.p95, "found": delay.found,
                "own": own, "pairs": pairs,
            }));
        }
        Ok(cells)
    }

    /// The clips at the format's rate, again and again until the call is long enough.
    fn speech(&self, format: &Format, packets: usize) -> Speech {
        let rate = format.rate.hz();
        let pause = vec![0; PAUSE_MS * rate as usize / 1000];
        let clips: Vec<Sound> = self
            .clips
            .iter()
            .map(|clip| clip.sound.at_rate(rate))
            .collect();
        let mut speech = Speech {
            sound: Sound::new(rate, pause.clone()),
            places: Vec::new(),
            clips: Vec::new(),
        };
        let wanted = packets * format.rate.frame_samples();
        while speech.places.is_empty() || speech.sound.samples.len() < wanted {
            for (number, clip) in clips.iter().enumerate() {
                let from = speech.sound.samples.len();
                speech.sound.samples.extend_from_slice(&clip.samples);
                speech.places.push((from, speech.sound.samples.len()));
                speech.clips.push(number);
                speech.sound.samples.extend_from_slice(&pause);
            }
        }
        speech
    }

    fn reference(&self, format: &Format, clip: usize) -> PathBuf {
        let name = format!("said-{}-{}.wav", self.clips[clip].name, format.rate.hz());
        self.folder.join(name)
    }

    fn write_references(&self, format: &Format) -> io::Result<()> {
        for (number, clip) in self.clips.iter().enumerate() {
            let path = self.reference(format, number);
            if !path.exists() {
                clip.sound.at_rate(format.rate.hz()).write_wav(&path)?;
            }
        }
        Ok(())
    }

    fn write_pairs(
        &self,
        format: &Format,
        id: &str,
        speech: &Speech,
        heard: &Sound,
        found: &[Found],
        scene: &Scene,
    ) -> io::Result<Vec<Value>> {
        let mut pairs = Vec::new();
        for (n, (&(from, to), &clip)) in speech.places.iter().zip(&speech.clips).enumerate() {
            let slice = measure::slice(heard, found, from, to, scene.impairment.drift_ppm);
            let path = self.folder.join(format!("heard-{id}-{n}.wav"));
            slice.write_wav(&path)?;
            pairs.push(json!({
                "said": self.reference(format, clip), "heard": path,
                "clip": self.clips[clip].name,
            }));
        }
        Ok(pairs)
    }

    /// Plays the packets through NetEQ.
    fn neteq(&self, format: &Format, take: &Take) -> io::Result<Option<(Sound, Value)>> {
        let Some(program) = self.neteq else {
            return Ok(None);
        };
        let packets = self.folder.join("packets.bin");
        let sound = self.folder.join("neteq.pcm");
        write_packets(&packets, &take.received)?;
        let done = Command::new(program)
            .args([&packets, &sound])
            .arg(format.neteq_rate.to_string())
            .arg(take.heard.millis().to_string())
            .args(&format.neteq)
            .output()?;
        if !done.status.success() {
            let why = String::from_utf8_lossy(&done.stderr).into_owned();
            return Err(io::Error::other(format!("neteq: {why}")));
        }
        let figures: Value = serde_json::from_slice(&done.stdout)?;
        let rate = figures["rate"].as_u64().unwrap_or(0) as u32;
        let mut heard = Sound::read_raw(&sound, rate)?.at_rate(format.rate.hz());
        // Its first 10 ms are those of time zero, ours those of the first tick at 20 ms.
        let early = format.rate.frame_samples().min(heard.samples.len());
        heard.samples.drain(..early);
        let ms = |field: &str| figures[field].as_f64().unwrap_or(0.0) * 1000.0 / f64::from(rate);
        let own = json!({
            "concealed_ms": ms("concealed"), "silent_ms": ms("silent"),
            "stretched_ms": ms("inserted") , "shortened_ms": ms("removed"),
            "played_ms": ms("received"), "buffer_ms": figures["buffer_ms"],
        });
        Ok(Some((heard, own)))
    }
}

/// A buffer of fixed delay.
pub fn fixed(ms: u64) -> jitter::Config {
    jitter::Config {
        mode: Mode::Fixed(Duration::from_millis(ms)),
        ..jitter::Config::default()
    }
}

/// The engine's own figures of a call.
fn own_figures(take: &Take) -> Value {
    let (packets, sound) = (&take.report.jitter, &take.report.concealment);
    let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
    json!({
        "concealed_ms": ms(sound.concealed), "silent_ms": ms(sound.silent + sound.noise),
        "played_ms": ms(sound.played),
        "stretched_ms": ms(sound.slowed), "shortened_ms": ms(sound.accelerated),
        "late": packets.late, "lost": packets.lost, "redundant": packets.redundant,
        "recovered": packets.recovered, "buffer_ms": ms(packets.mean_delay()),
    })
}

fn write_packets(path: &Path, received: &[Received]) -> io::Result<()> {
    let mut file = io::BufWriter::new(std::fs::File::create(path)?);
    for packet in received.iter().filter(|p| View::parse(&p.bytes).is_ok()) {
        file.write_all(&packet.at_us.to_le_bytes())?;
        file.write_all(&(packet.bytes.len() as u16).to_le_bytes())?;
        file.write_all(&packet.bytes)?;
    }
    file.flush()
}
