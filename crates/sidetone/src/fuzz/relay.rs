//! A bridge that passes packets on: whatever comes, each leg sends one stream in which no number is used
//! twice.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::id::{LegId, PlayId, PortId, RoomId};
use crate::media::command::{Command, Event, PlayAction, PlayOn};
use crate::media::frame::SampleRate;
use crate::media::leg::Leg;
use crate::media::leg::config::{
    Channel, LegConfig, LegSettings, MediaAddress, PayloadFormat, TelephoneEventFormat,
};
use crate::media::mixer::{Capacity, Gain, Room};
use crate::media::player::{Player, Repeat};
use crate::media::wav::Clip;
use crate::media::worker::{Worker, WorkerConfig};
use crate::rng::Rng;
use crate::rtp::packet::{HEADER_LEN, Header, View};
use crate::time::{ClockAnchor, Duration, Instant};

const RATE: SampleRate = SampleRate::HZ_8000;
const ROOM: RoomId = RoomId(1);

/// What is followed of each leg.
#[derive(Default)]
struct Party {
    header: Header,
    /// Extended numbers that it has sent, and the last of them.
    sent: BTreeSet<i64>,
    last: Option<i64>,
    ssrc: u32,
}

fn address(leg: u64) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 10_000 + leg as u16 * 2))
}

fn leg(now: Instant, number: u64) -> Box<Leg> {
    let settings = LegSettings {
        remote: Some(MediaAddress {
            rtp: address(number),
            rtcp: None,
        }),
        telephone_event: Some(TelephoneEventFormat {
            send_payload_type: 101,
            receive_payload_type: 101,
            clock_rate: 8_000,
            also_received: None,
        }),
        receive: vec![PayloadFormat::pcmu(), PayloadFormat::pcma()],
        ..LegSettings::new(PayloadFormat::pcmu())
    };
    let port = PortId(number as u32);
    let config = LegConfig::new(LegId(number), port, settings, ClockAnchor::default());
    Leg::new(now, config, Rng::new(number)).expect("possible settings")
}

/// Two or three legs in a room, under packets, ticks and commands.
///
/// Steps of four bytes: what to do and to which leg, the step of the sequence number, that of the
/// timestamp in packets, and the milliseconds that pass.
pub fn relay(data: &[u8]) {
    let mut worker = Worker::new(WorkerConfig {
        max_legs: 3,
        max_rooms: 1,
        max_plays: 2,
        ..WorkerConfig::default()
    });
    let mut now = Instant::ZERO + Duration::from_secs(1);
    let mixer = Box::new(Room::new(RATE, Capacity::default()));
    worker.handle_command(now, Command::AddRoom { room: ROOM, mixer });
    let mut parties = [1, 2, 3].map(|_| Party::default());
    for number in 1..=3 {
        worker.handle_command(now, Command::AddLeg(leg(now, number)));
        parties[number as usize - 1].header.ssrc = number as u32;
    }
    for number in 1..=2 {
        let leg = LegId(number);
        worker.handle_command(now, Command::Join { room: ROOM, leg });
    }
    for step in data.as_chunks::<4>().0 {
        let [what, by, ticks, pass] = *step;
        let number = u64::from(what >> 4) % 3;
        match what & 15 {
            0 => {
                if let Some(command) = command(u64::from(by) % 12, number + 1) {
                    worker.handle_command(now, command);
                }
            }
            kind => {
                let party = &mut parties[number as usize];
                let header = &mut party.header;
                header.payload_type = [0, 0, 0, 8, 101, 77][usize::from(kind) % 6];
                header.marker = by & 64 != 0;
                header.sequence = header
                    .sequence
                    .wrapping_add_signed(i16::from(by as i8 >> 2));
                let step = i32::from(ticks as i8) * 80;
                header.timestamp = header.timestamp.wrapping_add_signed(step);
                header.ssrc = number as u32 + 1 + u32::from(kind == 15) * 100;
                let mut packet = vec![what; HEADER_LEN + usize::from(kind) * 20];
                header.emit(&mut packet);
                let port = PortId(number as u32 + 1);
                worker.handle_rtp(now, port, address(number + 1), &mut packet);
            }
        }
        check(&mut worker, &mut parties);
        now += Duration::from_millis(u64::from(pass) / 4);
        worker.handle_timeout(now);
        check(&mut worker, &mut parties);
    }
    assert_eq!(worker.stats().dropped_packets, 0);
}

fn command(choice: u64, number: u64) -> Option<Command> {
    let (leg, other) = (LegId(number), LegId(number % 3 + 1));
    let play = PlayId(number);
    Some(match choice {
        0 => Command::Join { room: ROOM, leg },
        1 => Command::Leave { leg },
        2 | 3 => Command::SetGain {
            room: ROOM,
            from: leg,
            to: other,
            gain: [Gain::MUTE, Gain::UNITY][choice as usize - 2],
        },
        4 | 5 => {
            let clip = Clip::from_samples(RATE, vec![100; 400]);
            let player = Box::new(Player::clip(clip, RATE, Repeat::Times(3)).ok()?);
            let on = [PlayOn::Leg(leg), PlayOn::Room(ROOM)][choice as usize - 4];
            Command::Play { play, on, player }
        }
        6 => Command::ControlPlay {
            play,
            action: PlayAction::Stop,
        },
        7 => Command::SendDigits {
            leg,
            digits: "1".parse().ok()?,
            press: Duration::from_millis(60),
            path: crate::media::leg::digits::DigitPath::Events,
        },
        _ => return None,
    })
}

/// Holds what the worker sends against what each leg has sent before.
fn check(worker: &mut Worker, parties: &mut [Party; 3]) {
    while let Some(transmit) = worker.poll_transmit() {
        if transmit.channel == Channel::Rtcp {
            continue;
        }
        let view = View::parse(transmit.bytes).expect("the worker sends RTP");
        let party = &mut parties[transmit.port.0 as usize - 1];
        if party.ssrc != view.ssrc() {
            // A collision has made it change.
            *party = Party {
                header: party.header,
                ssrc: view.ssrc(),
                ..Party::default()
            };
        }
        let last = party.last.unwrap_or(i64::from(view.sequence()));
        let ahead = view.sequence().wrapping_sub(last as u16) as i16;
        let number = last + i64::from(ahead);
        assert!(party.sent.insert(number), "a number is used twice");
        party.last = Some(last.max(number));
    }
    while let Some(event) = worker.poll_event() {
        assert!(!matches!(event, Event::LegRemoved(_)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_keep_every_promise() {
        crate::fuzz::run_seeds("relay", relay);
    }

    #[test]
    fn random_input_keeps_every_promise() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut data = Vec::new();
            for _ in 0..300 {
                let leg = rng.below(3) as u8;
                let wild = rng.below(12) == 0;
                let what = leg << 4 | if wild { rng.below(16) as u8 } else { 8 };
                let by = if wild { rng.next_u32() as u8 } else { 4 };
                let ticks = if wild { rng.next_u32() as u8 } else { 2 };
                data.extend([what, by, ticks, rng.below(60) as u8]);
            }
            relay(&data);
        }
    }
}
