//! Keys as text: Bech32 (BIP 173) without its bound on length.

const LETTERS: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
/// Symbols of the checksum.
const CHECK: usize = 6;

/// The 32 bytes that `text` stands for under this lower-case prefix.
pub(super) fn decode(prefix: &str, text: &str) -> Option<[u8; 32]> {
    let mixed = text.bytes().any(|b| b.is_ascii_lowercase())
        && text.bytes().any(|b| b.is_ascii_uppercase());
    let lower = text.to_ascii_lowercase();
    let data = lower.strip_prefix(prefix)?.strip_prefix('1')?;
    let value = |b: u8| LETTERS.iter().position(|&letter| letter == b);
    let values: Option<Vec<u8>> = data.bytes().map(|b| Some(value(b)? as u8)).collect();
    let values = values.filter(|_| !mixed)?;
    if checksum(prefix, &values) != 1 {
        return None;
    }
    let (values, _) = values.split_at_checked(values.len().checked_sub(CHECK)?)?;
    // 32 bytes are 51 symbols and one bit, which is followed by four bits of padding.
    let mut bytes = [0; 32];
    if values.len() != 52 || values.last()? & 15 != 0 {
        return None;
    }
    for (n, value) in values.iter().enumerate() {
        for bit in 0..5 {
            let at = n * 5 + bit;
            if let Some(byte) = bytes.get_mut(at / 8) {
                *byte |= (value >> (4 - bit) & 1) << (7 - at % 8);
            }
        }
    }
    Some(bytes)
}

/// The text for 32 bytes.
pub(super) fn encode(prefix: &str, bytes: &[u8; 32]) -> String {
    let bit = |at: usize| bytes.get(at / 8).map_or(0, |b| b >> (7 - at % 8) & 1);
    let mut values: Vec<u8> = (0..52)
        .map(|n| (0..5).fold(0, |value, k| value << 1 | bit(n * 5 + k)))
        .collect();
    let data = values.len();
    values.extend([0; CHECK]);
    let check = checksum(prefix, &values) ^ 1;
    for (n, value) in values.iter_mut().skip(data).enumerate() {
        *value = (check >> (5 * (CHECK - 1 - n)) & 31) as u8;
    }
    let letter = |v: &u8| char::from(LETTERS[usize::from(v & 31)]);
    format!("{prefix}1{}", values.iter().map(letter).collect::<String>())
}

fn checksum(prefix: &str, values: &[u8]) -> u32 {
    const STEPS: [u32; 5] = [
        0x3b6a_57b2,
        0x2650_8e6d,
        0x1ea1_19fa,
        0x3d42_33dd,
        0x2a14_62b3,
    ];
    let high = prefix.bytes().map(|b| b >> 5);
    let low = prefix.bytes().map(|b| b & 31);
    let all = high.chain([0]).chain(low).chain(values.iter().copied());
    all.fold(1, |sum: u32, value| {
        let top = sum >> 25;
        let next = (sum & 0x01ff_ffff) << 5 ^ u32::from(value);
        let steps = STEPS.iter().enumerate().filter(|(n, _)| top >> n & 1 == 1);
        steps.fold(next, |sum, (_, step)| sum ^ step)
    })
}
