//! SDP session descriptions: bounded parsing and printing: wire format.
