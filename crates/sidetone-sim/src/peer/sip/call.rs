//! A call of a scripted user agent, as a test handles it.

use std::time::Duration;

use sidetone::sip::message::Message;

use super::dialog::Phase;
use super::ua::UserAgent;
use super::{Dial, SipPeer};
use crate::network::NetworkError;
use crate::peer::offer::{Described, Direction};
use crate::peer::rtp::RtpPeer;

/// Why a call did not come about, or a request got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The other side refused with this status.
    #[error("refused with {0}")]
    Refused(u16),
    /// Nobody answered in 32 seconds.
    #[error("no answer")]
    TimedOut,
    /// The call ended before.
    #[error("the call ended: {0:?}")]
    Ended(End),
    /// The URI's host is not on the network.
    #[error("no such host: {0}")]
    NoSuchHost(String),
    /// There was no port for the media.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// This side hung up.
    Ours,
    /// The other side hung up.
    Theirs {
        /// The value of its Reason header; empty where there was none.
        reason: String,
    },
    /// It was refused with this status, by whichever side was called.
    Refused(u16),
    /// The other side cancelled it before it was answered.
    Cancelled,
    /// Nobody answered the INVITE.
    TimedOut,
}

/// A call; clones are the same call. Dropping it ends nothing.
#[derive(Debug, Clone)]
pub struct SipCall {
    peer: SipPeer,
    index: usize,
    media: RtpPeer,
}

impl SipCall {
    pub(super) fn new(peer: SipPeer, index: usize, media: RtpPeer) -> Self {
        let call = Self { peer, index, media };
        let follower = call.clone();
        call.peer.sim.spawn(follower.follow_media());
        call
    }

    /// The RTP end of the call; it follows what offers and answers say.
    pub fn media(&self) -> &RtpPeer {
        &self.media
    }

    /// The SIP Call-ID.
    pub fn call_id(&self) -> String {
        self.peer.ua.borrow().dialog(self.index).call_id.clone()
    }

    /// The INVITE, where the call came in.
    pub fn invite(&self) -> Option<Message> {
        self.peer.ua.borrow().dialog(self.index).invite.clone()
    }

    /// The responses to this side's requests in the call so far.
    pub fn responses(&self) -> Vec<Message> {
        self.peer.ua.borrow().dialog(self.index).responses.clone()
    }

    /// The other side's last session description.
    pub fn description(&self) -> Option<Described> {
        let ua = self.peer.ua.borrow();
        ua.dialog(self.index).media.theirs.clone()
    }

    /// Waits for a response with this status to this side's INVITE; earlier ones count.
    ///
    /// # Errors
    /// [`CallError`] where the call ends without it.
    pub async fn expect(&self, status: u16) -> Result<Message, CallError> {
        self.until(|ua, index| {
            let dialog = ua.dialog(index);
            let found = dialog
                .responses
                .iter()
                .find(|r| r.status().is_some_and(|s| s.code() == status));
            match (found, &dialog.phase) {
                (Some(response), _) => Some(Ok(response.clone())),
                (None, Phase::Ended(end)) => Some(Err(error_of(end))),
                (None, _) => None,
            }
        })
        .await
    }

    /// Waits until the call that this side placed is answered.
    ///
    /// # Errors
    /// [`CallError`] where it is not.
    pub async fn answered(&self) -> Result<(), CallError> {
        self.until(|ua, index| match &ua.dialog(index).phase {
            Phase::Early => None,
            Phase::Up => Some(Ok(())),
            Phase::Ended(end) => Some(Err(error_of(end))),
        })
        .await
    }

    /// Sends a provisional response without a session description.
    pub fn ring(&self, status: u16) {
        self.respond(status, false, &[]);
    }

    /// Sends 183 with a session description, so that media can flow before the answer.
    pub fn ring_with_media(&self) {
        self.respond(183, true, &[]);
    }

    /// Answers the call and waits for the ACK.
    ///
    /// # Errors
    /// [`CallError::TimedOut`] where none comes, and [`CallError::Ended`] where the call was over.
    pub async fn answer(&self) -> Result<(), CallError> {
        if let Some(end) = self.end() {
            return Err(CallError::Ended(end));
        }
        self.respond(200, true, &[]);
        let acknowledged = self.until(|ua, index| {
            let dialog = ua.dialog(index);
            match &dialog.phase {
                Phase::Ended(end) => Some(Err(CallError::Ended(end.clone()))),
                _ => dialog.acknowledged.then_some(Ok(())),
            }
        });
        let answer = self
            .peer
            .sim
            .timeout(Duration::from_secs(32), acknowledged)
            .await;
        answer.unwrap_or(Err(CallError::TimedOut))
    }

    /// Refuses the call.
    pub fn refuse(&self, status: u16) {
        self.respond(status, false, &[]);
    }

    /// Sends any response to the INVITE, with further header lines.
    pub fn respond(&self, status: u16, with_description: bool, headers: &[String]) {
        self.peer.act(|ua, context| {
            ua.answer(context, self.index, status, with_description, headers);
        });
    }

    /// Cancels the call that this side placed.
    pub fn cancel(&self) {
        self.peer.act(|ua, context| ua.cancel(context, self.index));
    }

    /// Hangs up, and waits for the answer to the BYE. The media stops at once.
    ///
    /// # Errors
    /// [`CallError::TimedOut`] where no answer comes, and [`CallError::Ended`] where the call was
    /// over before.
    pub async fn hang_up(&self) -> Result<(), CallError> {
        if let Some(end) = self.end() {
            return Err(CallError::Ended(end));
        }
        self.peer.ua.borrow_mut().end(self.index, End::Ours);
        self.media.close();
        self.request("BYE", &[], ("", "")).await.map(|_| ())
    }

    /// The caller's machine dies: nothing more is sent, nothing is answered.
    pub fn vanish(&self) {
        self.media.mute();
        self.peer.die();
    }

    /// Sends a request within the call, and waits for its final response.
    ///
    /// # Errors
    /// [`CallError::TimedOut`].
    pub async fn request(
        &self,
        method: &str,
        headers: &[String],
        body: (&str, &str),
    ) -> Result<Message, CallError> {
        let key = self
            .peer
            .act(|ua, context| ua.request(context, self.index, method, headers, body));
        self.until(|ua, _| ua.outcome(&key)).await
    }

    /// Asks for another direction of the media with a re-INVITE, and gives the response:
    /// [`Direction::SendOnly`] is hold, [`Direction::SendReceive`] ends it.
    ///
    /// # Errors
    /// [`CallError::TimedOut`].
    pub async fn redirect_media(&self, direction: Direction) -> Result<Message, CallError> {
        self.peer.ua.borrow_mut().direct(self.index, direction);
        self.reinvite(&Dial::default()).await
    }

    /// Sends a re-INVITE, and gives its final response.
    ///
    /// # Errors
    /// [`CallError::TimedOut`].
    pub async fn reinvite(&self, dial: &Dial) -> Result<Message, CallError> {
        let key = self.peer.act(|ua, context| {
            ua.invite(context, self.index, dial);
            let attempt = ua.dialog(self.index).attempt.as_ref();
            attempt.map(|attempt| attempt.key.clone())
        });
        self.until(|ua, _| ua.outcome(key.as_deref().unwrap_or_default()))
            .await
    }

    /// Waits for the next INFO, NOTIFY, OPTIONS, PRACK or UPDATE of the other side; it is answered already.
    pub async fn next_request(&self) -> Message {
        self.until(|ua, index| ua.dialog_mut(index).requests.pop_front())
            .await
    }

    /// Waits until the call is over.
    pub async fn ended(&self) -> End {
        self.until(|ua, index| match &ua.dialog(index).phase {
            Phase::Ended(end) => Some(end.clone()),
            _ => None,
        })
        .await
    }

    /// How the call ended, where it has.
    pub fn end(&self) -> Option<End> {
        match &self.peer.ua.borrow().dialog(self.index).phase {
            Phase::Ended(end) => Some(end.clone()),
            _ => None,
        }
    }

    /// Starts, changes and stops the media as offers and answers say.
    async fn follow_media(self) {
        let mut seen = 0;
        loop {
            let outlet = self
                .until(|ua, index| {
                    let dialog = ua.dialog(index);
                    match (&dialog.phase, dialog.media.changes) {
                        (Phase::Ended(_), _) => Some(None),
                        (_, changes) if changes != seen => {
                            seen = changes;
                            Some(Some((dialog.media.outlet, dialog.media.keying.clone())))
                        }
                        _ => None,
                    }
                })
                .await;
            match outlet {
                None => {
                    self.media.close();
                    return;
                }
                Some((outlet, keying)) => {
                    self.media.protect(keying);
                    match outlet {
                        Some(outlet) => self.media.start(outlet),
                        None => self.media.mute(),
                    }
                }
            }
        }
    }

    async fn until<T>(&self, mut done: impl FnMut(&mut UserAgent, usize) -> Option<T>) -> T {
        self.peer.until(|ua| done(ua, self.index)).await
    }
}

fn error_of(end: &End) -> CallError {
    match end {
        End::Refused(status) => CallError::Refused(*status),
        End::TimedOut => CallError::TimedOut,
        other => CallError::Ended(other.clone()),
    }
}
