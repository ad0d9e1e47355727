//! An RTP session: numbering sent packets, judging received ones, scheduling RTCP.
