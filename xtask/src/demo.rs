//! `cargo xtask demo`: the whole of the engine's main job, with peers that we did not write.

mod listen;
mod show;

use std::io;
use std::thread;
use std::time::Duration;

use crate::audio::speech;
use crate::peer::baresip::Baresip;
use crate::peer::capture::Capture;
use crate::peer::engine::{self, Engine};
use crate::peer::place::Place;
use crate::setup;
use crate::shell;

use listen::{Evidence, Side};
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
    show.line("setting up: packages, and the programs of this workspace");
    for missing in setup::packages()? {
        show.line(&format!("missing: {missing}"));
    }
    engine::build()?;
    let place = Place::new("demo")?;
    if shell::find("baresip").is_none() {
        show.line("no baresip here: the project's own client takes the place of both softphones");
    }
    let (said, answered) = voices();
    let mut agent = Baresip::spawn(&place, "agent", &answered, false)?;
    let mut desk = Engine::agent_bridge(&place, &[agent.uri()])?;
    show.line(&format!(
        "agent-bridge runs at {}, its agent is baresip at {}",
        desk.uri(),
        agent.uri()
    ));
    let good = call(&mut show, &place, &mut desk, &mut agent, (&said, &answered))?;
    if stay {
        keep(&mut show, &mut desk, &mut agent)?;
    }
    desk.stop()?;
    Ok(good)
}

/// What the caller and the agent say.
fn voices() -> (Vec<i16>, Vec<i16>) {
    (
        speech::say(&speech::CALLER, SPEECH_SECONDS),
        speech::say(&speech::AGENT, SPEECH_SECONDS),
    )
}

/// One call through the desk, and what became of it.
fn call(
    show: &mut Show,
    place: &Place,
    desk: &mut Engine,
    agent: &mut Baresip,
    voices: (&[i16], &[i16]),
) -> io::Result<bool> {
    let capture = if Capture::possible() {
        Some(Capture::start(place)?)
    } else {
        None
    };
    let mut caller = Baresip::spawn(place, "caller", voices.0, false)?;
    show.line(&format!("baresip dials {} over UDP", desk.uri()));
    caller.dial(&desk.uri())?;
    show.follow(desk, "greeting")?;
    show.pass(desk, GREETING);
    show.line("the caller has heard the greeting and presses 2");
    caller.press('2')?;
    show.follow(desk, "music on hold")?;
    show.line("the agent's phone rings, the caller hears music");
    show.pass(desk, RINGING);
    agent.accept()?;
    show.line("the agent picks up");
    show.follow(desk, "bridged")?;
    show.line("the caller and the agent talk");
    show.pass(desk, TALK);
    caller.hang_up()?;
    show.line("the caller hangs up");
    show.follow(desk, "recorded")?;
    caller.expect_over(Duration::from_secs(10))?;
    agent.expect_over(Duration::from_secs(10))?;
    let capture = capture.map(Capture::stop).transpose()?;
    let evidence = Evidence {
        caller: Side {
            said: voices.0,
            heard: caller.heard()?,
            ports: caller.media_ports(),
        },
        agent: Side {
            said: voices.1,
            heard: agent.heard()?,
            ports: agent.media_ports(),
        },
        recording: desk.recording()?,
        capture,
    };
    evidence.judge(show)
}

/// Serves whoever calls, until Ctrl-C.
fn keep(show: &mut Show, desk: &mut Engine, agent: &mut Baresip) -> io::Result<()> {
    show.line(&format!(
        "dial {} with your own softphone on this machine and press 2",
        desk.uri()
    ));
    show.line("recordings appear beside the one above; Ctrl-C ends it");
    let mut served = desk.log().matches("music on hold").count();
    while desk.runs() {
        show.pass(desk, Duration::from_millis(200));
        let waiting = desk.log().matches("music on hold").count();
        if waiting > served {
            served = waiting;
            thread::sleep(RINGING);
            agent.accept()?;
        }
    }
    Ok(())
}
