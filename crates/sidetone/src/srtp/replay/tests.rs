//! Windows and estimates against an oracle that counts packets in 48 bits and forgets nothing.

use std::collections::BTreeSet;

use super::*;
use crate::rng::Rng;

#[test]
fn a_window_remembers_128() {
    let mut window = Window::new(1_000);
    window.take(1_127);
    assert!(window.has(1_000) && window.has(1_127) && !window.has(1_001));
    window.take(1_128);
    assert!(window.has(1_000), "too old to tell counts as seen");
    assert!(!window.has(1_129) && !window.has(1_001));
    window.take(5_000);
    assert!(window.has(1_128) && window.has(4_872) && !window.has(4_873));
}

#[test]
fn estimates_at_the_edges() {
    for (highest, sequence, index) in [
        (0, 0, Some(0)),
        (10, 60_000, Some(60_000)),
        (65_535, 0, Some(65_536)),
        (65_536, 65_535, Some(65_535)),
        (65_536, 1, Some(65_537)),
        (0x1_8000, 0x7FFF, Some(0x1_7FFF)),
        (0x1_8001, 0, Some(0x2_0000)),
        (0x1_8001, 1, Some(0x1_0001)),
        (0xFFFF_FFFF_FFFF, 0, None),
        (0xFFFF_FFFF_FFFF, 0xFFFE, Some(0xFFFF_FFFF_FFFE)),
    ] {
        assert_eq!(
            estimate(highest, sequence),
            index,
            "{highest:#x} {sequence:#x}"
        );
    }
}

/// Threat M5: whatever the network does within half the sequence space, no packet is taken twice,
/// none is refused that is new and within the window, and every index is found.
#[test]
fn random_networks_against_the_oracle() {
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let start = match seed % 4 {
            0 => 65_400 + rng.below(136),
            1 => rng.below(65_536),
            2 => (rng.below(1 << 20) << 16) + 65_400 + rng.below(136),
            _ => rng.below(1 << 47),
        };
        let mut window = Window::new(start);
        let mut taken = BTreeSet::from([start]);
        let mut sent = start;
        for step in 0..2_000 {
            let jump = match rng.below(100) {
                0 => rng.below(30_000),
                1..=10 => rng.below(20),
                _ => 1,
            };
            sent += jump;
            let late = if rng.below(4) == 0 { rng.below(200) } else { 0 };
            let Some(index) = sent
                .checked_sub(late)
                .filter(|index| *index >= start >> 16 << 16)
            else {
                continue;
            };
            let found = estimate(window.highest(), index as u16);
            assert_eq!(found, Some(index), "seed {seed}, step {step}");
            let too_old = window.highest().saturating_sub(index) >= WINDOW;
            let expected = too_old || taken.contains(&index);
            assert_eq!(
                window.has(index),
                expected,
                "seed {seed}, step {step}, {index}"
            );
            if !expected {
                window.take(index);
                taken.insert(index);
            }
        }
    }
}
