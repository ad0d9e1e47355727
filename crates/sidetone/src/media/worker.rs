//! The media worker: owns legs and rooms and runs them by ticks.
