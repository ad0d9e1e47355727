//! The forks of a leg: each tick what it says and hears goes out of media, for whoever wants it.

use crate::id::ForkId;
use crate::media::dtmf::DtmfEvent;
use crate::media::fork::{Content, ForkTap, Said};
use crate::media::frame::Frame;
use crate::media::jitter::playout::Heard;
use crate::media::leg::Leg;
use crate::time::Instant;

/// Forks that a leg, and a room, has at most.
pub const MAX_FORKS: usize = 4;

/// The forks of a leg.
#[derive(Debug, Default)]
pub(super) struct Forks {
    taps: [Option<(ForkId, Box<ForkTap>)>; MAX_FORKS],
    count: u8,
    /// What was said in this tick; `None` where nobody listened.
    said: Option<Said>,
}

impl Forks {
    pub(super) fn iter(&self) -> impl Iterator<Item = ForkId> + '_ {
        self.taps.iter().flatten().map(|(id, _)| *id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn wanting(&self) -> impl Iterator<Item = &ForkTap> {
        let taps = self.taps.iter().flatten().map(|(_, tap)| &**tap);
        taps.filter(|tap| !tap.is_suspended())
    }

    /// Whether one of them needs what the party says.
    pub(super) fn want_said(&self) -> bool {
        self.count > 0 && self.wanting().any(|tap| tap.sound().wants_said())
    }

    /// Whether one of them needs what the party hears.
    pub(super) fn want_heard(&self) -> bool {
        self.count > 0 && self.wanting().any(|tap| tap.sound().wants_heard())
    }

    /// The party's key went down or up.
    pub(super) fn mark(&mut self, event: &DtmfEvent) {
        for (_, tap) in self.taps.iter_mut().flatten() {
            match *event {
                DtmfEvent::Started { digit } => tap.mark(digit, true),
                DtmfEvent::Ended { digit, .. } => tap.mark(digit, false),
            }
        }
    }
}

/// Why a fork cannot begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartForkError {
    /// It is there already.
    Exists,
    /// The leg has as many as it can.
    Full,
    /// It takes no frames of the leg's rate.
    WrongRate,
}

impl Leg {
    /// The forks that it writes to.
    pub fn forks(&self) -> impl Iterator<Item = ForkId> + '_ {
        self.forks.iter()
    }

    /// Writes to `tap` from now on.
    ///
    /// # Errors
    /// Gives the tap back.
    pub(crate) fn start_fork(
        &mut self,
        id: ForkId,
        tap: Box<ForkTap>,
    ) -> Result<(), (StartForkError, Box<ForkTap>)> {
        if self.forks().any(|own| own == id) {
            return Err((StartForkError::Exists, tap));
        }
        if !tap.takes(self.rate) {
            return Err((StartForkError::WrongRate, tap));
        }
        match self.forks.taps.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some((id, tap)),
            None => return Err((StartForkError::Full, tap)),
        }
        self.forks.count += 1;
        Ok(())
    }

    /// Writes to the fork of this name no more, and gives its tap back.
    pub(crate) fn stop_fork(&mut self, id: ForkId) -> Option<Box<ForkTap>> {
        let is_it = |place: &&mut Option<(ForkId, Box<ForkTap>)>| {
            place.as_ref().is_some_and(|(own, _)| *own == id)
        };
        let place = self.forks.taps.iter_mut().find(is_it)?;
        let (_, tap) = place.take()?;
        self.forks.count -= 1;
        Some(tap)
    }

    /// Suspends the forks that may be, or lets them go on.
    pub(crate) fn suspend_forks(&mut self, is_suspended: bool) {
        for (_, tap) in self.forks.taps.iter_mut().flatten() {
            tap.set_suspended(is_suspended);
        }
    }

    /// How many of its forks are suspended.
    pub(crate) fn suspended_forks(&self) -> usize {
        if self.forks.is_empty() {
            return 0;
        }
        let taps = self.forks.taps.iter().flatten();
        taps.filter(|(_, tap)| tap.is_suspended()).count()
    }

    /// Notes for the forks what was said in this tick, once `said` has it.
    pub(super) fn note_said(&mut self, heard: Heard) {
        if self.forks.is_empty() {
            return;
        }
        self.forks.said = Some(Said {
            content: match heard {
                Heard::Nothing => Content::Silence,
                Heard::Noise => Content::Noise,
                Heard::Sound => Content::Sound,
                Heard::Concealed => Content::Concealed,
            },
            speech: self.ears.as_ref().and_then(|ears| ears.is_speech()),
            media_time: self.inbound.playout.media_time(),
        });
    }

    /// A tick is over in which the leg heard `heard`, or what another one's packets brought, which nobody
    /// here has decoded.
    pub(super) fn write_forks(&mut self, at: Instant, heard: Option<&Frame>) {
        if self.forks.is_empty() {
            return;
        }
        let said = self.forks.said.take();
        for (_, tap) in self.forks.taps.iter_mut().flatten() {
            let (own, all) = (tap.sound().wants_said(), tap.sound().wants_heard());
            // A packet that was passed on lasts until the next one is decoded: what is not there yet begins
            // then.
            if !tap.is_suspended() && (own && said.is_none() || all && heard.is_none()) {
                continue;
            }
            let sound = own.then_some(&self.said);
            let what = match own {
                true => said.unwrap_or_default(),
                // Of what others say only that is known.
                false => Said {
                    content: heard.map_or(Content::Silence, content_of),
                    ..Said::default()
                },
            };
            tap.push(at, what, sound, heard.filter(|_| all));
        }
    }
}

fn content_of(heard: &Frame) -> Content {
    match heard.is_silent() {
        true => Content::Silence,
        false => Content::Sound,
    }
}
