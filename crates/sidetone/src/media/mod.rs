//! Media: frames, codecs, jitter buffers, mixing, players, recorders, and the worker that runs them.

pub mod codec;
pub mod command;
pub mod conceal;
pub mod detect;
pub mod dtmf;
pub mod fork;
pub mod frame;
pub mod jitter;
pub mod leg;
pub mod level;
pub mod mixer;
mod noise;
mod pitch;
pub mod player;
pub mod quality;
pub mod recorder;
pub mod resample;
pub mod speech;
pub mod stereo;
pub mod stretch;
pub mod tone;
pub mod wav;
pub mod worker;

#[cfg(test)]
pub(crate) mod tests;
