//! The files that the guards look at, from the working tree or planted by a test.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::Command;

use super::lexer::{self, Token};
use crate::shell;

/// Text files of the workspace by their path from its root.
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
}

/// One Rust file.
pub(crate) struct Source<'a> {
    pub(crate) path: &'a str,
    pub(crate) text: &'a str,
    pub(crate) tokens: Vec<Token>,
}

impl Tree {
    /// Reads what git tracks, and what is new and not ignored.
    pub(crate) fn load() -> io::Result<Self> {
        let list = Command::new("git")
            .current_dir(shell::root())
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .output()?;
        let mut files = BTreeMap::new();
        for path in String::from_utf8_lossy(&list.stdout).lines() {
            if !(path.ends_with(".rs") || path.ends_with("Cargo.toml") || path == "LICENSE") {
                continue;
            }
            // A file deleted but still tracked is no violation.
            if let Ok(text) = std::fs::read_to_string(shell::root().join(path)) {
                files.insert(path.to_owned(), text);
            }
        }
        if files.is_empty() {
            return Err(io::Error::other(
                "git lists no files: the guards need the repository",
            ));
        }
        Ok(Self { files })
    }

    /// A tree of planted files.
    #[cfg(test)]
    pub(crate) fn planted(files: &[(&str, &str)]) -> Self {
        Self {
            files: files
                .iter()
                .map(|(path, text)| ((*path).into(), (*text).into()))
                .collect(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    pub(crate) fn file(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Every `Cargo.toml`.
    pub(crate) fn manifests(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all().filter(|(path, _)| path.ends_with("Cargo.toml"))
    }

    /// Every Rust file below `prefix`.
    pub(crate) fn rust<'a>(&'a self, prefix: &str) -> impl Iterator<Item = Source<'a>> {
        self.all()
            .filter(move |(path, _)| path.ends_with(".rs") && path.starts_with(prefix))
            .map(|(path, text)| Source {
                path,
                text,
                tokens: lexer::tokens(text),
            })
    }

    fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }
}

impl Source<'_> {
    /// Whether the whole file is test code.
    pub(crate) fn is_test(&self) -> bool {
        let path = Path::new(self.path);
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        stem == "tests"
            || stem.ends_with("_tests")
            || path
                .parent()
                .is_some_and(|dir| dir.components().any(|part| part.as_os_str() == "tests"))
    }

    /// The file's tokens without its test items; none at all for a test file.
    pub(crate) fn production(&self) -> Vec<Token> {
        if self.is_test() {
            Vec::new()
        } else {
            lexer::without_tests(&self.tokens)
        }
    }

    /// The module's path inside its crate: `src/sip/uri.rs` is `["sip", "uri"]`.
    pub(crate) fn module(&self) -> Vec<String> {
        let inside = self
            .path
            .split_once("src/")
            .map_or(self.path, |(_, inside)| inside);
        let inside = inside.trim_end_matches(".rs").trim_end_matches("/mod");
        if inside == "lib" || inside == "main" || inside == "mod" {
            return Vec::new();
        }
        inside.split('/').map(str::to_owned).collect()
    }
}
