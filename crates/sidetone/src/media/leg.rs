//! A media leg: one RTP stream pair from wire to room and back.
