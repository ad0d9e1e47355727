//! Lexical rules that all SIP wire formats share: byte classes, spans, lists and parameters
//! (RFC 3261 §25.1).

/// A range of bytes inside one header field value.
///
/// Values are at most [`MAX_VALUE_BYTES`] long, so 16 bits do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    start: u16,
    end: u16,
}

/// The longest header field value, in bytes, that typed parsing looks at.
pub(crate) const MAX_VALUE_BYTES: usize = 8 * 1024;

impl Span {
    /// The span `start..end`; both lie inside a value that is at most [`MAX_VALUE_BYTES`] long.
    pub(crate) fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && end <= usize::from(u16::MAX));
        Self {
            start: start as u16,
            end: end as u16,
        }
    }

    /// Where `part`, a piece of `whole`, lies in it.
    pub(crate) fn locate(part: &[u8], whole: &[u8]) -> Self {
        let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
        match start.checked_add(part.len()) {
            Some(end) if end <= whole.len() => Self::new(start, end),
            _ => Self::default(),
        }
    }

    /// The bytes of `within` that this span covers; empty where it does not lie inside.
    pub(crate) fn of(self, within: &[u8]) -> &[u8] {
        within
            .get(usize::from(self.start)..usize::from(self.end))
            .unwrap_or_default()
    }

    /// The covered bytes as text; the caller has checked that they are ASCII.
    pub(crate) fn text(self, within: &[u8]) -> &str {
        std::str::from_utf8(self.of(within)).unwrap_or_default()
    }

    /// Where the span starts.
    pub(crate) fn start(self) -> usize {
        usize::from(self.start)
    }

    /// One past where the span ends.
    pub(crate) fn end(self) -> usize {
        usize::from(self.end)
    }

    /// The same bytes seen from a buffer that starts `by` later.
    pub(crate) fn shifted_down(self, by: usize) -> Self {
        Self::new(self.start() - by, self.end() - by)
    }
}

const TOKEN: u8 = 1;
const USER: u8 = 2;
const PASSWORD: u8 = 4;
const PARAM: u8 = 8;
const HOST: u8 = 16;
const GEN_VALUE: u8 = 32;
const WORD: u8 = 64;
const URIC: u8 = 128;

/// For each byte, the grammar classes that it belongs to.
static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        if b.is_ascii_alphanumeric() {
            table[byte] = TOKEN | USER | PASSWORD | PARAM | HOST | GEN_VALUE | WORD | URIC;
        }
        byte += 1;
    }
    table = mark(table, b"-.!%*_+`'~", TOKEN | GEN_VALUE | WORD);
    // The underscore is in no host name of the RFC, but in many a private network.
    table = mark(table, b"-._", HOST);
    // unreserved = alphanum / mark
    table = mark(table, b"-_.!~*'()", USER | PASSWORD | PARAM | URIC);
    // RFC 3261 wants `#` escaped; phones send service codes such as `*21#` as they are dialled.
    table = mark(table, b"&=+$,;?/#", USER);
    table = mark(table, b"&=+$,", PASSWORD);
    table = mark(table, b"[]/:&+$", PARAM);
    table = mark(table, b";/?:@&=+$,", URIC);
    table = mark(table, b"[]:/@=$&?", GEN_VALUE);
    table = mark(table, b"()<>:\\\"/[]?{}", WORD);
    table
}

const fn mark(mut table: [u8; 256], bytes: &[u8], class: u8) -> [u8; 256] {
    let mut i = 0;
    while i < bytes.len() {
        table[bytes[i] as usize] |= class;
        i += 1;
    }
    table
}

fn is_class(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

/// Whether `byte` may stand in a token.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    is_class(byte, TOKEN)
}

/// Whether `bytes` is a token (RFC 3261 §25.1): not empty, token bytes only.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| is_class(b, TOKEN))
}

/// Whether `byte` may stand in a host name or IPv4 address.
pub(crate) fn is_host_byte(byte: u8) -> bool {
    is_class(byte, HOST)
}

/// Whether `bytes` is `word [ "@" word ]`, the form of a Call-ID.
pub(crate) fn is_call_id(bytes: &[u8]) -> bool {
    let is_word = |part: &[u8]| !part.is_empty() && part.iter().all(|&b| is_class(b, WORD));
    match bytes.iter().position(|&b| b == b'@') {
        Some(at) => is_word(&bytes[..at]) && is_word(&bytes[at + 1..]),
        None => is_word(bytes),
    }
}

/// Whether `bytes` is the user part of a URI, escapes included.
pub(crate) fn is_user(bytes: &[u8]) -> bool {
    !bytes.is_empty() && is_escaped_class(bytes, USER)
}

/// Whether `bytes` is the password part of a URI, escapes included.
pub(crate) fn is_password(bytes: &[u8]) -> bool {
    is_escaped_class(bytes, PASSWORD)
}

/// Whether `bytes` are `paramchar`s of a URI parameter, escapes included.
pub(crate) fn is_uri_param(bytes: &[u8]) -> bool {
    is_escaped_class(bytes, PARAM)
}

/// Whether `bytes` are `uric`s (RFC 2396): what an opaque URI is made of.
pub(crate) fn is_uric(bytes: &[u8]) -> bool {
    is_escaped_class(bytes, URIC)
}

/// Whether `bytes` are an unquoted parameter value: a token or a host, and a few bytes more that
/// peers send unquoted without doing harm.
pub(crate) fn is_gen_value(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| is_class(b, GEN_VALUE))
}

fn is_escaped_class(bytes: &[u8], class: u8) -> bool {
    let mut i = 0;
    while let Some(&byte) = bytes.get(i) {
        if is_class(byte, class) {
            i += 1;
            continue;
        }
        let hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
        if byte != b'%' || !hex(i + 1) || !hex(i + 2) {
            return false;
        }
        i += 3;
    }
    true
}

/// Whether `byte` is linear white space: space, tab, or a byte of a line fold.
pub(crate) fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The first index at or after `from` that is not linear white space.
pub(crate) fn skip_lws(bytes: &[u8], from: usize) -> usize {
    let mut i = from;
    while bytes.get(i).is_some_and(|&b| is_lws(b)) {
        i += 1;
    }
    i
}

/// `bytes` without linear white space at both ends.
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let mut bytes = bytes;
    while let [first, rest @ ..] = bytes
        && is_lws(*first)
    {
        bytes = rest;
    }
    trim_end(bytes)
}

/// `bytes` without linear white space at its end.
pub(crate) fn trim_end(bytes: &[u8]) -> &[u8] {
    let mut bytes = bytes;
    while let [rest @ .., last] = bytes
        && is_lws(*last)
    {
        bytes = rest;
    }
    bytes
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The high bit of each byte of `word` that equals the bytes of `pattern`; the lowest mark is
/// exact, marks above it may be false.
fn equal_bytes(word: u64, pattern: u64) -> u64 {
    let difference = word ^ pattern;
    difference.wrapping_sub(ONES) & !difference & HIGHS
}

/// The index of the first `needle`; eight bytes a step.
pub(crate) fn find_byte(bytes: &[u8], needle: u8) -> Option<usize> {
    find_either(bytes, needle, needle)
}

/// The index of the first byte that is `a` or `b`; eight bytes a step.
#[inline]
pub(crate) fn find_either(bytes: &[u8], a: u8, b: u8) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    let (pattern_a, pattern_b) = (ONES * u64::from(a), ONES * u64::from(b));
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = equal_bytes(word, pattern_a) | equal_bytes(word, pattern_b);
        if found != 0 {
            return Some(index * 8 + (found.trailing_zeros() / 8) as usize);
        }
    }
    let len = rest.iter().position(|&byte| byte == a || byte == b)?;
    Some(words.len() * 8 + len)
}

/// The index of the first ASCII control byte at or after `from`, or the length; eight bytes a step.
pub(crate) fn find_control(bytes: &[u8], from: usize) -> usize {
    let (words, rest) = bytes.get(from..).unwrap_or_default().as_chunks::<8>();
    let mut at = from;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let below_space = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let found = below_space | equal_bytes(word, ONES * 0x7f);
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let len = rest.iter().position(u8::is_ascii_control);
    len.map_or(bytes.len(), |len| at + len)
}

/// The index just past the quoted string that opens at `open`, or `None` where it never closes.
pub(crate) fn quoted_end(bytes: &[u8], open: usize) -> Option<usize> {
    let mut i = open + 1;
    loop {
        match *bytes.get(i)? {
            b'"' => return Some(i + 1),
            b'\\' => i += 2,
            _ => i += 1,
        }
    }
}

/// The first index at or after `from` of `stop` outside quoted strings and angle brackets, or the
/// length. A quoted string that never closes runs to the end.
pub(crate) fn find_outside(bytes: &[u8], from: usize, stop: u8) -> usize {
    let mut i = from;
    let mut in_angle = false;
    while let Some(&byte) = bytes.get(i) {
        match byte {
            b'"' if !in_angle => match quoted_end(bytes, i) {
                Some(end) => {
                    i = end;
                    continue;
                }
                None => return bytes.len(),
            },
            b'<' => in_angle = true,
            b'>' => in_angle = false,
            _ if byte == stop && !in_angle => return i,
            _ => {}
        }
        i += 1;
    }
    bytes.len()
}

/// A number of decimal digits only, at most `max`; `None` for anything else.
pub(crate) fn number(bytes: &[u8], max: u64) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    let mut value: u64 = 0;
    for &byte in bytes {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
    }
    (value <= max).then_some(value)
}

/// A `;name=value` parameter as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param<'a> {
    /// The name; compare it without regard to case.
    pub name: &'a [u8],
    /// The value, quotes included where it was quoted; `None` for a parameter without `=`.
    pub value: Option<&'a [u8]>,
}

impl<'a> Param<'a> {
    /// Whether this parameter is called `name`, whatever the case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The value without quotes and escapes, as text; invalid UTF-8 is replaced. Empty where the
    /// parameter has no value.
    pub fn text(&self) -> std::borrow::Cow<'a, str> {
        unquote(self.value.unwrap_or_default())
    }
}

/// `bytes` as text: without quotes and escapes where they are a quoted string.
pub(crate) fn unquote(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    let Some(inner) = bytes
        .strip_prefix(b"\"")
        .and_then(|b| b.strip_suffix(b"\""))
    else {
        return String::from_utf8_lossy(bytes);
    };
    if !inner.contains(&b'\\') {
        return String::from_utf8_lossy(inner);
    }
    let mut plain = Vec::with_capacity(inner.len());
    let mut escaped = false;
    for &byte in inner {
        if byte == b'\\' && !escaped {
            escaped = true;
            continue;
        }
        escaped = false;
        plain.push(byte);
    }
    String::from_utf8_lossy(&plain).into_owned().into()
}

/// The parameters of a header field value, in order: `;name`, `;name=value`, `;name="text"`.
///
/// Iteration ends at the first one that breaks the grammar; `check_params` tells whether any does.
#[derive(Debug, Clone)]
pub struct Params<'a> {
    rest: &'a [u8],
}

impl<'a> Params<'a> {
    /// Parameters of `bytes`, which is empty or starts at the first `;`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The first parameter called `name`, whatever the case.
    pub fn named(&self, name: &str) -> Option<Param<'a>> {
        self.clone().find(|param| param.is(name))
    }
}

impl<'a> Iterator for Params<'a> {
    type Item = Param<'a>;

    fn next(&mut self) -> Option<Param<'a>> {
        match next_param(self.rest) {
            Some((param, rest)) => {
                self.rest = rest;
                Some(param)
            }
            None => {
                self.rest = &[];
                None
            }
        }
    }
}

/// Checks that `bytes` is `*( SEMI generic-param )` and nothing else, and that the parameter called
/// `name` stands once at most; the inner value is its value (empty where it has none).
pub(crate) fn scan_params<'a>(bytes: &'a [u8], name: &str) -> Option<Option<&'a [u8]>> {
    let mut rest = trim(bytes);
    let mut found = None;
    while !rest.is_empty() {
        let (param, after) = next_param(rest)?;
        if param.is(name) && found.replace(param.value.unwrap_or_default()).is_some() {
            return None;
        }
        rest = after;
    }
    Some(found)
}

/// Whether `bytes` is `*( SEMI generic-param )` and nothing else.
pub(crate) fn check_params(bytes: &[u8]) -> bool {
    scan_params(bytes, "").is_some()
}

/// The parameter at the start of `bytes` and what follows it.
fn next_param(bytes: &[u8]) -> Option<(Param<'_>, &[u8])> {
    let start = skip_lws(bytes, 0);
    if bytes.get(start) != Some(&b';') {
        return None;
    }
    let name_start = skip_lws(bytes, start + 1);
    let mut name_end = name_start;
    while bytes.get(name_end).is_some_and(|&b| is_class(b, TOKEN)) {
        name_end += 1;
    }
    let name = &bytes[name_start..name_end];
    if name.is_empty() {
        return None;
    }
    let equals = skip_lws(bytes, name_end);
    if bytes.get(equals) != Some(&b'=') {
        let after = bytes.get(equals..)?;
        return matches!(after.first(), None | Some(b';'))
            .then_some((Param { name, value: None }, after));
    }
    let value_start = skip_lws(bytes, equals + 1);
    let value_end = param_value_end(bytes, value_start)?;
    let value = &bytes[value_start..value_end];
    let after = &bytes[skip_lws(bytes, value_end)..];
    matches!(after.first(), None | Some(b';')).then_some((
        Param {
            name,
            value: Some(value),
        },
        after,
    ))
}

fn param_value_end(bytes: &[u8], start: usize) -> Option<usize> {
    if bytes.get(start) == Some(&b'"') {
        return quoted_end(bytes, start);
    }
    let mut end = start;
    while bytes.get(end).is_some_and(|&b| is_class(b, GEN_VALUE)) {
        end += 1;
    }
    (end > start).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_keep_order_quotes_and_flags() {
        let params = Params::new(b" ; a = 1 ;b;c=\"x;\\\"y\" ");
        let all: Vec<_> = params
            .clone()
            .map(|p| (p.name, p.text().into_owned()))
            .collect();
        assert_eq!(
            all,
            [
                (&b"a"[..], "1".to_string()),
                (&b"b"[..], String::new()),
                (&b"c"[..], "x;\"y".to_string())
            ]
        );
        assert!(params.named("C").is_some());
    }

    #[test]
    fn broken_parameters_are_refused() {
        for bad in [";", ";;a", ";a=", ";a=\"x", ";a=1 2", "a", ";a b", ";a=<x>"] {
            assert!(!check_params(bad.as_bytes()), "{bad}");
        }
        for good in ["", " ", ";a", ";a=[::1]", ";a=2001:db8::1;b=\"\""] {
            assert!(check_params(good.as_bytes()), "{good}");
        }
    }

    #[test]
    fn lists_split_outside_quotes_and_brackets() {
        let text = b"\"a,b\" <sip:c,d@e>;f=\"g,\\\"h\" , next";
        assert_eq!(find_outside(text, 0, b','), 28);
    }

    #[test]
    fn control_bytes_are_found_at_every_offset() {
        for control in [0, 1, b'\t', b'\n', b'\r', 0x1f, 0x7f] {
            for at in 0..20 {
                let mut text = vec![0xe9; 20];
                text[at] = control;
                for from in 0..20 {
                    let expected = if from <= at { at } else { 20 };
                    assert_eq!(
                        find_control(&text, from),
                        expected,
                        "{control:#x} {at} {from}"
                    );
                }
            }
        }
        let plain: Vec<u8> = (0x20..0x7f).chain(0x80..=0xff).collect();
        assert_eq!(find_control(&plain, 0), plain.len());
    }

    #[test]
    fn bytes_are_found_at_every_offset() {
        for at in 0..20 {
            let mut text = [b'a' + 1; 20];
            text[at] = b'a';
            assert_eq!(find_byte(&text, b'a'), Some(at));
            assert_eq!(find_either(&text, b'x', b'a'), Some(at));
            assert_eq!(find_byte(&text, b'x'), None);
        }
    }

    #[test]
    fn numbers_have_digits_only_and_a_bound() {
        assert_eq!(number(b"0070", 255), Some(70));
        for bad in ["", "+1", "-1", "1 ", "256", "99999999999999999999999"] {
            assert_eq!(number(bad.as_bytes(), 255), None, "{bad}");
        }
    }
}
