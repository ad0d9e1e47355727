//! Inputs that the benchmarks share.
#![forbid(unsafe_code)]

/// An INVITE of 1,047 bytes with 14 header field rows and SDP, as a proxy forwards it.
pub const INVITE_1047: &str = "\
INVITE sip:bob@biloxi.example.com;transport=udp SIP/2.0\r\n\
Via: SIP/2.0/UDP proxy.atlanta.example.com:5060;branch=z9hG4bK2d4790.1;received=192.0.2.101\r\n\
Via: SIP/2.0/UDP pc33.atlanta.example.com:5066;branch=z9hG4bK74bf9;rport=5066;received=192.0.2.103\r\n\
Max-Forwards: 69\r\n\
Record-Route: <sip:proxy.atlanta.example.com;lr>\r\n\
To: Bob <sip:bob@biloxi.example.com>\r\n\
From: \"Alice Liddell\" <sip:alice@atlanta.example.com>;tag=9fxced76sl\r\n\
Call-ID: 3848276298220188511@atlanta.example.com\r\n\
CSeq: 314159 INVITE\r\n\
Contact: <sip:alice@pc33.atlanta.example.com:5066;transport=udp>\r\n\
Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, INFO, PRACK, UPDATE\r\n\
Supported: replaces, timer, 100rel\r\n\
User-Agent: Softphone 4.2.1 (build 7731000000000000000000000000000000000000)\r\n\
Content-Type: application/sdp\r\n\
Content-Length: 253\r\n\
\r\n\
v=0\r\n\
o=alice 2890844526 2890844526 IN IP4 pc33.atlanta.example.com\r\n\
s=-\r\n\
c=IN IP4 192.0.2.103\r\n\
t=0 0\r\n\
m=audio 49172 RTP/AVP 0 8 101\r\n\
a=rtpmap:0 PCMU/8000\r\n\
a=rtpmap:8 PCMA/8000\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=fmtp:101 0-15\r\n\
a=ptime:20\r\n\
a=sendrecv\r\n\
";

/// A small request, as a trunk sends it to see whether we live.
pub const OPTIONS_SMALL: &str = "\
OPTIONS sip:trunk.example.com SIP/2.0\r\n\
Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK776asdhds;rport\r\n\
Max-Forwards: 70\r\n\
To: <sip:trunk.example.com>\r\n\
From: <sip:pbx.example.com>;tag=1928301774\r\n\
Call-ID: a84b4c76e66710@192.0.2.1\r\n\
CSeq: 63104 OPTIONS\r\n\
Contact: <sip:pbx@192.0.2.1:5060>\r\n\
Accept: application/sdp\r\n\
Content-Length: 0\r\n\
\r\n\
";

/// `INVITE_1047` with what trunks add, 1,336 bytes and 20 header field rows.
pub fn invite_1336() -> String {
    let more = "P-Asserted-Identity: \"Alice Liddell\" <sip:+12125551212@atlanta.example.com;user=phone>\r\n\
        Session-Expires: 1800;refresher=uac\r\n\
        Min-SE: 90\r\n\
        Accept: application/sdp\r\n\
        Diversion: <sip:desk@a.example.com>;reason=unconditional;counter=1\r\n\
        Session-ID: ab30317f1a784dc48ff824d0d3715d86;remote=00000\r\n";
    let invite = INVITE_1047.replacen("User-Agent:", &format!("{more}User-Agent:"), 1);
    assert_eq!(invite.len(), 1_336);
    invite
}

/// The messages of one call, as its caller sends and receives them: INVITE, 100, 180, 200, ACK, BYE, 200;
/// 624 bytes on average.
pub fn call_flow() -> Vec<String> {
    let head = "Via: SIP/2.0/UDP pc33.atlanta.example.com:5066;branch=z9hG4bK74bf9;rport=5066;received=192.0.2.103\r\n\
        To: Bob <sip:bob@biloxi.example.com>;tag=a6c85cf\r\n\
        From: \"Alice Liddell\" <sip:alice@atlanta.example.com>;tag=9fxced76sl\r\n\
        Call-ID: 3848276298220188511@atlanta.example.com\r\n";
    let agent = "User-Agent: Softphone 4.2.1 (build 7731.20260101-x86_64)\r\n";
    let contact = "Contact: <sip:bob@192.0.2.4:5060;transport=udp>\r\n\
        Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, INFO, PRACK, UPDATE\r\n\
        Supported: replaces, timer, 100rel\r\n\
        Record-Route: <sip:proxy.atlanta.example.com;lr>\r\n";
    let within = "Contact: <sip:alice@pc33.atlanta.example.com:5066;transport=udp>\r\n\
        Max-Forwards: 70\r\nRoute: <sip:proxy.atlanta.example.com;lr>\r\n";
    let description = INVITE_1047.split("\r\n\r\n").nth(1).unwrap_or_default();
    let empty = "Content-Length: 0\r\n\r\n";
    let described =
        format!("Content-Type: application/sdp\r\nContent-Length: 253\r\n\r\n{description}");
    let request = |method: &str, number: u32| {
        format!(
            "{method} sip:bob@192.0.2.4:5060;transport=udp SIP/2.0\r\n{head}CSeq: {number} {method}\r\n\
             {within}{agent}{empty}"
        )
    };
    let response = |status: &str, cseq: &str, rest: &str| {
        format!("SIP/2.0 {status}\r\n{head}CSeq: {cseq}\r\n{rest}")
    };
    vec![
        INVITE_1047.to_owned(),
        response("100 Trying", "314159 INVITE", &format!("{agent}{empty}")),
        response(
            "180 Ringing",
            "314159 INVITE",
            &format!("{contact}{agent}{empty}"),
        ),
        response(
            "200 OK",
            "314159 INVITE",
            &format!("{contact}{agent}{described}"),
        ),
        request("ACK", 314_159),
        request("BYE", 314_160),
        response("200 OK", "314160 BYE", &format!("{agent}{empty}")),
    ]
}
