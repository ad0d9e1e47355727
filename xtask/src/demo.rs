//! `cargo xtask demo`: the whole of the engine's main job, with peers that we did not write.

mod listen;
mod phone;
mod show;

use std::io;
use std::time::Duration;

use crate::audio::speech::{Voice, say};
use crate::peer::capture::Capture;
use crate::peer::engine::{self, Engine};
use crate::peer::place::Place;
use crate::setup;
use crate::shell;

use listen::{Evidence, Side};
use phone::Phone;
use show::Show;

/// How long the caller and the agent talk.
const TALK: Duration = Duration::from_secs(8);
/// How long the caller listens to the greeting before the key is pressed.
const GREETING: Duration = Duration::from_millis(2500);
/// How long the agent's phone rings, which is how long the caller hears music.
const RINGING: Duration = Duration::from_secs(4);
/// Longer than any call here: baresip hangs up when it has said everything.
const SPEECH_SECONDS: f64 = 300.0;

/// Runs the demonstration; false when one side did not hear the other.
pub(crate) fn run(options: &[&str]) -> io::Result<bool> {
    let stay = match options {
        [] => false,
        ["--stay"] => true,
        _ => return Err(io::Error::other("usage: cargo xtask demo [--stay]")),
    };
    let mut show = Show::new();
    show.line("looking for softphones, and installing what is missing and can be installed");
    for missing in setup::packages()? {
        show.line(&format!("missing: {missing}"));
    }
    show.line("building the programs of this workspace: minutes for the first time");
    engine::build()?;
    let place = Place::new("demo")?;
    let real = shell::find("baresip").is_some();
    if !real {
        show.line("no baresip here: the project's own client takes the place of both softphones");
    }
    let (said, answered) = voices();
    let mut agent = Phone::agent(&place, &answered, real)?;
    let mut caller = Phone::caller(&place, &said, real)?;
    let mut desk = Engine::agent_bridge(&place, &[agent.uri()])?;
    show.line(&format!("agent-bridge runs at {}", desk.uri()));
    show.line(&format!("its agent is {} at {}", agent.name(), agent.uri()));
    let evidence = call(&mut show, &place, &mut desk, [&mut caller, &mut agent])?;
    let good = evidence.judge(&show, [&said, &answered])?;
    if stay {
        keep(&mut show, &mut desk, &mut agent)?;
    }
    desk.stop()?;
    Ok(good)
}

/// What the caller and the agent say.
fn voices() -> (Vec<i16>, Vec<i16>) {
    (
        say(Voice::Caller, SPEECH_SECONDS),
        say(Voice::Agent, SPEECH_SECONDS),
    )
}

/// One call through the desk, and what it leaves behind.
fn call(
    show: &mut Show,
    place: &Place,
    desk: &mut Engine,
    [caller, agent]: [&mut Phone<'_>; 2],
) -> io::Result<Evidence> {
    let capture = if Capture::possible() {
        Some(Capture::start(place, "lo")?)
    } else {
        None
    };
    show.line(&format!("{} dials {} over UDP", caller.name(), desk.uri()));
    caller.dial(&desk.uri())?;
    show.follow(desk, "greeting")?;
    show.pass(desk, GREETING);
    caller.press('2')?;
    show.line("the caller has heard the greeting and presses 2");
    show.follow(desk, "music on hold")?;
    show.line("the agent's phone rings, the caller hears music");
    show.pass(desk, RINGING);
    agent.accept()?;
    show.line("the agent picks up");
    show.follow(desk, "bridged")?;
    show.line("the caller and the agent talk");
    show.pass(desk, TALK);
    show.line("the caller hangs up");
    caller.hang_up()?;
    show.follow(desk, "recorded")?;
    caller.expect_over()?;
    agent.expect_over()?;
    Ok(Evidence {
        caller: Side::of(caller)?,
        agent: Side::of(agent)?,
        recording: desk.recording()?,
        capture: capture.map(Capture::stop).transpose()?,
    })
}

/// Serves whoever calls, until Ctrl-C.
fn keep(show: &mut Show, desk: &mut Engine, agent: &mut Phone<'_>) -> io::Result<()> {
    show.line(&format!(
        "dial {} with your own softphone on this machine, and press 2",
        desk.uri()
    ));
    show.line("further recordings appear beside the one above; Ctrl-C ends it");
    let mut served = desk.log().matches("music on hold").count();
    while desk.runs() {
        show.pass(desk, Duration::from_millis(200));
        let waiting = desk.log().matches("music on hold").count();
        if waiting > served {
            served = waiting;
            show.pass(desk, RINGING);
            // Ctrl-C ends the agent's phone as well, while the desk may still have callers.
            if agent.accept().is_err() {
                show.line("the agent's phone is gone");
                while desk.runs() {
                    show.pass(desk, Duration::from_millis(200));
                }
            }
        }
    }
    Ok(())
}
