//! Rust source cut into tokens, as far as the guards need it: no comments, no contents of strings.

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Word(String),
    Sign(char),
    /// A string, character or number.
    Literal,
}

/// A token and the line it stands on, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) line: usize,
}

impl Token {
    /// Whether this is the word `word`.
    pub(crate) fn is(&self, word: &str) -> bool {
        matches!(&self.kind, Kind::Word(own) if own == word)
    }

    /// Whether this is the sign `sign`.
    pub(crate) fn is_sign(&self, sign: char) -> bool {
        self.kind == Kind::Sign(sign)
    }

    /// The word, if it is one.
    pub(crate) fn word(&self) -> Option<&str> {
        if let Kind::Word(word) = &self.kind {
            Some(word)
        } else {
            None
        }
    }
}

/// Cuts `source` into tokens.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        chars: source.chars().collect(),
        at: 0,
        line: 1,
        out: Vec::new(),
    };
    while lexer.at < lexer.chars.len() {
        lexer.token();
    }
    lexer.out
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    out: Vec<Token>,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn advance(&mut self, count: usize) {
        for _ in 0..count {
            if self.peek(0) == '\n' {
                self.line += 1;
            }
            self.at += 1;
        }
    }

    fn push(&mut self, kind: Kind, line: usize) {
        self.out.push(Token { kind, line });
    }

    fn token(&mut self) {
        let line = self.line;
        match self.peek(0) {
            c if c.is_whitespace() => self.advance(1),
            '/' if self.peek(1) == '/' => self.line_comment(),
            '/' if self.peek(1) == '*' => self.block_comment(),
            '"' => self.string(line),
            '\'' => self.quote(line),
            c if c.is_alphabetic() || c == '_' => self.word(line),
            c if c.is_ascii_digit() => self.number(line),
            c => {
                self.advance(1);
                self.push(Kind::Sign(c), line);
            }
        }
    }

    fn line_comment(&mut self) {
        while self.at < self.chars.len() && self.peek(0) != '\n' {
            self.advance(1);
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0usize;
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => {
                    depth += 1;
                    self.advance(2);
                }
                ('*', '/') => {
                    depth -= 1;
                    self.advance(2);
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.advance(1),
            }
        }
    }

    fn string(&mut self, line: usize) {
        self.advance(1);
        while self.at < self.chars.len() && self.peek(0) != '"' {
            self.advance(if self.peek(0) == '\\' { 2 } else { 1 });
        }
        self.advance(1);
        self.push(Kind::Literal, line);
    }

    fn raw_string(&mut self, line: usize) {
        let mut hashes = 0;
        while self.peek(0) == '#' {
            hashes += 1;
            self.advance(1);
        }
        self.advance(1);
        while self.at < self.chars.len() {
            let closed = self.peek(0) == '"' && (1..=hashes).all(|ahead| self.peek(ahead) == '#');
            self.advance(1);
            if closed {
                self.advance(hashes);
                break;
            }
        }
        self.push(Kind::Literal, line);
    }

    /// A character literal, or a lifetime (which is dropped).
    fn quote(&mut self, line: usize) {
        if self.peek(1) == '\\' {
            self.advance(3);
            while self.at < self.chars.len() && self.peek(0) != '\'' {
                self.advance(1);
            }
            self.advance(1);
            self.push(Kind::Literal, line);
        } else if self.peek(2) == '\'' {
            self.advance(3);
            self.push(Kind::Literal, line);
        } else {
            self.advance(1);
            while self.peek(0).is_alphanumeric() || self.peek(0) == '_' {
                self.advance(1);
            }
        }
    }

    fn word(&mut self, line: usize) {
        let start = self.at;
        while self.peek(0).is_alphanumeric() || self.peek(0) == '_' {
            self.advance(1);
        }
        let word: String = self.chars[start..self.at].iter().collect();
        let raw = matches!(word.as_str(), "r" | "br" | "cr");
        match self.peek(0) {
            '"' if raw => self.raw_string(line),
            '#' if raw && matches!(self.peek(1), '"' | '#') => self.raw_string(line),
            '#' if word == "r" => self.advance(1),
            '"' if matches!(word.as_str(), "b" | "c") => self.string(line),
            '\'' if word == "b" => self.quote(line),
            _ => self.push(Kind::Word(word), line),
        }
    }

    fn number(&mut self, line: usize) {
        while self.peek(0).is_alphanumeric() || self.peek(0) == '_' {
            self.advance(1);
        }
        if self.peek(0) == '.' && self.peek(1).is_ascii_digit() {
            self.advance(1);
            self.number(line);
            return;
        }
        self.push(Kind::Literal, line);
    }
}

/// The tokens without the items that stand under `#[cfg(test)]` or `#[cfg(all(test, …))]`.
pub(crate) fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        if is_test_attribute(&tokens[at..]) {
            at = end_of_item(tokens, at);
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

fn is_test_attribute(tokens: &[Token]) -> bool {
    let cfg = tokens.len() > 5
        && tokens[0].is_sign('#')
        && tokens[1].is_sign('[')
        && tokens[2].is("cfg")
        && tokens[3].is_sign('(');
    cfg && (tokens[4].is("test")
        || (tokens[4].is("all") && tokens.get(6).is_some_and(|t| t.is("test"))))
}

/// Index after the item that starts at `at` with its attributes.
fn end_of_item(tokens: &[Token], mut at: usize) -> usize {
    while at + 1 < tokens.len() && tokens[at].is_sign('#') && tokens[at + 1].is_sign('[') {
        at = after_group(tokens, at + 1);
    }
    while at < tokens.len() {
        match tokens[at].kind {
            Kind::Sign(';') => return at + 1,
            Kind::Sign('{') => {
                let end = after_group(tokens, at);
                // `use a::{b, c};` ends at its semicolon, not at its brace.
                return if tokens.get(end).is_some_and(|token| token.is_sign(';')) {
                    end + 1
                } else {
                    end
                };
            }
            Kind::Sign('(' | '[') => at = after_group(tokens, at),
            _ => at += 1,
        }
    }
    at
}

/// Index after the group whose opening bracket stands at `at`.
fn after_group(tokens: &[Token], mut at: usize) -> usize {
    let mut depth = 0usize;
    while at < tokens.len() {
        match tokens[at].kind {
            Kind::Sign('(' | '[' | '{') => depth += 1,
            Kind::Sign(')' | ']' | '}') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<String> {
        let all = tokens(source);
        all.iter()
            .filter_map(|token| token.word().map(str::to_owned))
            .collect()
    }

    #[test]
    fn comments_and_strings_carry_no_words() {
        let source = r##"a // b
            /* c /* d */ e */ f "g \" h" r#"i " j"# b"k" 'l' b'm' '\'' 'n: &'o str"##;
        assert_eq!(words(source), ["a", "f", "str"]);
    }

    #[test]
    fn lines_are_counted_through_strings() {
        let all = tokens("\"x\ny\"\nz");
        assert_eq!(all[1].line, 3);
    }

    #[test]
    fn test_items_are_left_out() {
        let source =
            "use a; #[cfg(test)] mod tests { fn b() {} } #[cfg(all(test, feature = \"f\"))]
            #[allow(x)] use c::{d, e}; #[cfg(feature = \"test\")] fn g() {}";
        let kept = without_tests(&tokens(source));
        let kept: Vec<_> = kept.iter().filter_map(Token::word).collect();
        assert_eq!(kept, ["use", "a", "cfg", "feature", "fn", "g"]);
    }
}
