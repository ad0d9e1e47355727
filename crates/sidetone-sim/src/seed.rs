//! The seed of a failing simulation: printed, and taken from the environment to repeat it.

/// The environment variable that replaces the seed of [`Sim::seeded`](crate::sim::Sim::seeded).
pub const SEED_VARIABLE: &str = "SIDETONE_SEED";

/// The number in [`SEED_VARIABLE`], where it is set.
///
/// # Panics
/// Where the variable is set and is no number.
pub fn from_environment() -> Option<u64> {
    let text = std::env::var(SEED_VARIABLE).ok()?;
    match text.trim().parse() {
        Ok(seed) => Some(seed),
        Err(_) => panic!("{SEED_VARIABLE} is {text:?}, which is no number"),
    }
}

/// Prints how to repeat a simulation that a panic ends.
#[expect(clippy::print_stderr, reason = "a failing test must show its seed")]
pub(crate) fn report_where_panicking(seed: u64) {
    if std::thread::panicking() {
        eprintln!(
            "the simulation's seed was {seed}; a test that takes its seed from the environment is \
             repeated with {SEED_VARIABLE}={seed}"
        );
    }
}
