//! Data bound to a call: typed values by name, bounded, with a form for the wire.

pub mod carriage;
pub mod reference;

use std::collections::BTreeMap;

/// The most bytes of a call's data, encoded: 32 KiB.
pub const MAX_BYTES: usize = 32 * 1024;

/// The longest name, in bytes.
pub const MAX_KEY_BYTES: usize = 64;

/// The most values.
pub const MAX_VALUES: usize = 256;

/// The first byte of the encoded form: its version.
const VERSION: u8 = 1;

/// Bytes of an entry beside its name and value: the lengths of both, and the value's kind.
const OVERHEAD: usize = 4;

/// One value of a call's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text, in UTF-8.
    Text(String),
    /// A number.
    Integer(i64),
    /// Yes or no.
    Boolean(bool),
    /// Anything else.
    Bytes(Vec<u8>),
}

impl Value {
    fn kind(&self) -> u8 {
        match self {
            Self::Text(_) => b's',
            Self::Integer(_) => b'i',
            Self::Boolean(_) => b'b',
            Self::Bytes(_) => b'x',
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Integer(_) => 8,
            Self::Boolean(_) => 1,
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    fn write(&self, to: &mut Vec<u8>) {
        match self {
            Self::Text(text) => to.extend_from_slice(text.as_bytes()),
            Self::Integer(number) => to.extend_from_slice(&number.to_be_bytes()),
            Self::Boolean(yes) => to.push(u8::from(*yes)),
            Self::Bytes(bytes) => to.extend_from_slice(bytes),
        }
    }

    fn read(kind: u8, bytes: &[u8]) -> Result<Self, DataError> {
        match (kind, bytes) {
            (b's', _) => {
                let text = std::str::from_utf8(bytes).map_err(|_| DataError::Broken)?;
                Ok(Self::Text(text.to_owned()))
            }
            (b'i', _) => {
                let number = bytes.try_into().map_err(|_| DataError::Broken)?;
                Ok(Self::Integer(i64::from_be_bytes(number)))
            }
            (b'b', [0]) => Ok(Self::Boolean(false)),
            (b'b', [1]) => Ok(Self::Boolean(true)),
            (b'x', _) => Ok(Self::Bytes(bytes.to_vec())),
            _ => Err(DataError::Broken),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self::Boolean(yes)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// Why data is not taken; nothing has changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The data would be more than [`MAX_BYTES`].
    #[error("call data is more than 32 KiB")]
    TooLarge,
    /// There would be more than [`MAX_VALUES`] values.
    #[error("call data has more than 256 values")]
    TooMany,
    /// A name is empty, longer than [`MAX_KEY_BYTES`], or holds something else than letters, digits,
    /// `-`, `_` and `.`.
    #[error("a name of call data is 1 to 64 letters, digits, -, _ or .")]
    Key,
    /// The encoded form is none: the sender's mistake.
    #[error("call data is broken")]
    Broken,
}

/// What is known of a call: names with typed values, at most [`MAX_BYTES`] of them.
///
/// The encoded form, of type `application/vnd.sidetone.call-data`, is a byte 1, then for each value in
/// ascending order of the names: the name's length (one byte), the name, the kind (`s` text, `i` integer,
/// `b` boolean, `x` bytes), the value's length (two bytes, big-endian), the value. Integers are eight
/// bytes, big-endian, in two's complement; booleans one byte, 0 or 1.
///
/// ```
/// use sidetone::call::data::CallData;
/// let mut data = CallData::default();
/// data.set("customer", "4711")?;
/// data.set("waiting", 3_i64)?;
/// data.set("vip", true)?;
/// assert_eq!(data.text("customer"), Some("4711"));
/// assert_eq!(CallData::decode(&data.encode())?, data);
/// # Ok::<(), sidetone::call::data::DataError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallData {
    values: BTreeMap<String, Value>,
    /// Bytes of all entries, encoded.
    size: usize,
}

impl CallData {
    /// Sets a value; one of that name is replaced.
    ///
    /// # Errors
    /// [`DataError`] where the name is none or it becomes too much.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> Result<(), DataError> {
        let value = value.into();
        if !is_key(key.as_bytes()) {
            return Err(DataError::Key);
        }
        let before = self.values.get(key);
        if before.is_none() && self.values.len() >= MAX_VALUES {
            return Err(DataError::TooMany);
        }
        let freed = before.map_or(0, |before| entry_size(key, before));
        let size = self.size - freed + entry_size(key, &value);
        if 1 + size > MAX_BYTES {
            return Err(DataError::TooLarge);
        }
        self.size = size;
        self.values.insert(key.to_owned(), value);
        Ok(())
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let value = self.values.remove(key)?;
        self.size -= entry_size(key, &value);
        Some(value)
    }

    /// Sets all of `other`'s values.
    ///
    /// # Errors
    /// As [`CallData::set`].
    pub fn merge(&mut self, other: &Self) -> Result<(), DataError> {
        let mut merged = self.clone();
        for (key, value) in &other.values {
            merged.set(key, value.clone())?;
        }
        *self = merged;
        Ok(())
    }

    /// The value of this name.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// The text of this name.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number of this name.
    pub fn integer(&self, key: &str) -> Option<i64> {
        match self.get(key)? {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The yes or no of this name.
    pub fn boolean(&self, key: &str) -> Option<bool> {
        match self.get(key)? {
            Value::Boolean(yes) => Some(*yes),
            _ => None,
        }
    }

    /// The bytes of this name.
    pub fn bytes(&self, key: &str) -> Option<&[u8]> {
        match self.get(key)? {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// All names and values, in ascending order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The length of the encoded form, in bytes.
    pub fn encoded_len(&self) -> usize {
        1 + self.size
    }

    /// The encoded form.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoded = Vec::with_capacity(self.encoded_len());
        encoded.push(VERSION);
        for (key, value) in &self.values {
            // Both lengths were bounded when the value was set.
            encoded.push(key.len() as u8);
            encoded.extend_from_slice(key.as_bytes());
            encoded.push(value.kind());
            encoded.extend_from_slice(&(value.len() as u16).to_be_bytes());
            value.write(&mut encoded);
        }
        encoded
    }

    /// Reads the encoded form.
    ///
    /// # Errors
    /// [`DataError`]: what others send is bounded and checked like one's own.
    pub fn decode(encoded: &[u8]) -> Result<Self, DataError> {
        if encoded.len() > MAX_BYTES {
            return Err(DataError::TooLarge);
        }
        let (&version, mut rest) = encoded.split_first().ok_or(DataError::Broken)?;
        if version != VERSION {
            return Err(DataError::Broken);
        }
        let mut data = Self::default();
        let mut last = String::new();
        while !rest.is_empty() {
            let (key, value, after) = entry(rest)?;
            if key <= last.as_str() {
                return Err(DataError::Broken);
            }
            data.set(key, value)?;
            key.clone_into(&mut last);
            rest = after;
        }
        Ok(data)
    }
}

/// The entry at the start of `bytes`, and what follows it.
fn entry(bytes: &[u8]) -> Result<(&str, Value, &[u8]), DataError> {
    let broken = DataError::Broken;
    let (&key_len, rest) = bytes.split_first().ok_or(broken)?;
    let (key, rest) = rest.split_at_checked(usize::from(key_len)).ok_or(broken)?;
    let (&[kind, high, low], rest) = rest.split_first_chunk().ok_or(broken)?;
    let len = usize::from(u16::from_be_bytes([high, low]));
    let (value, rest) = rest.split_at_checked(len).ok_or(broken)?;
    if !is_key(key) {
        return Err(DataError::Key);
    }
    let key = std::str::from_utf8(key).map_err(|_| broken)?;
    Ok((key, Value::read(kind, value)?, rest))
}

fn entry_size(key: &str, value: &Value) -> usize {
    OVERHEAD + key.len() + value.len()
}

fn is_key(key: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    (1..=MAX_KEY_BYTES).contains(&key.len()) && key.iter().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn sample() -> CallData {
        let mut data = CallData::default();
        data.set("name", "Grüße\r\n\"x\"").unwrap();
        data.set("n", i64::MIN).unwrap();
        data.set("yes", true).unwrap();
        data.set("raw", vec![0, 13, 10, 255]).unwrap();
        data.set("empty", "").unwrap();
        data
    }

    #[test]
    fn what_is_encoded_reads_back() {
        let data = sample();
        let encoded = data.encode();
        assert_eq!(encoded.len(), data.encoded_len());
        assert_eq!(CallData::decode(&encoded), Ok(data.clone()));
        assert_eq!(data.integer("n"), Some(i64::MIN));
        assert_eq!((data.boolean("yes"), data.boolean("n")), (Some(true), None));
        assert_eq!(data.bytes("raw"), Some(&[0, 13, 10, 255][..]));
        assert_eq!(CallData::decode(&[VERSION]), Ok(CallData::default()));
    }

    #[test]
    fn exactly_32_kib_fit() {
        let mut data = CallData::default();
        let room = MAX_BYTES - 1 - OVERHEAD - 1;
        assert_eq!(data.set("a", vec![0; room + 1]), Err(DataError::TooLarge));
        assert!(data.is_empty());
        data.set("a", vec![0; room]).unwrap();
        assert_eq!(data.encode().len(), MAX_BYTES);
        assert_eq!(data.set("b", ""), Err(DataError::TooLarge));
        data.set("a", vec![0; room - 5]).unwrap();
        data.set("b", "").unwrap();
        assert_eq!(CallData::decode(&data.encode()), Ok(data.clone()));
        data.remove("a");
        assert_eq!(data.encoded_len(), data.encode().len());
        let mut long = data.encode();
        long.resize(MAX_BYTES + 1, 0);
        assert_eq!(CallData::decode(&long), Err(DataError::TooLarge));
    }

    #[test]
    fn names_and_their_number_are_bounded() {
        let mut data = CallData::default();
        for bad in ["", "a b", "a\r\n", "ä", &"k".repeat(MAX_KEY_BYTES + 1)] {
            assert_eq!(data.set(bad, 1_i64), Err(DataError::Key), "{bad:?}");
        }
        for index in 0..MAX_VALUES {
            data.set(&format!("k{index}"), 1_i64).unwrap();
        }
        assert_eq!(data.set("one-more", 1_i64), Err(DataError::TooMany));
        assert_eq!(data.set("k0", "other"), Ok(()));
        let before = data.clone();
        assert_eq!(data.merge(&sample()), Err(DataError::TooMany));
        assert_eq!(data, before);
    }

    #[test]
    fn broken_forms_are_refused() {
        let encoded = sample().encode();
        for end in 2..encoded.len() {
            if let Ok(data) = CallData::decode(&encoded[..end]) {
                assert_eq!(data.encode(), &encoded[..end], "a whole number of entries");
            }
        }
        let twice = [&encoded[..], &encoded[1..]].concat();
        assert_eq!(CallData::decode(&twice), Err(DataError::Broken));
        for bad in [
            &b""[..],
            b"\x02",
            b"\x01\x01ab\0\x01\x02",
            b"\x01\x01ai\0\x01\x02",
            b"\x01\x01as\0\x01\xff",
            b"\x01\x01az\0\0",
        ] {
            assert_eq!(CallData::decode(bad), Err(DataError::Broken), "{bad:?}");
        }
        assert_eq!(CallData::decode(b"\x01\x00s\0\0"), Err(DataError::Key));
        let mut rng = Rng::new(7);
        for _ in 0..2_000 {
            let mut broken = encoded.clone();
            let at = rng.below(broken.len() as u64) as usize;
            broken[at] = rng.next_u32() as u8;
            if let Ok(data) = CallData::decode(&broken) {
                assert_eq!(data.encode(), broken);
            }
        }
    }
}
