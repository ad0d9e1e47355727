//! The worker in virtual time, with scripted peers around it.

mod attack;
mod bridge;
mod capacity;
mod chaos;
mod compose;
mod digits;
mod forks;
mod lab;
mod lane;
mod play;
mod quality;
mod record;
mod relay;
mod sharing;
mod stereo;
mod stream;
mod threats;
