//! An IVR: greets, collects digits, plays prompts.
