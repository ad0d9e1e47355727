//! Ticks that come late, and what a leg makes of it.

use super::lab::{Lab, Peer, ms, tone};
use crate::media::command::Event;
use crate::media::quality::Way;
use crate::media::quality::cause::{Cause, Causes};

/// The causes told of each way.
fn causes(events: &[Event], way: Way) -> Causes {
    let told = events.iter().filter_map(|event| match event {
        Event::Quality { change, .. } if change.way == way => Some(change.causes),
        _ => None,
    });
    told.fold(Causes::NONE, Causes::and)
}

/// A lab whose ticks run so late, every `nth` one.
fn run_late(late: u64, nth: usize) -> Vec<Event> {
    let mut lab = Lab::new();
    lab.add(Peer::new(1, tone(440.0, 8_000.0)));
    for tick in 0..500 {
        lab.now += ms(20);
        let now = if tick % nth == 0 {
            lab.now + ms(late)
        } else {
            lab.now
        };
        lab.worker.handle_timeout(now);
        lab.collect();
        let mut packet = lab.peers[0].speak();
        let (port, source) = (lab.peers[0].port, lab.peers[0].address);
        lab.worker.handle_rtp(now, port, source, &mut packet);
    }
    lab.take_events()
}

#[test]
fn late_ticks_are_told() {
    let events = run_late(15, 3);
    assert_eq!(
        causes(&events, Way::Send),
        Causes::NONE.with(Cause::CpuLate)
    );
    assert_eq!(causes(&events, Way::Receive), Causes::NONE);
}

#[test]
fn ticks_in_time_or_seldom_late_are_not_told() {
    for (late, nth) in [(0, 1), (4, 1), (15, 40)] {
        let events = run_late(late, nth);
        assert_eq!(
            causes(&events, Way::Send),
            Causes::NONE,
            "{late} ms, every {nth}"
        );
    }
}

#[test]
fn ticks_that_never_ran_are_told() {
    let mut lab = Lab::new();
    lab.add(Peer::new(1, tone(440.0, 8_000.0)));
    lab.run(ms(3_000));
    lab.now += ms(600);
    lab.run(ms(2_000));
    let events = lab.take_events();
    assert!(causes(&events, Way::Send).contains(Cause::CpuLate));
}
