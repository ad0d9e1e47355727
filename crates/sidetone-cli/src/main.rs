//! The `sidetone` command-line tool.
fn main() {}
