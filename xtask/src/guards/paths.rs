//! The module paths that a source file names: `use` declarations and inline `crate::…` paths.

use super::lexer::{Kind, Token};

/// One path as the source names it, made absolute (`crate` first) where it is relative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
    /// It stands in a `use` declaration that is visible outside its module.
    pub(crate) reexport: bool,
}

/// Every path that `tokens`, the source of the module at `module` (without `crate`), names.
/// Paths into other crates come from `use` declarations only.
pub(crate) fn named(tokens: &[Token], module: &[String]) -> Vec<Named> {
    let mut out = Vec::new();
    let mut nesting = Nesting::new(module);
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        nesting.see(tokens, at);
        if token.is("use") && !next_is(tokens, at, '<') {
            let reexport = is_visible(tokens, at);
            let mut prefix = Vec::new();
            at = tree(tokens, at + 1, &mut prefix, &mut |path| {
                if let Some(path) = absolute(path, &nesting.module) {
                    out.push(Named {
                        path,
                        line: token.line,
                        reexport,
                    });
                }
            });
        } else if is_root(token) && joined(tokens, at + 1) && !follows_join(tokens, at) {
            let (path, end) = inline(tokens, at);
            if let Some(path) = absolute(&path, &nesting.module) {
                out.push(Named {
                    path,
                    line: token.line,
                    reexport: false,
                });
            }
            at = end;
        } else {
            at += 1;
        }
    }
    out
}

/// Follows `mod name { … }` so that `super` means the right module.
struct Nesting {
    module: Vec<String>,
    depth: usize,
    /// The brace depth at which each nested module opened.
    opened: Vec<usize>,
    expected: Option<String>,
}

impl Nesting {
    fn new(module: &[String]) -> Self {
        Self {
            module: module.to_vec(),
            depth: 0,
            opened: Vec::new(),
            expected: None,
        }
    }

    fn see(&mut self, tokens: &[Token], at: usize) {
        match &tokens[at].kind {
            Kind::Word(word) if word == "mod" => {
                self.expected = tokens.get(at + 1).and_then(Token::word).map(str::to_owned);
            }
            Kind::Sign(';') => self.expected = None,
            Kind::Sign('{') => {
                self.depth += 1;
                if let Some(name) = self.expected.take() {
                    self.module.push(name);
                    self.opened.push(self.depth);
                }
            }
            Kind::Sign('}') => {
                if self.opened.last() == Some(&self.depth) {
                    self.opened.pop();
                    self.module.pop();
                }
                self.depth = self.depth.saturating_sub(1);
            }
            _ => {}
        }
    }
}

fn is_root(token: &Token) -> bool {
    token.is("crate") || token.is("super") || token.is("self")
}

fn joined(tokens: &[Token], at: usize) -> bool {
    next_is(tokens, at.wrapping_sub(1), ':') && tokens.get(at + 1).is_some_and(|t| t.is_sign(':'))
}

fn follows_join(tokens: &[Token], at: usize) -> bool {
    at >= 2 && tokens[at - 1].is_sign(':') && tokens[at - 2].is_sign(':')
}

fn next_is(tokens: &[Token], at: usize, sign: char) -> bool {
    tokens
        .get(at.wrapping_add(1))
        .is_some_and(|token| token.is_sign(sign))
}

fn is_visible(tokens: &[Token], at: usize) -> bool {
    at > 0 && (tokens[at - 1].is("pub") || tokens[at - 1].is_sign(')'))
}

/// Reads an inline path; returns it with the index after it.
fn inline(tokens: &[Token], mut at: usize) -> (Vec<String>, usize) {
    let mut path = Vec::new();
    while let Some(word) = tokens.get(at).and_then(Token::word) {
        path.push(word.to_owned());
        at += 1;
        if !joined(tokens, at) {
            break;
        }
        at += 2;
    }
    (path, at)
}

/// Reads one use tree; calls `found` with every full path; returns the index after the tree.
fn tree(
    tokens: &[Token],
    mut at: usize,
    prefix: &mut Vec<String>,
    found: &mut impl FnMut(&[String]),
) -> usize {
    let depth = prefix.len();
    while let Some(token) = tokens.get(at) {
        match &token.kind {
            Kind::Word(word) if word == "as" => at += 2,
            Kind::Word(word) => {
                prefix.push(word.clone());
                at += 1;
            }
            Kind::Sign(':') => at += 1,
            Kind::Sign('*') => {
                prefix.push("*".to_owned());
                at += 1;
            }
            Kind::Sign('{') => {
                at += 1;
                while tokens.get(at).is_some_and(|token| !token.is_sign('}')) {
                    at = tree(tokens, at, prefix, found);
                    if tokens.get(at).is_some_and(|token| token.is_sign(',')) {
                        at += 1;
                    }
                }
                prefix.truncate(depth);
                return at + 1;
            }
            _ => break,
        }
    }
    if prefix.len() > depth {
        found(prefix);
    }
    prefix.truncate(depth);
    at
}

fn absolute(path: &[String], module: &[String]) -> Option<Vec<String>> {
    let mut base = match path.first()?.as_str() {
        "crate" => vec!["crate".to_owned()],
        "self" | "super" => {
            let mut own = vec!["crate".to_owned()];
            own.extend_from_slice(module);
            own
        }
        _ => return Some(path.to_vec()),
    };
    let mut rest = if path[0] == "super" { path } else { &path[1..] };
    while rest.first().is_some_and(|word| word == "super") {
        if base.len() > 1 {
            base.pop();
        }
        rest = &rest[1..];
    }
    base.extend(rest.iter().filter(|word| *word != "self").cloned());
    Some(base)
}

#[cfg(test)]
mod tests {
    use super::super::lexer::tokens;
    use super::*;

    fn paths(source: &str) -> Vec<String> {
        let module = ["sip".to_owned(), "agent".to_owned()];
        named(&tokens(source), &module)
            .iter()
            .map(|named| named.path.join("::"))
            .collect()
    }

    #[test]
    fn use_trees_are_spread_out() {
        assert_eq!(
            paths("use crate::{time::{Instant, Duration as D}, sip::uri::Uri}; use std::fmt;"),
            [
                "crate::time::Instant",
                "crate::time::Duration",
                "crate::sip::uri::Uri",
                "std::fmt"
            ]
        );
        assert_eq!(
            paths("use crate::sip::uri::{self, Uri};"),
            ["crate::sip::uri", "crate::sip::uri::Uri"]
        );
    }

    #[test]
    fn relative_paths_become_absolute() {
        assert_eq!(
            paths("use super::uri::Uri; use self::inner::*;"),
            ["crate::sip::uri::Uri", "crate::sip::agent::inner::*"]
        );
        assert_eq!(
            paths("mod a { use super::super::uri::X; } use super::Y;"),
            ["crate::sip::uri::X", "crate::sip::Y"]
        );
    }

    #[test]
    fn inline_paths_are_seen() {
        assert_eq!(
            paths("fn f() { crate::media::frame::Frame::new(); self.x; a::b::crate_; }"),
            ["crate::media::frame::Frame::new"]
        );
    }

    #[test]
    fn reexports_are_told_apart() {
        let all = named(
            &tokens("pub(crate) use super::a::B; use super::c; pub use self::d::E;"),
            &[],
        );
        assert_eq!(
            all.iter().map(|named| named.reexport).collect::<Vec<_>>(),
            [true, false, true]
        );
    }
}
