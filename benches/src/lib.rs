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
