//! Two channels, by a codec that an integrator brings: µ-law of left and right in turn (RFC 3551 §4.1).

use std::io::Cursor;
use std::sync::Arc;

use super::lab::{Lab, Peer, RATE, ms, power_at, tone};
use crate::id::{LegId, PlayId, PortId, RecordingId};
use crate::media::codec::g711::{decode_mu, encode_mu};
use crate::media::codec::{Codec, CodecError, Decoder, Encoder, RtpMap, Terms};
use crate::media::command::{Command, PlayOn};
use crate::media::frame::SampleRate;
use crate::media::leg::config::{LegConfig, LegSettings, PayloadFormat};
use crate::media::player::{Player, Repeat};
use crate::media::recorder::writer::TrackWriter;
use crate::media::recorder::{DEFAULT_QUEUE, recording};
use crate::media::wav::{Clip, Encoding, Header};
use crate::rtp::packet::HEADER_LEN;

#[derive(Debug, Clone, Copy)]
struct Stereo;

impl Codec for Stereo {
    fn rtp_map(&self) -> RtpMap {
        RtpMap {
            encoding: "PCMU",
            clock_rate: 8_000,
            channels: 2,
            payload_type: None,
        }
    }

    fn sample_rate(&self) -> SampleRate {
        RATE
    }

    fn encoder(&self, _: &Terms) -> Result<Box<dyn Encoder>, CodecError> {
        Ok(Box::new(*self))
    }

    fn decoder(&self, _: &Terms) -> Result<Box<dyn Decoder>, CodecError> {
        Ok(Box::new(*self))
    }
}

impl Encoder for Stereo {
    fn sample_rate(&self) -> SampleRate {
        RATE
    }

    fn rtp_clock(&self) -> u32 {
        8_000
    }

    fn channels(&self) -> usize {
        2
    }

    fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> Result<usize, CodecError> {
        let needed = samples.len();
        let out = out.get_mut(..needed);
        encode_mu(samples, out.ok_or(CodecError::OutputTooSmall { needed })?);
        Ok(needed)
    }
}

impl Decoder for Stereo {
    fn sample_rate(&self) -> SampleRate {
        RATE
    }

    fn rtp_clock(&self) -> u32 {
        8_000
    }

    fn channels(&self) -> usize {
        2
    }

    fn samples_in(&self, payload: &[u8]) -> Result<usize, CodecError> {
        let whole = payload.len().is_multiple_of(2) && !payload.is_empty();
        whole
            .then_some(payload.len() / 2)
            .ok_or(CodecError::Malformed)
    }

    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, CodecError> {
        let needed = payload.len();
        let out = out.get_mut(..needed);
        decode_mu(payload, out.ok_or(CodecError::OutputTooSmall { needed })?);
        Ok(needed / 2)
    }
}

/// A leg in two channels.
fn config(peer: &Peer) -> LegConfig {
    let format = PayloadFormat {
        payload_type: 96,
        codec: Arc::new(Stereo),
        terms: Terms::new(RATE),
    };
    LegConfig {
        settings: LegSettings {
            remote: peer.settings().remote,
            ..LegSettings::new(format)
        },
        ..peer.config()
    }
}

/// Left and right as the peer at `port` heard them.
fn heard(lab: &Lab, port: PortId) -> [Vec<i16>; 2] {
    let mut both = Vec::new();
    for datagram in lab.rtp_from(port) {
        let view = datagram.rtp();
        assert_eq!((view.payload_type(), view.payload().len()), (96, 320));
        let at = both.len();
        both.resize(at + 320, 0);
        decode_mu(view.payload(), &mut both[at..]);
    }
    [0, 1].map(|which| both.iter().skip(which).step_by(2).copied().collect())
}

#[test]
fn a_stereo_prompt_reaches_a_stereo_leg_and_a_room_both_ears() {
    let mut lab = Lab::room(vec![Peer::new(1, tone(900.0, 3_000.0)), Peer::silent(2)]);
    let listener = Peer::silent(3);
    let config = config(&listener);
    lab.add_with(listener, config);
    let (left, right) = (tone(500.0, 4_000.0), tone(1_500.0, 4_000.0));
    let both: Vec<i16> = (0..8_000).flat_map(|n| [left(n), right(n)]).collect();
    for (play, leg) in [(1, 2), (2, 3)] {
        let clip = Clip::from_stereo(RATE, &both);
        lab.command(Command::Play {
            play: PlayId(play),
            on: PlayOn::Leg(LegId(leg)),
            player: Box::new(Player::clip(clip, RATE, Repeat::Once).unwrap()),
        });
    }
    lab.run(ms(1_000));
    let (room, leg) = (super::lab::ROOM, LegId(3));
    lab.command(Command::Join { room, leg });
    lab.run(ms(1_000));
    let [left, right] = heard(&lab, PortId(3));
    for (channel, own, other) in [(&left, 500.0, 1_500.0), (&right, 1_500.0, 500.0)] {
        assert!(power_at(&channel[..8_000], own) > 7e6);
        assert!(power_at(&channel[..8_000], other) < 1_000.0);
        assert!(power_at(&channel[9_600..], 900.0) > 4e6);
    }
    // A mono leg hears the mean of both.
    let mono = lab.heard(PortId(2));
    for hz in [500.0, 1_500.0] {
        let power = power_at(&mono[..8_000], hz);
        assert!((1.8e6..2.2e6).contains(&power), "{hz}: {power}");
    }
}

/// The next 20 ms of the peer's two channels.
fn speak(peer: &mut Peer, left: &dyn Fn(usize) -> i16, right: &dyn Fn(usize) -> i16) -> Vec<u8> {
    let samples = peer.spoken..peer.spoken + 160;
    let both: Vec<i16> = samples.flat_map(|n| [left(n), right(n)]).collect();
    let mut packet = vec![0; HEADER_LEN + 320];
    peer.header.payload_type = 96;
    peer.header.emit(&mut packet);
    encode_mu(&both, &mut packet[HEADER_LEN..]);
    peer.spoken += 160;
    peer.header.sequence += 1;
    peer.header.timestamp += 160;
    packet
}

#[test]
fn a_party_that_speaks_in_stereo_is_recorded_so_and_heard_as_one() {
    let mut lab = Lab::room(vec![Peer::silent(2)]);
    let mut speaker = Peer::silent(1);
    let config = config(&speaker);
    lab.add_with(Peer::silent(1), config);
    let (room, leg) = (super::lab::ROOM, LegId(1));
    lab.command(Command::Join { room, leg });
    let (tap, feed) = recording(RATE, DEFAULT_QUEUE);
    let id = RecordingId(5);
    lab.command(Command::StartRecording {
        leg,
        recording: id,
        tap: Box::new(tap.of_party_alone()),
    });
    let mut tape = TrackWriter::new(feed, Encoding::Pcm16, Cursor::new(Vec::new())).unwrap();
    let (left, right) = (tone(500.0, 4_000.0), tone(1_500.0, 4_000.0));
    for n in 0..100 {
        lab.run(ms(20));
        let packet = speak(&mut speaker, &left, &right);
        // One of them is lost.
        if n != 40 {
            lab.datagram(speaker.port, speaker.address, &packet);
        }
        tape.drain().unwrap();
    }
    lab.command(Command::StopRecording { leg, recording: id });
    lab.take_events();
    let (file, report) = tape.close();
    assert_eq!(
        report
            .unwrap()
            .tracks
            .iter()
            .map(|track| track.lost_frames)
            .sum::<u64>(),
        0
    );
    let file = file.into_inner();
    let samples = file[Header::LEN..].as_chunks::<2>().0;
    let samples: Vec<i16> = samples.iter().map(|&s| i16::from_le_bytes(s)).collect();
    for (which, own, other) in [(0, 500.0, 1_500.0), (1, 1_500.0, 500.0)] {
        let track: Vec<i16> = samples.iter().skip(which).step_by(2).copied().collect();
        for part in [1_600..6_400, 8_000..14_400] {
            assert!(power_at(&track[part.clone()], own) > 6e6, "{which}");
            assert!(power_at(&track[part], other) < 1_000.0, "{which}");
        }
    }
    let heard = lab.heard(PortId(2));
    for hz in [500.0, 1_500.0] {
        let power = power_at(&heard[8_000..14_400], hz);
        assert!((1.6e6..2.2e6).contains(&power), "{hz}: {power}");
    }
}
