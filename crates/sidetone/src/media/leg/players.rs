//! The prompts and tones that sound at one place: in the ear of a leg, or in a room.

use crate::id::PlayId;
use crate::media::frame::Frame;
use crate::media::leg::side::Side;
use crate::media::player::{PlayState, Player};

/// Players that may sound at one place at once.
pub const MAX_PLAYERS: usize = 4;

/// A player that ended.
#[derive(Debug)]
pub struct Ended {
    /// The play.
    pub play: PlayId,
    /// Whether it was told to stop, rather than having come to its end.
    pub stopped: bool,
    /// The player.
    pub player: Box<Player>,
}

#[derive(Debug)]
struct Playing {
    play: PlayId,
    player: Box<Player>,
    stopped: bool,
}

/// Up to [`MAX_PLAYERS`] players, summed.
#[derive(Debug, Default)]
pub struct Players {
    playing: [Option<Playing>; MAX_PLAYERS],
}

impl Players {
    /// Whether nothing plays.
    pub fn is_empty(&self) -> bool {
        self.playing.iter().all(Option::is_none)
    }

    /// Whether [`MAX_PLAYERS`] play.
    pub fn is_full(&self) -> bool {
        self.playing.iter().all(Option::is_some)
    }

    /// Starts a player.
    ///
    /// # Errors
    /// Gives the player back where [`MAX_PLAYERS`] play already.
    pub fn add(&mut self, play: PlayId, player: Box<Player>) -> Result<(), Box<Player>> {
        let Some(free) = self.playing.iter_mut().find(|p| p.is_none()) else {
            return Err(player);
        };
        *free = Some(Playing {
            play,
            player,
            stopped: false,
        });
        Ok(())
    }

    /// The player of `play`, to change.
    pub fn player_mut(&mut self, play: PlayId) -> Option<&mut Player> {
        let mut playing = self.playing.iter_mut().flatten();
        let found = playing.find(|p| p.play == play)?;
        Some(&mut found.player)
    }

    /// Ends `play` with a short fade; it is reported as stopped. False where it does not play.
    pub fn stop(&mut self, play: PlayId) -> bool {
        let mut playing = self.playing.iter_mut().flatten();
        let Some(found) = playing.find(|p| p.play == play) else {
            return false;
        };
        found.player.stop();
        found.stopped = true;
        true
    }

    /// The plays, in no particular but a repeatable order.
    pub fn plays(&self) -> impl Iterator<Item = PlayId> {
        self.playing.iter().flatten().map(|p| p.play)
    }

    /// The plays with their players, in the same order.
    pub fn iter(&self) -> impl Iterator<Item = (PlayId, &Player)> {
        self.playing.iter().flatten().map(|p| (p.play, &*p.player))
    }

    /// Whether nothing sounds: nothing plays, or only speech that nobody has written anything of.
    pub(crate) fn is_idle(&self) -> bool {
        self.playing.iter().flatten().all(|p| p.player.is_idle())
    }

    /// Before a tick: all that was given so far `is_sent`, and what comes next reaches somebody or not.
    pub(crate) fn settle(&mut self, is_sent: bool, is_heard: bool) {
        for playing in self.playing.iter_mut().flatten() {
            if let Some(speech) = playing.player.speech_mut() {
                if is_sent {
                    speech.settle();
                }
                speech.set_heard(is_heard);
            }
        }
    }

    /// A play of speech that has something to report to its writer, told once where `tell` takes it.
    pub(crate) fn tell_news(&mut self, mut tell: impl FnMut(PlayId) -> bool) {
        for playing in self.playing.iter_mut().flatten() {
            if let Some(speech) = playing.player.speech_mut()
                && speech.has_news()
                && tell(playing.play)
            {
                speech.forget_news();
            }
        }
    }

    /// Adds the next 20 ms of all players to `frame`, which has the players' rate, and says whether
    /// any sounded. `scratch` is overwritten.
    pub fn add_to(&mut self, frame: &mut Frame, scratch: &mut Frame) -> bool {
        let mut sounded = false;
        for playing in self.playing.iter_mut().flatten() {
            if playing.player.fill(scratch) != PlayState::Paused {
                sounded = true;
                add(frame, scratch);
            }
        }
        sounded
    }

    /// The same, and what they have of left and right goes into `side`.
    pub(super) fn add_stereo_to(
        &mut self,
        frame: &mut Frame,
        side: &mut Side,
        scratch: &mut Frame,
    ) -> bool {
        let mut sounded = false;
        side.sum.reset(frame.rate());
        for playing in self.playing.iter_mut().flatten() {
            let state = playing.player.fill_stereo(scratch, &mut side.scratch);
            if state != PlayState::Paused {
                sounded = true;
                add(frame, scratch);
                add(&mut side.sum, &side.scratch);
            }
        }
        sounded
    }

    /// Takes out a player that has come to its end, if there is one.
    pub fn take_ended(&mut self) -> Option<Ended> {
        let is_over = |p: &Option<Playing>| p.as_ref().is_some_and(|p| p.player.is_finished());
        let place = self.playing.iter().position(is_over)?;
        self.take(place)
    }

    /// Takes out any player, if there is one.
    pub fn take_any(&mut self) -> Option<Ended> {
        let place = self.playing.iter().position(Option::is_some)?;
        self.take(place)
    }

    fn take(&mut self, place: usize) -> Option<Ended> {
        let taken = self.playing.get_mut(place)?.take()?;
        Some(Ended {
            play: taken.play,
            stopped: taken.stopped,
            player: taken.player,
        })
    }
}

fn add(sum: &mut Frame, more: &Frame) {
    for (sum, &sample) in sum.samples_mut().iter_mut().zip(more.samples()) {
        *sum = sum.saturating_add(sample);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::frame::SampleRate;
    use crate::media::player::Repeat;
    use crate::media::wav::Clip;

    const RATE: SampleRate = SampleRate::HZ_8000;

    fn player(level: i16, samples: usize) -> Box<Player> {
        let clip = Clip::from_samples(RATE, vec![level; samples]);
        Box::new(Player::clip(clip, RATE, Repeat::Once).unwrap())
    }

    #[test]
    fn players_are_summed_and_end_one_by_one() {
        let mut players = Players::default();
        players.add(PlayId(1), player(100, 160)).unwrap();
        players.add(PlayId(2), player(20, 320)).unwrap();
        let (mut frame, mut scratch) = (Frame::silence(RATE), Frame::silence(RATE));
        assert!(players.add_to(&mut frame, &mut scratch));
        assert_eq!(frame.samples()[80], 120);
        let ended = players.take_ended().unwrap();
        assert_eq!((ended.play, ended.stopped), (PlayId(1), false));
        assert!(players.take_ended().is_none());
        assert!(!players.is_empty());
    }

    #[test]
    fn a_fifth_player_is_given_back_and_a_stopped_one_says_so() {
        let mut players = Players::default();
        for i in 0..4 {
            players.add(PlayId(i), player(1, 16_000)).unwrap();
        }
        assert!(players.is_full());
        assert!(players.add(PlayId(9), player(1, 1)).is_err());
        assert!(players.stop(PlayId(2)));
        assert!(!players.stop(PlayId(9)));
        let (mut frame, mut scratch) = (Frame::silence(RATE), Frame::silence(RATE));
        players.add_to(&mut frame, &mut scratch);
        let ended = players.take_ended().unwrap();
        assert_eq!((ended.play, ended.stopped), (PlayId(2), true));
    }

    #[test]
    fn the_sum_saturates() {
        let mut players = Players::default();
        for i in 0..3 {
            players.add(PlayId(i), player(20_000, 160)).unwrap();
        }
        let (mut frame, mut scratch) = (Frame::silence(RATE), Frame::silence(RATE));
        players.add_to(&mut frame, &mut scratch);
        assert_eq!(frame.samples()[80], i16::MAX);
    }
}
