//! RTCP packets: sender and receiver reports, source description, goodbye: wire format.
