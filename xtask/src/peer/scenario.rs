//! SIPp scenarios, written as the sequence of what is sent and expected.

/// A scenario under construction.
#[derive(Clone)]
pub(crate) struct Scenario {
    name: &'static str,
    body: String,
    cseq: u32,
}

const OFFER: &str = "\
v=0
o=sipp 1 @VERSION@ IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0 101
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=ptime:20
a=@DIRECTION@
";

impl Scenario {
    /// An empty scenario.
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            body: String::new(),
            cseq: 0,
        }
    }

    /// Sends the first INVITE, with an offer.
    pub(crate) fn invite(self) -> Self {
        self.first("INVITE", Some("sendrecv"))
    }

    /// Sends the first INVITE without an offer: the peer is to make it.
    pub(crate) fn invite_without_offer(self) -> Self {
        self.first("INVITE", None)
    }

    /// Sends a request outside any dialog.
    pub(crate) fn first(mut self, method: &str, direction: Option<&str>) -> Self {
        self.cseq += 1;
        let head = format!(
            "{method} sip:[service]@[remote_ip]:[remote_port] SIP/2.0\n{}\
             To: <sip:[service]@[remote_ip]:[remote_port]>\n{}",
            self.via_and_from(),
            self.common(method)
        );
        self.send("retrans=\"500\"", &head, direction)
    }

    /// Sends a new INVITE within the dialog.
    pub(crate) fn reinvite(mut self, direction: &str) -> Self {
        self.cseq += 1;
        let head = self.within("INVITE");
        self.send("retrans=\"500\"", &head, Some(direction))
    }

    /// Sends another request within the dialog.
    pub(crate) fn request(mut self, method: &str) -> Self {
        self.cseq += 1;
        let head = self.within(method);
        self.send("retrans=\"500\"", &head, None)
    }

    /// Acknowledges the answer to the last INVITE; with an answer where the peer made the offer.
    pub(crate) fn ack(self, direction: Option<&str>) -> Self {
        let head = self.within("ACK");
        self.send("", &head, direction)
    }

    /// Cancels the INVITE, which has the same branch.
    pub(crate) fn cancel(self) -> Self {
        let head = format!(
            "CANCEL sip:[service]@[remote_ip]:[remote_port] SIP/2.0\n\
             Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch-2];rport\n\
             From: \"SIPp\" <sip:sipp@[local_ip]:[local_port]>;tag=[pid]t[call_number]\n\
             To: <sip:[service]@[remote_ip]:[remote_port]>\n\
             Call-ID: [call_id]\nCSeq: {} CANCEL\nMax-Forwards: 70\n",
            self.cseq
        );
        self.send("retrans=\"500\"", &head, None)
    }

    /// Acknowledges a refusal.
    pub(crate) fn ack_refusal(self, branch_back: u32) -> Self {
        let head = format!(
            "ACK sip:[service]@[remote_ip]:[remote_port] SIP/2.0\n\
             Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch-{branch_back}];rport\n\
             From: \"SIPp\" <sip:sipp@[local_ip]:[local_port]>;tag=[pid]t[call_number]\n\
             To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]\n\
             Call-ID: [call_id]\nCSeq: {} ACK\nMax-Forwards: 70\n",
            self.cseq
        );
        self.send("", &head, None)
    }

    /// Expects a response; its record route and contact lead the dialog from then on.
    pub(crate) fn answered(self, status: u16) -> Self {
        self.raw(&format!(
            "<recv response=\"{status}\" rrs=\"true\" timeout=\"20000\"/>"
        ))
    }

    /// Takes a response if it comes before the next one expected.
    pub(crate) fn maybe(self, status: u16) -> Self {
        self.raw(&format!("<recv response=\"{status}\" optional=\"true\"/>"))
    }

    /// Takes 100, 180 and 183 if they come.
    pub(crate) fn progress(self) -> Self {
        self.maybe(100).maybe(180).maybe(183)
    }

    /// Expects a request; the first one's record route leads the dialog.
    pub(crate) fn expect(self, method: &str) -> Self {
        self.raw(&format!(
            "<recv request=\"{method}\" rrs=\"true\" timeout=\"40000\"/>"
        ))
    }

    /// Answers the last request; with a description where there is a direction.
    pub(crate) fn respond(self, status: &str, direction: Option<&str>) -> Self {
        let head = format!(
            "SIP/2.0 {status}\n[last_Via:]\n[last_From:]\n[last_To:];tag=[pid]a[call_number]\n\
             [last_Call-ID:]\n[last_CSeq:]\n[last_Record-Route:]\n\
             Contact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>\n\
             Allow: INVITE, ACK, BYE, CANCEL, OPTIONS\n"
        );
        let again = if direction.is_some() || status.as_bytes()[0] > b'2' {
            "retrans=\"500\""
        } else {
            ""
        };
        self.send(again, &head, direction)
    }

    /// Answers the last request inside the dialog, whose To has its tag already.
    pub(crate) fn confirm(self, direction: Option<&str>) -> Self {
        let head = "SIP/2.0 200 OK\n[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\n\
                    [last_CSeq:]\nContact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>\n";
        self.send("", head, direction)
    }

    /// Begins to speak what `Sipp::say` prepared.
    pub(crate) fn speak(self) -> Self {
        self.raw("<nop><action><exec play_pcap_audio=\"say.pcap\"/></action></nop>")
    }

    /// Waits.
    pub(crate) fn pause(self, milliseconds: u32) -> Self {
        self.raw(&format!("<pause milliseconds=\"{milliseconds}\"/>"))
    }

    /// The scenario as SIPp reads it.
    pub(crate) fn xml(&self) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<scenario name=\"{}\">\n{}</scenario>\n",
            self.name, self.body
        )
    }

    fn raw(mut self, line: &str) -> Self {
        self.body.push_str(line);
        self.body.push('\n');
        self
    }

    fn within(&self, method: &str) -> String {
        format!(
            "{method} [next_url] SIP/2.0\n{}[routes]\n\
             To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]\n{}",
            self.via_and_from(),
            self.common(method)
        )
    }

    fn via_and_from(&self) -> String {
        "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport\n\
         From: \"SIPp\" <sip:sipp@[local_ip]:[local_port]>;tag=[pid]t[call_number]\n"
            .to_owned()
    }

    fn common(&self, method: &str) -> String {
        format!(
            "Call-ID: [call_id]\nCSeq: {} {method}\n\
             Contact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>\n\
             Max-Forwards: 70\nAllow: INVITE, ACK, BYE, CANCEL, OPTIONS\n",
            self.cseq
        )
    }

    fn send(self, attributes: &str, head: &str, direction: Option<&str>) -> Self {
        let body = match direction {
            Some(direction) => format!(
                "Content-Type: application/sdp\nContent-Length: [len]\n\n{}",
                OFFER
                    .replace("@DIRECTION@", direction)
                    .replace("@VERSION@", &self.cseq.max(1).to_string())
            ),
            None => "Content-Length: 0\n\n".to_owned(),
        };
        self.raw(&format!(
            "<send {attributes}>\n<![CDATA[\n{head}{body}]]>\n</send>"
        ))
    }
}

/// Calls, speaks for `talk` milliseconds, hangs up.
pub(crate) fn caller(talk: u32) -> Scenario {
    let call = Scenario::new("caller")
        .invite()
        .progress()
        .answered(200)
        .ack(None);
    call.speak().pause(talk).request("BYE").answered(200)
}

/// Rings, answers, speaks until the caller hangs up.
pub(crate) fn callee() -> Scenario {
    let ring = Scenario::new("callee")
        .expect("INVITE")
        .respond("180 Ringing", None)
        .pause(300);
    ring.respond("200 OK", Some("sendrecv"))
        .expect("ACK")
        .speak()
        .expect("BYE")
        .confirm(None)
}
