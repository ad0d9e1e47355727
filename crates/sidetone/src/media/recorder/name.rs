//! Names of files out of words that nobody can be trusted with.

use std::fmt::Write;

/// The longest name that [`escape`] makes, in bytes.
pub const MAX_NAME: usize = 120;

/// A word as part of one file's name: letters, digits, `-` and `_` stand for themselves, each other byte
/// as `%` and two hexadecimal digits, and what is longer than [`MAX_NAME`] is cut off. The result is never
/// empty, holds no separator, no dot and no NUL, and so can name nothing but a file in the directory that
/// it is put into. Different words have different names, as long as they are not cut off.
///
/// ```
/// use sidetone::media::recorder::name::escape;
///
/// assert_eq!(escape("+49 30 1234"), "%2B49%2030%201234");
/// assert_eq!(escape("../../etc/passwd"), "%2E%2E%2F%2E%2E%2Fetc%2Fpasswd");
/// assert_eq!(escape(""), "%");
/// ```
pub fn escape(word: &str) -> String {
    let mut name = String::with_capacity(word.len().min(MAX_NAME));
    for byte in word.bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.len() + if is_plain { 1 } else { 3 } > MAX_NAME {
            break;
        }
        match is_plain {
            true => name.push(char::from(byte)),
            // A string takes whatever is written to it.
            false => drop(write!(name, "%{byte:02X}")),
        }
    }
    if name.is_empty() {
        name.push('%');
    }
    name
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use super::*;
    use crate::rng::Rng;

    #[test]
    fn whatever_the_network_says_stays_in_its_directory() {
        let mut words: Vec<String> = [
            "",
            ".",
            "..",
            "/",
            "\\",
            "../../etc/x",
            "/etc/passwd",
            "a\0b",
            "C:\\x",
            "con",
            "\u{202E}gpj",
            "$(reboot)",
            "%2e%2e",
            "~root",
        ]
        .map(String::from)
        .to_vec();
        words.push("x".repeat(4_096));
        words.push("/".repeat(4_096));
        let mut rng = Rng::new(5);
        for _ in 0..500 {
            let length = rng.below(40);
            let any = (0..length).filter_map(|_| char::from_u32(rng.below(0x300) as u32));
            words.push(any.collect());
        }
        for word in words {
            let name = escape(&word);
            assert!((1..=MAX_NAME).contains(&name.len()), "{word:?}");
            let path = Path::new("spool").join(format!("{name}.wav"));
            let parts: Vec<_> = path.components().collect();
            assert_eq!(parts.len(), 2, "{word:?} became {name}");
            assert!(
                parts.iter().all(|p| matches!(p, Component::Normal(_))),
                "{word:?}"
            );
        }
    }
}
