//! Whether legs learn of packets that take lanes at once or later is the same to everybody: two workers that do
//! the one and the other.

use super::lab::{Lab, Peer, ROOM, ms, speech};
use crate::id::{LegId, PortId};
use crate::media::command::{Command, Event};
use crate::rng::Rng;
use crate::rtp::packet::HEADER_LEN;
use crate::time::Duration;

fn pair() -> Lab {
    Lab::room(vec![Peer::new(1, speech(1)), Peer::new(2, speech(2))])
}

/// Two labs that are done the same to.
struct Twins {
    labs: [Lab; 2],
    rng: Rng,
    seed: u64,
}

impl Twins {
    fn new(seed: u64) -> Self {
        Self {
            labs: [pair(), pair()],
            rng: Rng::new(seed),
            seed,
        }
    }

    fn both(&mut self, mut act: impl FnMut(&mut Lab)) {
        self.labs.iter_mut().for_each(&mut act);
        self.labs[1].learn();
    }

    /// Ticks, then packets of both parties in an order and at times of their own, some of which are lost, come
    /// twice, late, from elsewhere or changed.
    fn step(&mut self, trouble: u64) {
        self.both(|lab| {
            lab.now += ms(20);
            lab.worker.handle_timeout(lab.now);
            lab.collect();
        });
        let first = self.rng.below(2) as usize;
        for peer in [first, 1 - first] {
            let delay = Duration::from_micros(self.rng.below(9_000));
            let fate = self.rng.below(trouble);
            let (place, bit) = (self.rng.below(HEADER_LEN as u64 + 20), self.rng.below(8));
            self.both(|lab| {
                let mut packet = lab.peers[peer].speak();
                let (port, mut source) = (lab.peers[peer].port, lab.peers[peer].address);
                let at = lab.now + delay;
                let control = |packet: &[u8]| [&[0x80, 201, 0, 1], &packet[8..12]].concat();
                match fate {
                    0 => return,
                    1 => lab.worker.handle_rtp(at, port, source, &mut packet.clone()),
                    2 => packet[place as usize] ^= 1 << bit,
                    3 => source.set_port(9_999),
                    4 => packet.truncate(HEADER_LEN + 80),
                    5 => lab.worker.handle_rtcp(
                        at,
                        port,
                        lab.peers[peer].control_address(),
                        &mut control(&packet),
                    ),
                    6 => packet[1] |= 0x80,
                    7 => {
                        let mut next = lab.peers[peer].speak();
                        lab.worker.handle_rtp(at, port, source, &mut next);
                    }
                    8 => lab.peers[peer].header.ssrc += 1,
                    _ => {}
                }
                lab.worker.handle_rtp(at, port, source, &mut packet);
                lab.collect();
            });
        }
    }

    fn assert_alike(&mut self) {
        let seed = self.seed;
        let [one, other] = &mut self.labs;
        assert_eq!(one.sent.len(), other.sent.len(), "seed {seed}");
        for (number, (one, other)) in one.sent.iter().zip(&other.sent).enumerate() {
            let place = (one.at, one.port, one.destination);
            let same = place == (other.at, other.port, other.destination);
            assert!(
                same && one.bytes == other.bytes,
                "seed {seed}, datagram {number}"
            );
        }
        let told = |lab: &Lab| {
            let mut told: Vec<String> = lab.events.iter().map(|e| format!("{e:?}")).collect();
            told.sort();
            told
        };
        assert!(told(one) == told(other), "seed {seed}: events");
        for leg in [1, 2] {
            let (one, other) = (one.report(LegId(leg)), other.report(LegId(leg)));
            assert_eq!(one, other, "seed {seed}, leg {leg}");
        }
    }
}

fn query(leg: LegId) -> Command {
    Command::QueryLeg {
        leg,
        report: Box::default(),
    }
}

#[test]
fn nobody_can_tell_when_legs_learn_of_packets() {
    for seed in 1..=40 {
        let mut twins = Twins::new(seed);
        for round in 0..10 {
            // Both speak evenly for a while, without which there are no lanes.
            for _ in 0..20 {
                twins.step(u64::MAX);
            }
            let trouble = if round % 3 == 0 { 40 } else { 12 };
            for _ in 0..20 {
                twins.step(trouble);
            }
            let command = twins.rng.below(4);
            twins.both(|lab| {
                let leg = LegId(1 + command % 2);
                match command {
                    0 | 1 => lab.command(Command::Leave { leg }),
                    _ => lab.command(query(leg)),
                }
                lab.command(Command::Join { room: ROOM, leg });
            });
        }
        let [one, other] = &twins.labs;
        let taken = |lab: &Lab| lab.worker.stats().passed_at_once;
        assert_eq!(taken(other), taken(one));
        assert!(taken(one) > 100, "seed {seed}: {}", taken(one));
        twins.assert_alike();
    }
}

#[test]
fn most_packets_of_a_calm_bridge_take_lanes() {
    let mut lab = pair();
    lab.run(ms(10_000));
    let stats = lab.worker.stats();
    assert_eq!(stats.passed_packets, 1_000);
    assert!(stats.passed_at_once > 950, "{}", stats.passed_at_once);
}

#[test]
fn who_asks_is_told_of_every_packet_that_took_a_lane() {
    let mut lab = pair();
    for step in 1..200_u64 {
        lab.run(ms(20));
        let leg = LegId(1);
        if step % 7 > 0 {
            continue;
        }
        lab.events.clear();
        lab.command(query(leg));
        let report = lab.events.iter().find_map(|event| match event {
            Event::LegReport { report, .. } => Some(report),
            _ => None,
        });
        let report = report.expect("a report");
        assert_eq!(report.receive.packets, step, "step {step}");
    }
}

#[test]
fn more_packets_at_once_than_a_lane_holds_lose_none() {
    let mut lab = pair();
    lab.run(ms(1_000));
    let before = lab.rtp_from(PortId(2)).count();
    let (port, source) = (lab.peers[0].port, lab.peers[0].address);
    for _ in 0..40 {
        let packet = lab.peers[0].speak();
        lab.datagram(port, source, &packet);
    }
    assert_eq!(lab.rtp_from(PortId(2)).count(), before + 40);
    lab.assert_continuous(PortId(2));
    assert_eq!(lab.report(LegId(1)).receive.packets, 90);
}
