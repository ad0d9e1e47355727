//! Guards over single files and manifests.

use std::path::Path;

use super::lexer::Token;
use super::tree::{Source, Tree};

/// Where C, the operating system and the processor's own instructions are called: the only files that may
/// say `unsafe`, and the test whose counting allocator cannot do without.
const UNSAFE: [&str; 5] = [
    "crates/sidetone-opus/src/",
    "crates/sidetone-simd/src/",
    "crates/sidetone-udp/src/",
    "crates/sidetone-udp/examples/",
    "crates/sidetone/tests/allocation",
];

const MOST_LINES: usize = 1000;

/// `unsafe` stands in leaves only, each block under a comment that says why it is sound.
pub(crate) fn unsafety(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for source in tree.rust("") {
        let leaf = UNSAFE.iter().any(|prefix| source.path.starts_with(prefix));
        for token in source.tokens.iter().filter(|token| token.is("unsafe")) {
            if !leaf {
                found.push(at(&source, token.line, "unsafe outside the leaves"));
            } else if !explained(source.text, token.line) {
                found.push(at(&source, token.line, "no `SAFETY:` comment above"));
            }
        }
    }
    found
}

/// Every crate root but the leaves' forbids unsafe code.
pub(crate) fn forbids(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (manifest, _) in tree.manifests() {
        let Some(dir) = manifest
            .strip_suffix("Cargo.toml")
            .filter(|dir| !dir.is_empty())
        else {
            continue;
        };
        if UNSAFE
            .iter()
            .any(|prefix| prefix.starts_with(dir) && prefix.ends_with("src/"))
        {
            continue;
        }
        for root in ["src/lib.rs", "src/main.rs"].map(|root| format!("{dir}{root}")) {
            let text = tree.file(&root);
            if text.is_some_and(|text| !text.contains("#![forbid(unsafe_code)]")) {
                found.push(format!("{root}:1: lacks #![forbid(unsafe_code)]"));
            }
        }
    }
    found
}

/// No file is longer than a reader takes in, its tests not counted.
pub(crate) fn sizes(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for source in tree.rust("").filter(|source| !source.is_test()) {
        let lines = source.text.lines().count() - test_lines(&source);
        if lines > MOST_LINES {
            found.push(at(&source, 1, &format!("{lines} lines without its tests")));
        }
    }
    found
}

/// Nothing is left half done.
pub(crate) fn unfinished(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for source in tree.rust("") {
        for pair in source.tokens.windows(3) {
            let call = pair[1].is_sign('!') && (pair[0].is("todo") || pair[0].is("unimplemented"));
            let skipped = pair[0].is_sign('#') && pair[1].is_sign('[') && pair[2].is("ignore");
            if call || skipped {
                found.push(at(&source, pair[0].line, "unfinished or switched off"));
            }
        }
        let mark = ["FIX", "ME"].concat();
        for (index, line) in source.text.lines().enumerate() {
            if line
                .split_once("//")
                .is_some_and(|(_, comment)| comment.contains(&mark))
            {
                found.push(at(&source, index + 1, "a comment that asks for a repair"));
            }
        }
    }
    found
}

/// Every file begins with a sentence that says what lives in it.
pub(crate) fn openings(tree: &Tree) -> Vec<String> {
    let opens = |source: &Source<'_>| {
        let first = source.text.lines().find(|line| !line.starts_with("#!["));
        first.is_some_and(|line| line.starts_with("//! "))
    };
    tree.rust("")
        .filter(|source| !opens(source))
        .map(|s| at(&s, 1, "opens without `//!`"))
        .collect()
}

/// Tests run in virtual time.
pub(crate) fn sleeps(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for source in tree.rust("") {
        let kept: Vec<usize> = source.production().iter().map(sleep_line).collect();
        let driver = [
            "xtask/src/",
            "crates/sidetone/src/net/",
            "crates/sidetone-cli/",
            "crates/sidetone-shaper/",
        ];
        let production_allowed = driver.iter().any(|prefix| source.path.starts_with(prefix))
            || source.path.ends_with("main.rs");
        for (index, token) in source.tokens.iter().enumerate() {
            let before = index.checked_sub(1).map(|before| &source.tokens[before]);
            let own = before.is_some_and(|before| before.is_sign('.') || before.is("fn"));
            let called = source
                .tokens
                .get(index + 1)
                .is_some_and(|next| next.is_sign('('));
            if sleep_line(token) == 0 || own || !called {
                continue;
            }
            if !(production_allowed && kept.contains(&token.line)) {
                found.push(at(&source, token.line, "sleeps"));
            }
        }
    }
    found
}

/// Every package is under the workspace's licence, Apache-2.0, and the text lies beside it.
pub(crate) fn licences(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    if !tree
        .file("LICENSE")
        .is_some_and(|text| text.contains("Apache License"))
    {
        found.push("LICENSE: lacks the Apache License".to_owned());
    }
    for (path, text) in tree.manifests() {
        let named =
            text.contains("license.workspace = true") || text.contains("license = \"Apache-2.0\"");
        if !named {
            found.push(format!("{path}:1: names no licence, or another one"));
        }
    }
    found
}

/// Every member of the workspace takes the workspace's lints.
pub(crate) fn lints(tree: &Tree) -> Vec<String> {
    let members = tree
        .manifests()
        .filter(|(path, text)| text.contains("[package]") && !Path::new(path).starts_with("fuzz"));
    members
        .filter(|(_, text)| !text.contains("[lints]\nworkspace = true"))
        .map(|(path, _)| format!("{path}:1: lacks `[lints] workspace = true`"))
        .collect()
}

fn at(source: &Source<'_>, line: usize, what: &str) -> String {
    format!("{}:{line}: {what}", source.path)
}

/// Whether a `SAFETY:` comment stands on this line or in the comment and attributes right above.
fn explained(text: &str, line: usize) -> bool {
    let lines: Vec<&str> = text.lines().take(line).collect();
    let above = lines.iter().rev().skip(1).map(|line| line.trim_start());
    let block = above.take(12).take_while(|line| {
        line.starts_with("//")
            || line.starts_with("#[")
            || line.ends_with('=')
            || line.ends_with('(')
    });
    lines.last().is_some_and(|line| line.contains("SAFETY:"))
        || block
            .into_iter()
            .any(|line| line.contains("SAFETY:") || line.contains("# Safety"))
}

/// How many lines belong to test items.
fn test_lines(source: &Source<'_>) -> usize {
    let kept: std::collections::BTreeSet<usize> =
        source.production().iter().map(|token| token.line).collect();
    let all: std::collections::BTreeSet<usize> =
        source.tokens.iter().map(|token| token.line).collect();
    all.difference(&kept).count()
}

/// The line of a word that means sleeping, else 0.
fn sleep_line(token: &Token) -> usize {
    if token.is("sleep") || token.is("sleep_until") {
        token.line
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_code_is_found_outside_leaves_and_without_a_reason() {
        let tree = Tree::planted(&[
            (
                "crates/sidetone/src/a.rs",
                "fn f() { unsafe { g() } } // \"unsafe\"",
            ),
            (
                "crates/sidetone-udp/src/a.rs",
                "// SAFETY: fine.\nlet x = unsafe { g() };\nlet s = \"\";\nunsafe { h() }",
            ),
        ]);
        let found = unsafety(&tree);
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(found[0].contains("a.rs:4"), "{found:#?}");
    }

    #[test]
    fn a_crate_root_that_does_not_forbid_unsafe_code_is_found() {
        let tree = Tree::planted(&[
            ("crates/a/Cargo.toml", ""),
            ("crates/a/src/lib.rs", "//! A."),
            ("crates/sidetone-udp/Cargo.toml", ""),
            ("crates/sidetone-udp/src/lib.rs", "//! B."),
            ("xtask/Cargo.toml", ""),
            ("xtask/src/main.rs", "#![forbid(unsafe_code)]"),
        ]);
        assert_eq!(
            forbids(&tree),
            ["crates/a/src/lib.rs:1: lacks #![forbid(unsafe_code)]"]
        );
    }

    #[test]
    fn a_long_file_is_found_but_long_tests_are_not() {
        let long = "fn f() {}\n".repeat(1001);
        let tested = format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
        let tree = Tree::planted(&[("a.rs", &long), ("b.rs", &tested), ("a/tests.rs", &long)]);
        assert_eq!(sizes(&tree), ["a.rs:1: 1001 lines without its tests"]);
    }

    #[test]
    fn unfinished_work_is_found() {
        let mark = ["// FIX", "ME\n"].concat();
        let source =
            format!("fn f() {{ todo!() }}\n#[ignore]\nfn g() {{ unimplemented!() }}\n{mark}");
        let tree = Tree::planted(&[("a.rs", &source), ("b.rs", "fn todo() { \"todo!()\"; }")]);
        assert_eq!(unfinished(&tree).len(), 4, "{:#?}", unfinished(&tree));
    }

    #[test]
    fn a_file_without_its_sentence_is_found() {
        let tree = Tree::planted(&[
            ("a.rs", "//! What lives here.\n"),
            ("b.rs", "#![no_main]\n//! What lives here.\n"),
            ("c.rs", "use std::fmt;\n"),
        ]);
        assert_eq!(openings(&tree), ["c.rs:1: opens without `//!`"]);
    }

    #[test]
    fn a_sleep_in_a_test_is_found() {
        let tree = Tree::planted(&[
            (
                "crates/a/src/lib.rs",
                "#[cfg(test)] mod tests { fn t() { std::thread::sleep(D); } }",
            ),
            (
                "crates/a/tests/t.rs",
                "async fn t() { tokio::time::sleep(D).await; clock.sleep(D); }",
            ),
            ("xtask/src/b.rs", "fn f() { thread::sleep(D); }"),
            (
                "xtask/src/c.rs",
                "fn f() {}\n#[cfg(test)]\nmod tests {\nfn g() { sleep(D); } }",
            ),
        ]);
        assert_eq!(sleeps(&tree).len(), 3, "{:#?}", sleeps(&tree));
    }

    #[test]
    fn a_manifest_without_licence_or_lints_is_found() {
        let good = "[package]\nlicense.workspace = true\n[lints]\nworkspace = true\n";
        let tree = Tree::planted(&[
            ("LICENSE", "Apache License"),
            ("a/Cargo.toml", good),
            ("b/Cargo.toml", "[package]\nlicense = \"GPL-3.0\"\n"),
        ]);
        assert_eq!(licences(&tree).len(), 1);
        assert_eq!(lints(&tree).len(), 1);
        assert_eq!(licences(&Tree::planted(&[])).len(), 1);
    }
}
