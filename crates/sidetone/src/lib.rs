//! Sidetone is a real-time media and telephony engine to be built into other programs: SIP
//! signalling, RTP media, mixing, call recording, and the primitives that an IVR and an agent bridge
//! need.
//!
//! An [`Engine`](face::engine::Engine) takes calls and places them. Each call is a
//! [`Call`](face::call::Call), which an asynchronous function drives from top to bottom; when the
//! party hangs up, whatever the function waits for fails, and `?` ends it. Two engines in one
//! process, the second calling the first:
//!
//! ```
//! use sidetone::engine::config::Config;
//! use sidetone::engine::event::{CallError, CallEvent};
//! use sidetone::face::{call::Call, engine::Engine, prompt::Prompt};
//! use sidetone::media::tone::Tone;
//!
//! async fn flow(caller: Call) -> Result<(), CallError> {
//!     caller.answer().await?;
//!     caller.play(&Prompt::tone(Tone::beep())).await?;
//!     caller.hang_up().await
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let desk = Engine::start(Config::default().sip_port(0)).await?;
//!     let phone = Engine::start(Config::default().sip_port(0)).await?;
//!     let uri = format!("sip:desk@{}", desk.listening()[0]);
//!     tokio::spawn(async move { desk.serve(flow).await });
//!
//!     let call = phone.dial(&uri).await?;
//!     while let Some(event) = call.next_event().await {
//!         if matches!(event, CallEvent::MediaStarted) {
//!             break; // the beep arrives
//!         }
//!     }
//!     let end = call.ended().await?;
//!     println!("{} after {:?}", end.reason, end.talk_time());
//!     Ok(())
//! }
//! ```
//!
//! `docs/guide.md` in the repository goes through a whole IVR and its test in virtual time;
//! `docs/architecture.md` says how the engine is built.
//!
//! # Where to look
//!
//! | for | see |
//! |---|---|
//! | starting an engine, taking callers, dialling | [`face::engine::Engine`], [`engine::config::Config`] |
//! | all that can be done with a call | [`face::call::Call`] |
//! | prompts and tones | [`face::prompt::Prompt`], [`media::tone::Tone`], [`face::play::Play`] |
//! | collecting digits | [`call::collect::Collect`] |
//! | connecting two, conferences, whispering | [`face::bridge::Bridge`], [`face::room::Room`], [`media::mixer::Gain`] |
//! | carrying calls through to others (B2BUA) | [`b2bua::plan::Plan`], [`face::passage::Passage`] |
//! | recording | [`face::recording::Recording`] |
//! | what happened to a call, and why it ended | [`CallEvent`](engine::event::CallEvent), [`CallEnd`](engine::event::CallEnd), [`CallError`](engine::event::CallError) |
//! | counters of a call | [`media::leg::LegReport`] |
//! | SIP messages alone: reading and building them | [`sip::message::Message`], [`sip::message`] |
//! | a driver of your own in place of [`net`] | [`engine::core::Core`], [`face::engine::Engine::attach`] |
//! | testing a call flow in virtual time | the crate `sidetone-sim` |
//!
//! # How it is built
//!
//! Every protocol machine is sans-IO: bytes and `now` go in, outputs are polled. Only [`net`] knows
//! sockets, threads and clocks. The handles in [`face`] need no particular executor; the real driver
//! runs call flows on the tokio runtime that the engine is started on.
//!
//! # Features
//!
//! | feature | brings |
//! |---|---|
//! | `net` (default) | `Engine::start` and [`net`]: sockets, threads, the clock |
//! | `fuzz` | entry points of the fuzz targets |
//!
//! Unoptimised, the media code is slow: a program should have
//! `[profile.dev.package.sidetone] opt-level = 1` in its `Cargo.toml`.
#![forbid(unsafe_code)]

pub mod b2bua;
pub mod call;
pub mod engine;
pub mod face;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod id;
pub mod media;
#[cfg(feature = "net")]
pub mod net;
pub mod rng;
pub mod rtp;
pub mod sdp;
pub mod sip;
pub mod srtp;
pub mod time;

/// The program of the README, compiled with the documentation's tests.
#[cfg(all(doctest, feature = "net"))]
#[doc = include_str!("../../../README.md")]
pub struct Documents;
