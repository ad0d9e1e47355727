//! Recorders elsewhere: what is asked of session recording servers (RFC 7866).

use crate::sdp::negotiate::security::MediaSecurity;
use crate::sip::auth::client::Account;

/// Which session recording servers shall record a conversation.
///
/// ```
/// use sidetone::engine::remote::RemotePlan;
///
/// let plan = RemotePlan::to("sip:srs@192.0.2.9").or("sip:srs@192.0.2.10");
/// assert_eq!(plan.servers.len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RemotePlan {
    /// Their URIs: the first that takes the recording session has it, and where it is lost the next is
    /// asked. Each is asked once.
    pub servers: Vec<String>,
    /// What to sign in with where a server asks for it. Default nothing.
    pub account: Option<Account>,
    /// Whether the streams are protected; as configured where nothing is said. RFC 7866 §12 wants them no
    /// less protected than the calls that are recorded.
    pub media_security: Option<MediaSecurity>,
    /// The codecs to offer, by their names in SDP, best first; all of the engine's where nothing is said.
    pub codecs: Option<Vec<String>>,
}

impl RemotePlan {
    /// To this server.
    pub fn to(server: &str) -> Self {
        Self {
            servers: vec![server.to_owned()],
            account: None,
            media_security: None,
            codecs: None,
        }
    }

    /// And to that one, where those before it fail.
    #[must_use]
    pub fn or(mut self, server: &str) -> Self {
        self.servers.push(server.to_owned());
        self
    }
}
