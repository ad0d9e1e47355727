//! Recording sessions (RFC 7866): calls with a media stream for each party that is recorded, and none
//! of their own.
//!
//! Such a call is one like any other to signalling: it is offered, answered, changed and ended by the
//! same events. Its media are legs of its own, one a stream, which are in no room and play nothing;
//! [`Core::apply_streams`] makes them, changes them and lets them go by what offer and answer agree on.

pub(super) mod client;
mod server;

use crate::call::cause::{Cause, EndReason};
use crate::engine::agreement;
use crate::engine::core::call::Stage;
use crate::engine::core::{Core, next};
use crate::engine::event::CallError;
use crate::engine::io::MediaPort;
use crate::id::{CallId, LegId, RecordingId};
use crate::media::command::Command;
use crate::media::frame::SampleRate;
use crate::media::leg::update::LegUpdate;
use crate::media::leg::{Leg, LegReport};
use crate::media::recorder::track::Track;
use crate::sdp::attribute::Direction;
use crate::sdp::negotiate::error::NegotiationError;
use crate::sdp::negotiate::security::{LocalSecurity, MediaSecurity};
use crate::sdp::negotiate::streams::Streams;
use crate::sdp::negotiate::{Agreed, LocalMedia};
use crate::sip::siprec::metadata::Metadata;
use crate::time::Instant;

use client::Party;

/// The tracks that the streams of a recording session are written to, in the order of their media lines. A
/// recording session has no more streams; further ones are refused, and their media lines stay empty.
const TRACKS: [Track; 5] = [
    Track::Caller,
    Track::Agent,
    Track::Agent2,
    Track::Agent3,
    Track::Agent4,
];

/// What a call knows that is a recording session.
#[derive(Debug)]
pub(super) struct RecordingSession {
    sdp: Streams,
    /// By media line.
    streams: Vec<Option<Stream>>,
    /// Legs on their way out, with the ports that they give back.
    leaving: Vec<(LegId, MediaPort)>,
    /// What is known of who is recorded.
    metadata: Metadata,
    /// Whether all of it was asked for: by us, and it has not come yet; or by the server, and it has not
    /// been sent yet.
    asked: bool,
    /// For a session of ours at a server: what it is for.
    pub(super) remote: Option<RecordingId>,
    /// How its streams are protected, and with which codecs; as configured where nothing is said.
    policy: Option<MediaSecurity>,
    codecs: Option<Vec<String>>,
    /// The last label that was given to a stream of ours.
    labels: u32,
    /// Whether the server was told that nothing is sent.
    told_paused: bool,
    /// Whether signalling is hidden by TLS, so that keys may be told.
    hidden: bool,
    report: Option<LegReport>,
}

/// One media stream of a recording session.
#[derive(Debug)]
struct Stream {
    label: String,
    port: MediaPort,
    security: LocalSecurity,
    agreed: Option<Agreed>,
    leg: Option<LegId>,
    rate: SampleRate,
    track: Track,
    /// Whose voice it carries, in a session of ours.
    party: Option<Party>,
    /// Who speaks on it, as the timeline was told.
    speaker: Option<String>,
    /// Whether the peer has paused it.
    paused: bool,
    /// Whether nothing has come for too long.
    silent: bool,
}

impl RecordingSession {
    fn new(sdp: Streams, hidden: bool) -> Self {
        Self {
            sdp,
            streams: Vec::new(),
            leaving: Vec::new(),
            metadata: Metadata::default(),
            asked: false,
            remote: None,
            policy: None,
            codecs: None,
            labels: 0,
            told_paused: false,
            hidden,
            report: None,
        }
    }

    /// Gives up the exchange of descriptions that is open.
    pub(super) fn withdraw(&mut self) -> Result<(), NegotiationError> {
        self.sdp.withdraw()
    }

    fn all(&self) -> impl Iterator<Item = &Stream> {
        self.streams.iter().flatten()
    }

    fn stream_of(&mut self, leg: LegId) -> Option<&mut Stream> {
        let mut streams = self.streams.iter_mut().flatten();
        streams.find(|stream| stream.leg == Some(leg))
    }

    /// A track that no stream is written to.
    fn free_track(&self) -> Option<Track> {
        let is_free = |track: &Track| self.all().all(|stream| stream.track != *track);
        TRACKS.into_iter().find(is_free)
    }

    /// Takes a stream out of its line: its leg leaves, or its port is free at once.
    fn take_out(&mut self, line: usize) -> TakenOut {
        let stream = self.streams.get_mut(line).and_then(Option::take);
        let Some(stream) = stream else {
            return TakenOut::Nothing;
        };
        match stream.leg {
            Some(leg) => {
                self.leaving.push((leg, stream.port));
                TakenOut::Leg(leg)
            }
            None => TakenOut::Port(stream.port),
        }
    }
}

impl Stream {
    fn new(label: String, port: MediaPort, security: LocalSecurity, track: Track) -> Self {
        Self {
            label,
            port,
            security,
            agreed: None,
            leg: None,
            rate: SampleRate::HZ_8000,
            track,
            party: None,
            speaker: None,
            paused: false,
            silent: false,
        }
    }
}

/// What is left of a stream that was taken out.
enum TakenOut {
    Nothing,
    Leg(LegId),
    Port(MediaPort),
}

impl Core {
    pub(super) fn is_recording_session(&self, id: CallId) -> bool {
        self.recorded_session(id).is_some()
    }

    fn recorded_session(&self, id: CallId) -> Option<&RecordingSession> {
        self.calls.get(&id)?.siprec.as_deref()
    }

    fn recorded_session_mut(&mut self, id: CallId) -> Option<&mut RecordingSession> {
        self.calls.get_mut(&id)?.siprec.as_deref_mut()
    }

    /// What this side can and wants to do with each stream, by media line.
    fn stream_media(&self, session: &RecordingSession) -> Vec<Option<(LocalMedia, String)>> {
        let remote = session.remote.map(|remote| self.remotes.get(&remote));
        let direction = match remote {
            None => Direction::ReceiveOnly,
            Some(Some(remote)) if !remote.paused => Direction::SendOnly,
            Some(_) => Direction::Inactive,
        };
        let codecs = session.codecs.as_deref();
        let media = |stream: &Stream| {
            let local = self.local_media(stream.port, false, &stream.security, codecs);
            (LocalMedia { direction, ..local }, stream.label.clone())
        };
        let streams = session.streams.iter().map(Option::as_ref);
        streams.map(|stream| stream.map(media)).collect()
    }

    /// Offers the streams as they shall be.
    fn offer_session(&self, session: &mut RecordingSession) -> Result<String, CallError> {
        let locals = self.stream_media(session);
        let offered = session.sdp.offer(self.config.media_address(), &locals);
        offered.map_err(|_| CallError::WrongState("another change is under way"))
    }

    /// Puts to work what offer and answer have agreed on for each stream.
    pub(super) fn apply_streams(&mut self, now: Instant, id: CallId) {
        let lines = self.recorded_session(id).map_or(0, |it| it.streams.len());
        for line in 0..lines {
            if self.apply_stream(now, id, line).is_none() {
                self.end_for(now, id, EndReason::Incompatible, Cause::incompatible());
                return;
            }
        }
        match self.recorded_session(id).and_then(|it| it.remote) {
            Some(remote) => self.carry_voices(remote, id),
            None => self.attend_session(id),
        }
    }

    /// `None` where a stream cannot be had after all, which offer and answer rule out.
    fn apply_stream(&mut self, now: Instant, id: CallId, line: usize) -> Option<()> {
        let call = self.calls.get_mut(&id)?;
        let expects_media = matches!(call.stage, Stage::Confirming | Stage::Up);
        let hint = call.hint;
        let session = call.siprec.as_deref_mut()?;
        let Some(stream) = session.streams.get_mut(line)?.as_mut() else {
            return Some(());
        };
        let Some(agreed) = stream.agreed.as_ref() else {
            let out = session.take_out(line);
            self.clear_out(out);
            return Some(());
        };
        let mut settings = agreement::settings(&self.config, agreed)?;
        if !expects_media || !settings.direction.receive {
            settings.media_timeout = None;
        }
        stream.silent = false;
        if let Some(leg) = stream.leg {
            settings.work_at(stream.rate);
            let jitter = agreement::jitter(&self.config);
            let update = LegUpdate::new(&settings, stream.rate, jitter).ok()?;
            let update = Box::new(update);
            self.placement
                .tell_leg(leg, Command::ConfigureLeg { leg, update });
            return Some(());
        }
        let leg = LegId(next(&mut self.minted.legs));
        stream.rate = settings.rate();
        settings.work_at(stream.rate);
        let (port, rate) = (stream.port, stream.rate);
        let made = agreement::config(&self.config, leg, port, settings, rate, hint, self.anchor);
        let made = Leg::new(now, made, self.rng.fork()).ok()?;
        stream.leg = Some(leg);
        self.legs.insert(leg, id);
        self.placement.add_leg(made);
        Some(())
    }

    /// Lets the leg of a stream go that was taken out, or takes its port back.
    fn clear_out(&mut self, out: TakenOut) {
        match out {
            TakenOut::Nothing => {}
            TakenOut::Leg(leg) => self.placement.remove_leg(leg),
            TakenOut::Port(port) => self.give_port_back(port),
        }
    }

    /// Lets all streams go, since the session is over; true where there is none to wait for.
    pub(super) fn remove_streams(&mut self, id: CallId) -> bool {
        let lines = self.recorded_session(id).map_or(0, |it| it.streams.len());
        for line in 0..lines {
            let out = self.recorded_session_mut(id).map(|it| it.take_out(line));
            self.clear_out(out.unwrap_or(TakenOut::Nothing));
        }
        self.recorded_session(id)
            .is_none_or(|it| it.leaving.is_empty())
    }

    /// A leg of a recording session has left media; gives the leg back where it is no such leg's.
    pub(super) fn retire_stream(&mut self, id: CallId, leg: Box<Leg>) -> Option<Box<Leg>> {
        let Some(session) = self.recorded_session_mut(id) else {
            return Some(leg);
        };
        let place = session.leaving.iter().position(|(it, _)| *it == leg.id());
        let port = match place {
            Some(place) => Some(session.leaving.swap_remove(place).1),
            // A worker had no room for it: the stream goes with its call.
            None => session.stream_of(leg.id()).map(|stream| {
                stream.leg = None;
                stream.agreed = None;
                stream.port
            }),
        };
        session.report.get_or_insert_with(|| leg.report());
        let is_empty = session.leaving.is_empty();
        if let Some(port) = port.filter(|_| place.is_some()) {
            self.give_port_back(port);
        }
        let is_over = self.calls.get(&id).is_some_and(|it| it.ending.is_some());
        if is_over && is_empty {
            let report = self
                .recorded_session_mut(id)
                .and_then(|it| it.report.take());
            self.finish(id, report);
        }
        None
    }

    /// Nothing has come on a stream for too long. The session ends where that is so of all that should bring
    /// something: its client is gone.
    pub(super) fn handle_silent_stream(&mut self, now: Instant, id: CallId, leg: LegId) {
        let Some(session) = self.recorded_session_mut(id) else {
            return;
        };
        if let Some(stream) = session.stream_of(leg) {
            stream.silent = true;
        }
        let awaited = |stream: &&Stream| {
            let agreed = stream.agreed.as_ref();
            agreed.is_some_and(|agreed| agreed.direction.receives())
        };
        if session.all().filter(awaited).all(|stream| stream.silent) {
            self.counters.media_timeouts += 1;
            self.end_for(now, id, EndReason::MediaTimeout, Cause::media_timeout());
        }
    }

    /// Something comes on a stream again.
    pub(super) fn handle_sounding_stream(&mut self, id: CallId, leg: LegId) {
        let session = self.recorded_session_mut(id);
        if let Some(stream) = session.and_then(|session| session.stream_of(leg)) {
            stream.silent = false;
        }
    }
}
