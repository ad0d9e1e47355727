//! Deterministic simulator: virtual clock, virtual network, scripted peers, whole engines.
//!
//! A simulation is one thread, one seed and no clock: an hour of calls takes seconds, and the same
//! seed gives the same bytes on every run. Engines run in it as they run on real sockets; their
//! handles are the ones that integrators use, so a call flow is tested unchanged.
//!
//! ```
//! use std::time::Duration;
//!
//! use sidetone::call::collect::Collect;
//! use sidetone::engine::config::Config;
//! use sidetone::engine::event::CallError;
//! use sidetone::face::call::Call;
//! use sidetone::face::prompt::Prompt;
//! use sidetone_sim::network::link::{Link, Loss};
//! use sidetone_sim::peer::sip::SipPeer;
//! use sidetone_sim::peer::sound::Sound;
//! use sidetone_sim::sim::Sim;
//!
//! async fn flow(call: Call, greeting: Prompt) -> Result<(), CallError> {
//!     call.answer().await?;
//!     let choice = call.prompt_and_collect(&greeting, Collect::digits(1)).await?;
//!     assert_eq!(choice.digits, "2");
//!     call.hang_up().await
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sim = Sim::seeded(1);
//! let mobile = Link::delay(Duration::from_millis(60)).loss(Loss::bursty(0.02, 3.0));
//! sim.network().set_default_link(mobile);
//!
//! let engine = sim.engine("ivr", Config::default())?;
//! let speech = Sound::speech(7, Duration::from_secs(5));
//! let greeting = Prompt::from_wav(&speech.to_wav())?;
//! sim.spawn(async move { engine.serve(move |call| flow(call, greeting.clone())).await });
//!
//! let alice = SipPeer::open(&sim, "alice")?;
//! sim.block_on(async {
//!     let call = alice.call("sip:100@ivr").await?;
//!     let heard = call.media().hear_for(Duration::from_secs(2)).await;
//!     assert!(heard.level() > -35.0);
//!     call.media().press("2").await;
//!     call.ended().await;
//!     Ok::<(), sidetone_sim::peer::sip::call::CallError>(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! A failing test prints its seed; where it was made with [`Sim::seeded`](sim::Sim::seeded), the
//! environment variable `SIDETONE_SEED` repeats it or tries another.
//!
//! What must not be in a call flow, because the simulator could not repeat it: threads, real time
//! (use [`Engine::sleep`](sidetone::face::engine::Engine::sleep)), iteration over hash maps, and
//! `tokio::select!` without `biased`, which picks its branches at random.
#![forbid(unsafe_code)]

pub mod capture;
pub mod disk;
pub mod engine;
pub mod executor;
pub mod fuzz;
pub mod network;
pub mod node;
pub mod peer;
pub mod replay;
pub mod seed;
pub mod sim;
pub mod trace;

/// The programs of the guide, compiled with the documentation's tests, and its test run.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide.md")]
pub struct Guide;
