//! SDP attributes of audio media: rtpmap, fmtp, ptime, direction: wire format.
