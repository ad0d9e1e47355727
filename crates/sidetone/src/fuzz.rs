//! Logic of the fuzz targets, compiled with the crate so that it cannot rot.
//!
//! Each function takes arbitrary bytes and panics where a promise is broken.

mod choices;
pub mod codec;
pub mod data;
pub mod event;
pub mod jitter;
pub mod passage;
pub mod recorder;
pub mod relay;
pub mod resolve;
pub mod rtp;
pub mod sdp;
pub mod signalling;
pub mod sip;
pub mod siprec;
pub mod srtp;

/// Runs the committed seeds of a target, as the fuzzer's smoke run does.
#[cfg(test)]
fn run_seeds(target: &str, run: fn(&[u8])) {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = root.join("../../fuzz/seeds").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(dir).expect("the target has seeds") {
        let path = entry.expect("a readable directory").path();
        run(&std::fs::read(path).expect("a readable seed"));
        count += 1;
    }
    assert!(count > 0, "no seeds for {target}");
}
