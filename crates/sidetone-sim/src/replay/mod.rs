//! Replay: a captured RTP stream through the real receive path, in virtual time.

pub mod describe;
pub mod machine;
pub mod report;
pub mod streams;
