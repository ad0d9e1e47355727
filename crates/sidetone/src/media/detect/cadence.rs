//! What an exchange's tone means: by how long it sounds and pauses.

use super::{FRAME_MS, MachineTone};

/// Times that are remembered.
const KEPT: usize = 4;

/// Follows the beats of the exchange's band.
#[derive(Debug, Default)]
pub(super) struct Cadence {
    /// The last whole times on and off in milliseconds, the newest first; the first is an on when
    /// the tone is silent now.
    times: [u32; KEPT],
    sounds: bool,
    /// Frames in the present state.
    frames: u32,
    /// Frames of a pause that were not quiet.
    disturbed: u32,
    /// What has been told of this tone.
    told: Option<MachineTone>,
}

impl Cadence {
    /// Takes the next frame: the tone that sounds in it, and how loud all of it is.
    pub(super) fn process(&mut self, tone: Option<f32>, dbm0: f32) -> Option<MachineTone> {
        if tone.is_some() != self.sounds {
            self.change();
        }
        self.frames = self.frames.saturating_add(1);
        if !self.sounds && self.frames > 2 && dbm0 > -38.0 {
            self.disturbed += 1;
            if self.disturbed > 3 {
                // Something else is heard: what was before it is over.
                self.forget();
            }
        }
        let meaning = self.meaning()?;
        (self.told.replace(meaning) != Some(meaning)).then_some(meaning)
    }

    fn change(&mut self) {
        let length = self.frames * FRAME_MS;
        // A frame counts as sound from a tenth of its power on.
        let length = match self.sounds {
            true => length.saturating_sub(14),
            false => length + 14,
        };
        self.times.rotate_right(1);
        self.times[0] = length;
        self.sounds = !self.sounds;
        self.frames = 0;
        self.disturbed = 0;
    }

    /// What was heard so far was something else.
    pub(super) fn forget(&mut self) {
        self.times = [0; KEPT];
        self.told = None;
        self.disturbed = 0;
    }

    fn meaning(&mut self) -> Option<MachineTone> {
        let now = self.frames * FRAME_MS;
        if self.sounds {
            return (now >= 2_600).then_some(MachineTone::Dial);
        }
        let [on, off, on_before, _] = self.times;
        if (350..=2_300).contains(&on) && now >= 1_750 {
            return (now < 5_500).then_some(MachineTone::Ringback);
        }
        let alike = |a: u32, b: u32| a.abs_diff(b) <= 50 + a / 10;
        if on == 0 || !alike(on, off) || !alike(on, on_before) || now < 100 {
            return None;
        }
        match on {
            130..300 => Some(MachineTone::Congestion),
            300..=850 => Some(MachineTone::Busy),
            _ => None,
        }
    }
}
