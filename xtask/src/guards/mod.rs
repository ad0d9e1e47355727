//! The house rules that no compiler checks: walls between layers, floors, circles, clocks, sizes.

mod imports;
mod lexer;
mod paths;
mod text;
mod tree;

use std::io;

use crate::report::Tally;
use tree::Tree;

/// One guard: its name and the rule it keeps; each violation is a line `file:line: what`.
type Guard = (&'static str, fn(&Tree) -> Vec<String>);

const GUARDS: [Guard; 14] = [
    ("walls between layers", imports::walls),
    ("wire files import no machine", imports::wire),
    ("no import circles", imports::circles),
    ("no re-exports", imports::reexports),
    ("drivers use only what is public", imports::drivers),
    ("no clock, socket or thread in machines", imports::clocks),
    ("unsafe only in leaves", text::unsafety),
    ("unsafe forbidden elsewhere", text::forbids),
    ("files of at most 1000 lines", text::sizes),
    ("nothing unfinished", text::unfinished),
    ("every file opens with its purpose", text::openings),
    ("no sleep in a test", text::sleeps),
    ("licence fields", text::licences),
    ("workspace lints everywhere", text::lints),
];

/// Runs every guard over the workspace's tracked and new files.
pub(crate) fn run() -> io::Result<Tally> {
    let tree = Tree::load()?;
    let mut tally = Tally::default();
    for (name, guard) in GUARDS {
        let found = guard(&tree);
        if found.is_empty() {
            tally.passed += 1;
            continue;
        }
        tally.failed += 1;
        tally.lines.push(format!("{name}:"));
        tally
            .lines
            .extend(found.into_iter().map(|line| format!("  {line}")));
    }
    Ok(tally.noted(format!("{} guards over {} files", GUARDS.len(), tree.len())))
}
