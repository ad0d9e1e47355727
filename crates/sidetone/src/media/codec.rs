//! Audio codecs: the codec trait and G.711.
