//! Players: prompts and tones as sources of audio.

use crate::media::frame::{Frame, SampleRate};
use crate::media::mixer::Gain;
use crate::media::recorder::live::Live;
use crate::media::speech::SpeechSource;
use crate::media::tone::{Generator, Tone};
use crate::media::wav::Clip;
use crate::time::Duration;

/// How often a clip is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Repeat {
    /// Once.
    #[default]
    Once,
    /// This many times; zero plays nothing.
    Times(u32),
    /// Until it is stopped.
    Forever,
}

/// What a player put into a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlayState {
    /// Sound, and more will follow.
    Playing,
    /// Silence, because the player is paused.
    Paused,
    /// Nothing more will come; the last sound is in this frame, if any was left.
    Finished,
}

/// Why a player could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlayerError {
    /// The clip is not at the room's rate; read it at that rate.
    #[error("clip is at {clip}, the room at {room}")]
    WrongRate {
        /// The clip's rate.
        clip: SampleRate,
        /// The rate asked for.
        room: SampleRate,
    },
}

/// Plays a clip or a tone into frames, one a tick.
///
/// [`stop`](Self::stop) and [`pause`](Self::pause) fade out over 5 ms so that nothing clicks, and
/// [`resume`](Self::resume) fades in. Nothing allocates after construction, but the last owner of a
/// clip frees it: drop a finished player away from the media thread.
///
/// ```
/// use sidetone::media::frame::{Frame, SampleRate};
/// use sidetone::media::player::{PlayState, Player, Repeat};
/// use sidetone::media::wav::Clip;
///
/// let rate = SampleRate::HZ_8000;
/// let clip = Clip::from_samples(rate, vec![1000; 200]);
/// let mut player = Player::clip(clip, rate, Repeat::Once)?;
/// let mut frame = Frame::silence(rate);
/// assert_eq!(player.fill(&mut frame), PlayState::Playing);
/// assert_eq!(player.fill(&mut frame), PlayState::Finished);
/// # Ok::<(), sidetone::media::player::PlayerError>(())
/// ```
#[derive(Debug)]
pub struct Player {
    sound: Sound,
    rate: SampleRate,
    gain: Gain,
    mode: Mode,
    /// Samples of fade left: from full to silent before a stop or pause, the other way after.
    fade: usize,
    played: u64,
}

#[derive(Debug)]
enum Sound {
    Clip {
        clip: Clip,
        at: usize,
        /// Times still to begin, the current one not counted; `None` for ever.
        again: Option<u32>,
    },
    Tone(Box<Generator>),
    Live(Box<Live>),
    Speech(Box<SpeechSource>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Playing,
    FadingIn,
    Pausing,
    Paused,
    Stopping,
    Finished,
}

impl Player {
    /// A player of `clip` in a room at `rate`.
    ///
    /// # Errors
    /// [`PlayerError::WrongRate`] where the clip has another rate.
    pub fn clip(clip: Clip, rate: SampleRate, repeat: Repeat) -> Result<Self, PlayerError> {
        if clip.rate() != rate {
            let room = rate;
            let clip = clip.rate();
            return Err(PlayerError::WrongRate { clip, room });
        }
        let times = match repeat {
            Repeat::Once => Some(1),
            Repeat::Times(times) => Some(times),
            Repeat::Forever => None,
        };
        let nothing = clip.samples().is_empty() || times == Some(0);
        let again = times.map(|t| t.saturating_sub(1));
        let mut player = Self::new(Sound::Clip { clip, at: 0, again }, rate);
        if nothing {
            player.mode = Mode::Finished;
        }
        Ok(player)
    }

    /// A player of `tone` in a room at `rate`, for as long as the tone lasts.
    pub fn tone(tone: Tone, rate: SampleRate) -> Self {
        let generator = Box::new(Generator::new(&tone, rate));
        Self::new(Sound::Tone(generator), rate)
    }

    /// A player of what a party says elsewhere, until it is stopped.
    pub fn live(live: Live) -> Self {
        let rate = live.rate();
        Self::new(Sound::Live(Box::new(live)), rate)
    }

    /// A player of speech that is written while it plays, until its writer ends it or it is stopped.
    pub fn speech(source: SpeechSource) -> Self {
        let rate = source.rate();
        Self::new(Sound::Speech(Box::new(source)), rate)
    }

    fn new(sound: Sound, rate: SampleRate) -> Self {
        Self {
            sound,
            rate,
            gain: Gain::UNITY,
            mode: Mode::Playing,
            fade: 0,
            played: 0,
        }
    }

    /// Sets the volume, from the next frame on. Default unity.
    pub fn set_gain(&mut self, gain: Gain) {
        self.gain = gain;
    }

    /// Ends the sound with a short fade; the next [`fill`](Self::fill) is the last.
    pub fn stop(&mut self) {
        match self.mode {
            Mode::Paused => self.mode = Mode::Finished,
            Mode::Finished | Mode::Stopping => {}
            Mode::Playing | Mode::FadingIn | Mode::Pausing => self.fade_to(Mode::Stopping),
        }
    }

    /// Falls silent with a short fade and stays where it is.
    pub fn pause(&mut self) {
        if matches!(self.mode, Mode::Playing | Mode::FadingIn) {
            self.fade_to(Mode::Pausing);
        }
    }

    /// Goes on from where [`pause`](Self::pause) stopped.
    pub fn resume(&mut self) {
        if matches!(self.mode, Mode::Pausing | Mode::Paused) {
            self.fade_to(Mode::FadingIn);
        }
    }

    /// Goes to `position` from the start of the clip, or to its end where it is shorter. A tone
    /// begins its cadence again.
    pub fn seek(&mut self, position: Duration) {
        match &mut self.sound {
            Sound::Clip { clip, at, .. } => {
                let samples = self.rate.samples_in(position);
                *at = usize::try_from(samples)
                    .map_or(clip.samples().len(), |s| s.min(clip.samples().len()));
            }
            Sound::Tone(generator) => generator.restart(),
            Sound::Live(_) | Sound::Speech(_) => return,
        }
        if self.mode == Mode::Playing {
            self.fade_to(Mode::FadingIn);
        }
    }

    /// The rate of the frames that it fills.
    pub fn rate(&self) -> SampleRate {
        self.rate
    }

    /// Samples from the start of the clip to what is played next; for a tone, samples played.
    pub fn position(&self) -> u64 {
        match &self.sound {
            Sound::Clip { at, .. } => *at as u64,
            Sound::Tone(_) | Sound::Live(_) => self.played,
            Sound::Speech(source) => source.heard(),
        }
    }

    /// Samples played in all, repetitions counted and pauses not; of speech, those that were there to be played.
    pub fn played(&self) -> u64 {
        match &self.sound {
            Sound::Speech(source) => source.heard(),
            _ => self.played,
        }
    }

    /// What is written while it plays.
    pub(crate) fn speech_mut(&mut self) -> Option<&mut SpeechSource> {
        match &mut self.sound {
            Sound::Speech(source) => Some(source),
            _ => None,
        }
    }

    /// Whether nothing sounds until somebody writes something.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(&self.sound, Sound::Speech(source) if source.is_idle())
            && matches!(self.mode, Mode::Playing)
    }

    /// Whether nothing more will come.
    pub fn is_finished(&self) -> bool {
        self.mode == Mode::Finished
    }

    /// Makes the next 20 ms in `frame`.
    pub fn fill(&mut self, frame: &mut Frame) -> PlayState {
        self.fill_both(frame, None)
    }

    /// Makes the next 20 ms in `frame`, and in `side` what is different between left and right: silence
    /// where the sound is mono. [`stereo`](crate::media::stereo) makes both channels of it.
    pub fn fill_stereo(&mut self, frame: &mut Frame, side: &mut Frame) -> PlayState {
        self.fill_both(frame, Some(side))
    }

    fn fill_both(&mut self, frame: &mut Frame, mut side: Option<&mut Frame>) -> PlayState {
        frame.reset(self.rate);
        if let Some(side) = &mut side {
            side.reset(self.rate);
        }
        match self.mode {
            Mode::Finished => return PlayState::Finished,
            Mode::Paused => return PlayState::Paused,
            _ => {}
        }
        let wanted = match self.mode {
            Mode::Pausing | Mode::Stopping => self.fade.min(frame.samples().len()),
            _ => frame.samples().len(),
        };
        let mut side = side.map(|side| &mut side.samples_mut()[..wanted]);
        let made = self
            .sound
            .fill(&mut frame.samples_mut()[..wanted], side.as_deref_mut());
        self.played += made as u64;
        let fade = self.fade;
        self.shape(&mut frame.samples_mut()[..made]);
        if let Some(side) = side {
            self.fade = fade;
            self.shape(&mut side[..made]);
        }
        self.mode = match self.mode {
            _ if made < wanted => Mode::Finished,
            Mode::Stopping => Mode::Finished,
            Mode::Pausing => Mode::Paused,
            Mode::FadingIn if self.fade == 0 => Mode::Playing,
            other => other,
        };
        if self.mode == Mode::Finished || self.sound.is_over() {
            self.mode = Mode::Finished;
            return PlayState::Finished;
        }
        PlayState::Playing
    }

    fn fade_to(&mut self, mode: Mode) {
        self.mode = mode;
        self.fade = self.fade_samples();
    }

    fn fade_samples(&self) -> usize {
        self.rate.hz() as usize / 200
    }

    /// Applies gain and fade.
    fn shape(&mut self, samples: &mut [i16]) {
        let whole = self.fade_samples() as i32;
        for sample in samples {
            let mut value = match self.gain {
                Gain::UNITY => i32::from(*sample),
                gain => gain.apply(*sample),
            };
            value = value.clamp(i32::from(i16::MIN), i32::from(i16::MAX));
            if self.fade > 0 {
                let left = self.fade as i32;
                let level = match self.mode {
                    Mode::FadingIn => whole - left,
                    _ => left,
                };
                value = value * level / whole;
                self.fade -= 1;
            }
            *sample = value as i16;
        }
    }
}

impl Sound {
    /// Writes the next samples and returns how many there were. `side` is silent and as long.
    fn fill(&mut self, out: &mut [i16], mut side: Option<&mut [i16]>) -> usize {
        match self {
            Self::Tone(generator) => generator.fill(out),
            Self::Live(live) => {
                live.fill(out);
                out.len()
            }
            Self::Speech(source) => {
                source.fill(out);
                out.len()
            }
            Self::Clip { clip, at, again } => {
                let samples = clip.samples();
                let mut filled = 0;
                while filled < out.len() {
                    if *at >= samples.len() && !begin_again(at, again) {
                        break;
                    }
                    let n = (samples.len() - *at).min(out.len() - filled);
                    out[filled..filled + n].copy_from_slice(&samples[*at..*at + n]);
                    if let (Some(out), Some(side)) = (&mut side, clip.side()) {
                        out[filled..filled + n].copy_from_slice(&side[*at..*at + n]);
                    }
                    *at += n;
                    filled += n;
                }
                filled
            }
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Tone(generator) => generator.is_finished(),
            Self::Live(_) => false,
            Self::Speech(source) => source.is_over(),
            Self::Clip { clip, at, again } => *at >= clip.samples().len() && *again == Some(0),
        }
    }
}

fn begin_again(at: &mut usize, again: &mut Option<u32>) -> bool {
    match again {
        Some(0) => return false,
        Some(times) => *times -= 1,
        None => {}
    }
    *at = 0;
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::tone::national::{Country, Signal};

    const RATE: SampleRate = SampleRate::HZ_8000;

    fn ramp(samples: i16) -> Clip {
        Clip::from_samples(RATE, (1..=samples).collect::<Vec<i16>>())
    }

    fn player(samples: i16, repeat: Repeat) -> Player {
        Player::clip(ramp(samples), RATE, repeat).expect("right rate")
    }

    /// Fills frames until the player finishes, and returns all but the silence at the end.
    fn drain(player: &mut Player) -> Vec<i16> {
        let mut frame = Frame::silence(RATE);
        let mut all = vec![];
        loop {
            let state = player.fill(&mut frame);
            all.extend_from_slice(frame.samples());
            if state == PlayState::Finished {
                break;
            }
            assert!(all.len() < 100_000, "never ends");
        }
        let last = all.iter().rposition(|&s| s != 0).map_or(0, |at| at + 1);
        all.truncate(last);
        all
    }

    #[test]
    fn repeats_join_without_a_gap() {
        let mut player = player(250, Repeat::Times(3));
        let expected: Vec<i16> = (1..=250).chain(1..=250).chain(1..=250).collect();
        assert_eq!(drain(&mut player), expected);
        assert_eq!((player.played(), player.position()), (750, 250));
        assert!(player.is_finished());
    }

    #[test]
    fn a_clip_that_fills_its_last_frame_finishes_with_it() {
        let mut player = player(320, Repeat::Once);
        let mut frame = Frame::silence(RATE);
        assert_eq!(player.fill(&mut frame), PlayState::Playing);
        assert_eq!(player.fill(&mut frame), PlayState::Finished);
        assert_eq!(frame.samples()[159], 320);
    }

    #[test]
    fn forever_goes_on_until_stopped_and_fades() {
        let clip = Clip::from_samples(RATE, vec![8_000; 100]);
        let mut player = Player::clip(clip, RATE, Repeat::Forever).expect("right rate");
        let mut frame = Frame::silence(RATE);
        for _ in 0..1_000 {
            assert_eq!(player.fill(&mut frame), PlayState::Playing);
        }
        player.stop();
        assert_eq!(player.fill(&mut frame), PlayState::Finished);
        let samples = frame.samples();
        assert_eq!(samples[0], 8_000);
        assert!(samples.is_sorted_by(|a, b| a >= b));
        assert!(samples[39] > 0 && samples[40] == 0);
        assert_eq!(player.fill(&mut frame), PlayState::Finished);
        assert!(frame.is_silent());
    }

    #[test]
    fn left_and_right_stay_apart_through_gain_and_fade() {
        let both: Vec<i16> = (0..400).flat_map(|_| [8_000, -2_000]).collect();
        let clip = Clip::from_stereo(RATE, &both);
        let mut player = Player::clip(clip, RATE, Repeat::Forever).expect("right rate");
        player.set_gain(Gain::from_factor(0.5));
        let (mut frame, mut side) = (Frame::silence(RATE), Frame::silence(RATE));
        let heard = |frame: &Frame, side: &Frame, n: usize| {
            crate::media::stereo::join(frame.samples()[n], side.samples()[n])
        };
        for _ in 0..7 {
            player.fill_stereo(&mut frame, &mut side);
            assert_eq!(heard(&frame, &side, 159), (4_000, -1_000));
        }
        player.stop();
        player.fill_stereo(&mut frame, &mut side);
        assert_eq!(heard(&frame, &side, 0), (4_000, -1_000));
        assert_eq!(heard(&frame, &side, 20), (2_000, -500));
        assert_eq!(heard(&frame, &side, 40), (0, 0));
        let mut tone = Player::tone(Tone::beep(), RATE);
        tone.fill_stereo(&mut frame, &mut side);
        assert!(side.is_silent() && !frame.is_silent());
    }

    #[test]
    fn pause_keeps_the_place() {
        let mut player = player(2_000, Repeat::Once);
        let mut frame = Frame::silence(RATE);
        player.fill(&mut frame);
        player.pause();
        assert_eq!(player.fill(&mut frame), PlayState::Playing);
        for _ in 0..5 {
            assert_eq!(player.fill(&mut frame), PlayState::Paused);
            assert!(frame.is_silent());
        }
        // 20 ms and the 5 ms of the fade.
        assert_eq!(player.position(), 200);
        player.resume();
        assert_eq!(player.fill(&mut frame), PlayState::Playing);
        assert_eq!(frame.samples()[0], 0);
        assert_eq!(frame.samples()[159], 360);
        player.pause();
        player.fill(&mut frame);
        player.stop();
        assert_eq!(player.fill(&mut frame), PlayState::Finished);
    }

    #[test]
    fn seek_goes_anywhere_and_not_beyond() {
        let mut player = player(1_600, Repeat::Once);
        player.seek(Duration::from_millis(100));
        assert_eq!(player.position(), 800);
        player.seek(Duration::from_secs(u64::MAX));
        assert_eq!(player.position(), 1_600);
        assert_eq!(drain(&mut player), []);
    }

    #[test]
    fn gain_is_applied_and_saturates() {
        let clip = Clip::from_samples(RATE, vec![10_000, -10_000, 1_000]);
        let mut player = Player::clip(clip, RATE, Repeat::Once).expect("right rate");
        player.set_gain(Gain::from_factor(4.0));
        assert_eq!(drain(&mut player), [32_767, -32_768, 4_000]);
    }

    #[test]
    fn nothing_to_play_is_finished_at_once() {
        for mut player in [player(0, Repeat::Forever), player(9, Repeat::Times(0))] {
            assert!(player.is_finished());
            assert_eq!(drain(&mut player), []);
        }
        let wide = Player::clip(ramp(9), SampleRate::HZ_16000, Repeat::Once);
        let room = SampleRate::HZ_16000;
        let expected = PlayerError::WrongRate { clip: RATE, room };
        assert_eq!(wide.expect_err("other rate"), expected);
    }

    #[test]
    fn tones_play_their_cadence_and_end() {
        let mut beep = Player::tone(Tone::beep(), RATE);
        let samples = drain(&mut beep);
        assert!((1_590..=1_600).contains(&samples.len()));
        let mut busy = Player::tone(Country::International.tone(Signal::Busy), RATE);
        let mut frame = Frame::silence(RATE);
        for _ in 0..500 {
            assert_eq!(busy.fill(&mut frame), PlayState::Playing);
        }
        busy.stop();
        assert_eq!(busy.fill(&mut frame), PlayState::Finished);
    }
}
