//! Recordings that hold the packets of Opus as they were on the wire, held against captures of the wire.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use sidetone::engine::config::Config;
use sidetone::engine::event::CallError;
use sidetone::engine::recording::RecordingPlan;
use sidetone::face::call::Call;
use sidetone::face::prompt::Prompt;
use sidetone::face::recording::Recording;
use sidetone::media::codec::Codec;
use sidetone::media::codec::g711::Law;
use sidetone::media::frame::SampleRate;
use sidetone::media::recorder::crypt::age::{Identity, Recipient};
use sidetone::media::recorder::export::packets::Packets;
use sidetone::media::recorder::layout::{self, Format};
use sidetone::media::recorder::track::Tracks;
use sidetone::media::recorder::verify::{Reading, Verdict, data_key, verify_as};
use sidetone::media::wav::{Encoding, Header};
use sidetone::rtp::packet::View;
use sidetone::rtp::red::Blocks;
use sidetone_opus::codec::Opus;
use sidetone_sim::capture::Capture;
use sidetone_sim::engine::Machine;
use sidetone_sim::network::link::{Link, Loss};
use sidetone_sim::sim::Sim;

use crate::stage::SECOND;

fn config(codec: impl Codec + 'static) -> Config {
    let mut config = Config::default();
    config.codecs = vec![Arc::new(codec)];
    config.recording.format = Format::Opus(layout::Packets::Original);
    config
}

/// Something like syllables, with pauses of digital silence, for so many seconds.
fn syllables(seconds: usize, hertz: f64) -> Prompt {
    let rate = SampleRate::HZ_16000;
    let sample = |n: usize| -> i16 {
        let time = n as f64 / 16_000.0;
        if time % 2.5 > 1.5 {
            return 0;
        }
        let swell = (time * 4.0 * TAU).sin().abs();
        let sound: f64 = (1..9)
            .map(|k| (hertz * f64::from(k) * TAU * time).sin())
            .sum();
        (sound * swell * 1_500.0) as i16
    };
    let samples: Vec<i16> = (0..seconds * 16_000).map(sample).collect();
    let header = Header {
        encoding: Encoding::Pcm16,
        channels: 1,
        rate,
    };
    let mut file = header.to_bytes(samples.len() as u64 * 2).to_vec();
    file.extend(samples.iter().flat_map(|s| s.to_le_bytes()));
    Prompt::from_wav(&file).expect("a WAV file")
}

/// A recording as it was left, and what was on the wire at its machine: payloads by their timestamps.
struct Left {
    audio: Vec<u8>,
    verdict: Verdict,
    /// What each track has of each place.
    tracks: Vec<Vec<Vec<u8>>>,
    received: BTreeMap<u32, Vec<u8>>,
    sent: BTreeMap<u32, Vec<u8>>,
}

impl Left {
    fn of(sim: &Sim, machine: &Machine, host: &str, reader: Option<&Identity>) -> Self {
        let disk = machine.disk();
        let audio = disk.read("a.opus").expect("a file");
        let seal = disk.read("a.opus.seal").expect("a record");
        let verdict = verify_as(&mut Cursor::new(&audio), &seal, &[], reader).expect("memory");
        assert!(verdict.findings.is_empty(), "{:?}", verdict.findings);
        let key = reader.map(|reader| data_key(&seal, reader).expect("a key"));
        let mut packets = Packets::with_key(&audio[..], key).expect("a recording");
        let mut tracks = vec![Vec::new(); packets.channels()];
        while packets.read().expect("packets") {
            for (channel, track) in tracks.iter_mut().enumerate() {
                track.push(packets.stream(channel).to_vec());
            }
        }
        let own = sim.network().resolve(host)[0];
        let network = sim.network();
        let capture = network.capture().expect("a capture");
        let capture = Capture::read(capture.as_bytes()).expect("a capture");
        let (mut received, mut sent) = (BTreeMap::new(), BTreeMap::new());
        for datagram in capture.datagrams() {
            let Ok(view) = View::parse(capture.payload(datagram)) else {
                continue;
            };
            let way = match datagram.source.ip() == own {
                true => &mut sent,
                false => &mut received,
            };
            if view.payload_type() == 111 {
                way.insert(view.timestamp(), view.payload().to_vec());
                continue;
            }
            // Where packets are lost they travel with copies of those before them (RFC 2198).
            let blocks = Blocks::parse(view.payload());
            for block in blocks.iter().flat_map(|it| it.as_slice()) {
                let timestamp = view.timestamp().wrapping_sub(block.offset);
                if block.payload_type == 111 && !block.data.is_empty() {
                    way.insert(timestamp, block.data.to_vec());
                }
            }
        }
        Self {
            audio,
            verdict,
            tracks,
            received,
            sent,
        }
    }

    /// The places at which a track has a packet of the wire, each with its timestamp.
    fn placed(&self, channel: usize, wire: &BTreeMap<u32, Vec<u8>>) -> Vec<(usize, u32)> {
        let mut by_payload: BTreeMap<&[u8], Vec<u32>> = BTreeMap::new();
        for (timestamp, payload) in wire {
            by_payload.entry(payload).or_default().push(*timestamp);
        }
        let due = |place: usize, timestamp: u32| timestamp.wrapping_sub(place as u32 * 960);
        let track = self.tracks[channel].iter().enumerate();
        let mut base = None;
        let found = track.filter_map(|(place, packet)| {
            let timestamps = by_payload.get(&packet[..])?;
            // Those of silence are all alike: the one that fits best.
            let off = |it: u32| {
                base.map_or(0, |base| due(place, it).wrapping_sub(base) as i32)
                    .abs()
            };
            let (off, timestamp) = timestamps.iter().map(|it| (off(*it), *it)).min()?;
            let is_alone = timestamps.len() == 1;
            if is_alone {
                base = Some(due(place, timestamp));
            }
            (is_alone || off <= 960).then_some((place, timestamp))
        });
        found.collect()
    }

    fn told(&self, kind: &str, track: &str) -> Vec<i64> {
        let timeline = self.verdict.timeline.iter();
        let told = timeline.filter(|it| it.kind == kind && it.track.as_deref() == Some(track));
        told.map(|it| it.count.unwrap_or(0)).collect()
    }
}

/// One engine calls another and both talk; the other records the call for so long, doing `course` meanwhile.
fn call<F>(codec: Opus, link: Link, readers: Vec<Recipient>, course: F) -> (Sim, Machine)
where
    F: AsyncFn(&Call, &Recording) -> Result<(), CallError> + 'static,
{
    let sim = Sim::seeded(21);
    sim.network().set_default_link(link);
    let (first, _one) = sim.machine("first", config(codec)).expect("an engine");
    let mut own = config(codec);
    own.recording.recipients = readers;
    let (last, machine) = sim.machine("last", own).expect("an engine");
    sim.network().start_capture(Some("last")).expect("a host");
    let (caller, callee) = (syllables(30, 130.0), syllables(30, 210.0));
    sim.spawn(async move {
        let call = first.dial("sip:x@last").await.expect("an answer");
        // The call ends before the prompt does.
        let _cut = call.play(&caller).await;
    });
    let handle = sim.handle();
    let ended = sim.block_on(async move {
        let call = Arc::new(last.incoming().await.expect("a call"));
        call.answer().await?;
        let recording = call.record("a.opus").await?;
        let playing = Arc::clone(&call);
        handle.spawn(async move { playing.play(&callee).await });
        course(&call, &recording).await?;
        assert!(recording.stop().await.is_ok());
        call.hang_up().await
    });
    ended.expect("a call");
    (sim, machine)
}

/// Those that are more than silence, which any encoder packs alike.
fn sounding(placed: &[(usize, u32)], wire: &BTreeMap<u32, Vec<u8>>) -> Vec<(usize, u32)> {
    let sounds = |timestamp: &u32| wire.get(timestamp).is_some_and(|it| it.len() > 40);
    let all = placed.iter().copied();
    all.filter(|(_, timestamp)| sounds(timestamp)).collect()
}

/// Where each of these packets would stand if the first stood at 0, less where it stands: all the same where each lies
/// in its time.
fn phases(placed: &[(usize, u32)]) -> BTreeMap<i64, usize> {
    let mut phases = BTreeMap::new();
    let first = placed.first().map_or(0, |(_, timestamp)| *timestamp);
    for (place, timestamp) in placed {
        let ticks = i64::from(timestamp.wrapping_sub(first) as i32);
        assert_eq!(ticks % 960, 0);
        *phases.entry(*place as i64 - ticks / 960).or_default() += 1;
    }
    phases
}

fn bad_link() -> Link {
    let link = Link::delay(Duration::from_millis(40)).jitter(Duration::from_millis(25));
    let link = link.loss(Loss::Random(0.03));
    link.reorder(0.02, Duration::from_millis(30))
        .duplicate(0.01)
}

async fn listen(call: &Call, _: &Recording) -> Result<(), CallError> {
    call.engine().sleep(SECOND * 12).await;
    Ok(())
}

#[test]
fn what_was_on_the_wire_is_in_the_file_byte_for_byte_and_in_its_time() {
    let clean = Link::delay(Duration::from_millis(20));
    for (name, codec, link) in [
        ("clean", Opus::new(), clean),
        ("bad", Opus::new(), bad_link()),
        ("pauses", Opus::new().dtx(true), bad_link()),
    ] {
        let (sim, machine) = call(codec, link, Vec::new(), listen);
        let left = Left::of(&sim, &machine, "last", None);
        for (channel, wire, track) in [(0, &left.received, "caller"), (1, &left.sent, "agent")] {
            let placed = left.placed(channel, wire);
            let told = (name, channel);
            // Twelve seconds; with pauses left out at least half of it is said. What came too late to be played is no
            // part of it.
            let least = if name == "pauses" { 330 } else { 560 };
            assert!(placed.len() > least, "{told:?}: {}", placed.len());
            let phases = phases(&sounding(&placed, wire));
            // Where it takes seconds to learn how fast the network is, a track may be put right by a packet.
            let most = if name == "clean" || channel == 1 {
                1
            } else {
                2
            };
            assert!(phases.len() <= most, "{told:?}: {phases:?}");
            // Nothing else stands there but what says that nothing came, and the second before the sound began.
            let others = left.tracks[channel].iter().enumerate();
            let others = others.filter(|(place, packet)| {
                packet.len() > 1 && placed.iter().all(|(it, _)| it != place)
            });
            let others = others.count();
            assert!(others <= 3, "{told:?}: {others} others");
            let off = left.told("original", track);
            assert!(
                !off.is_empty() && off.iter().all(|it| it.abs() <= 720),
                "{told:?}: {off:?}"
            );
            assert_eq!(left.told("encoded", track), [], "{told:?}");
        }
        if name == "bad" {
            assert!(!left.told("lost", "caller").is_empty(), "loss is told");
        }
    }
}

#[test]
fn nothing_of_what_is_masked_is_in_the_file_not_even_as_a_copy_behind_it() {
    let reader = "AGE-SECRET-KEY-1GCCGTZ0MYV0LG8WAFD79FGC4Y4SG5W0TQZCLPWJRK3RJ25ZGZMRQTRJ5Q5";
    let reader = Identity::parse(reader).expect("a key");
    let readers = vec![reader.recipient().expect("a key")];
    for (readers, reader) in [(Vec::new(), None), (readers, Some(&reader))] {
        let lossy = Link::delay(Duration::from_millis(20)).loss(Loss::Random(0.03));
        let (sim, machine) = call(Opus::new(), lossy, readers, async |call, recording| {
            let engine = call.engine();
            engine.sleep(SECOND * 3).await;
            recording.mask("card").await?;
            engine.sleep(SECOND * 2).await;
            recording.unmask().await?;
            engine.sleep(SECOND * 3).await;
            recording.pause().await?;
            engine.sleep(SECOND).await;
            recording.resume().await?;
            engine.sleep(SECOND * 3).await;
            Ok(())
        });
        let left = Left::of(&sim, &machine, "last", reader);
        if reader.is_some() {
            assert_eq!(left.verdict.reading, Reading::Decrypted);
        }
        assert_eq!(left.verdict.silenced.len(), 2);
        for (channel, wire) in [(0, &left.received), (1, &left.sent)] {
            let placed = left.placed(channel, wire);
            // Of nine seconds that are not masked, three are taken up by what is encoded behind it, and by losses.
            assert!(placed.len() > 200, "{}", placed.len());
            assert_eq!(phases(&sounding(&placed, wire)).len(), 1);
            let (first, timestamp) = placed[0];
            for span in &left.verdict.silenced {
                assert!(span.is_proven, "{span:?}");
                let places = (span.samples.start / 960) as usize..(span.samples.end / 960) as usize;
                // A second behind it none may carry copies.
                let hushed = places.start..places.end + 50;
                assert!(placed.iter().all(|(place, _)| !hushed.contains(place)));
                // Two places of the old encoder's decay, then no data.
                let track = &left.tracks[channel][places.start + 3..places.end - 1];
                assert!(track.iter().all(|packet| packet.len() == 1));
                for place in places {
                    let ticks = (place as u32).wrapping_sub(first as u32).wrapping_mul(960);
                    let masked = wire.get(&timestamp.wrapping_add(ticks));
                    // Packets of silence are alike, masked or not, and in both directions.
                    let alike = |it: &Vec<u8>| {
                        let all = left.received.values().chain(left.sent.values());
                        all.filter(|other| other.ends_with(&it[4..])).count()
                    };
                    let masked = masked.filter(|it| it.len() > 20 && alike(it) == 1);
                    let masked = masked.map(|it| &it[4..]);
                    let is_there =
                        |part: &[u8]| left.audio.windows(part.len()).any(|it| it == part);
                    assert!(!masked.is_some_and(is_there), "{place}");
                }
            }
        }
        // Each silence is followed by encoding, and that by packets again.
        assert_eq!(left.told("encoded", "caller").len(), 2);
        assert_eq!(left.told("original", "caller").len(), 3);
    }
}

#[test]
fn a_track_goes_on_encoded_where_no_packets_carry_it_or_several_speak() {
    let sim = Sim::seeded(22);
    let mut own = config(Opus::new());
    own.codecs.push(Arc::new(Law::A));
    let (engine, machine) = sim.machine("engine", own).expect("an engine");
    let (caller, _one) = sim
        .machine("caller", config(Opus::new()))
        .expect("an engine");
    let (narrow, _two) = sim.machine("narrow", config(Law::A)).expect("an engine");
    let (wide, _three) = sim.machine("wide", config(Opus::new())).expect("an engine");
    let (also, _four) = sim.machine("also", config(Opus::new())).expect("an engine");
    sim.network().start_capture(Some("engine")).expect("a host");
    for (party, hertz) in [(narrow, 150.0), (wide, 190.0), (also, 230.0)] {
        let prompt = syllables(60, hertz);
        sim.spawn(async move {
            let call = party.incoming().await.expect("a call");
            call.answer().await.expect("media");
            // The call ends before the prompt does.
            let _cut = call.play(&prompt).await;
        });
    }
    let prompt = syllables(60, 120.0);
    sim.spawn(async move {
        let call = caller.dial("sip:x@engine").await.expect("an answer");
        let _cut = call.play(&prompt).await;
    });
    let ended = sim.block_on(async move {
        let call = engine.incoming().await.expect("a call");
        call.answer().await?;
        let plan = RecordingPlan::conversation("a.opus", Tracks::STEREO);
        let recording = call.record_as(plan).await?;
        let room = engine.room().await?;
        room.join(&call).await?;
        // Six seconds with each, the two who speak Opus together for six more.
        let narrow = engine.dial("sip:x@narrow").await?;
        room.join(&narrow).await?;
        engine.sleep(SECOND * 6).await;
        let wide = engine.dial("sip:x@wide").await?;
        room.join(&wide).await?;
        narrow.hang_up().await?;
        engine.sleep(SECOND * 6).await;
        let also = engine.dial("sip:x@also").await?;
        room.join(&also).await?;
        engine.sleep(SECOND * 6).await;
        wide.hang_up().await?;
        engine.sleep(SECOND * 6).await;
        assert!(recording.stop().await.is_ok());
        also.hang_up().await?;
        call.hang_up().await
    });
    ended.expect("a call");
    let left = Left::of(&sim, &machine, "engine", None);
    assert_eq!(left.told("encoded", "caller"), []);
    assert_eq!(left.told("original", "caller").len(), 1);
    let agent = left.verdict.timeline.iter();
    let agent = agent.filter(|it| it.track.as_deref() == Some("agent"));
    let kinds: Vec<_> = agent
        .filter(|it| matches!(it.kind.as_str(), "original" | "encoded"))
        .map(|it| (it.kind.as_str(), it.at / 48_000))
        .collect();
    let words: Vec<_> = kinds.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(
        words,
        ["encoded", "original", "encoded", "original"],
        "{kinds:?}"
    );
    for ((_, second), due) in kinds[1..].iter().zip([6, 12, 18]) {
        assert!((due - 1..=due + 1).contains(second), "{kinds:?}");
    }
    let placed = left.placed(1, &left.received);
    let places: Vec<_> = placed.iter().map(|(place, _)| place / 50).collect();
    assert!(
        places
            .iter()
            .all(|second| (5..=12).contains(second) || *second >= 17)
    );
    assert!(places.len() > 450, "{}", places.len());
}
