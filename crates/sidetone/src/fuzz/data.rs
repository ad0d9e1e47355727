//! Call data and bodies of several parts: nothing panics, what is taken prints back.

use bytes::Bytes;

use crate::call::data::CallData;
use crate::call::data::reference::ReferenceKey;
use crate::sip::message::multipart::{Part, parts, print};
use crate::time::WallTime;

/// Any bytes as the encoded form, as a body of several parts, and as a reference.
pub fn call_data(data: &[u8]) {
    if let Ok(read) = CallData::decode(data) {
        assert_eq!(read.encode(), data, "two forms of one thing");
        assert_eq!(read.encoded_len(), data.len());
        let mut merged = CallData::default();
        assert_eq!(merged.merge(&read), Ok(()));
        assert_eq!(merged, read);
    }
    let body = Bytes::copy_from_slice(data);
    if let Some(read) = parts("multipart/mixed;boundary=b", &body) {
        let (content_type, printed) = print(&read);
        let again = parts(&content_type, &printed.into()).expect("what is printed parses");
        let same = |(a, b): (&Part, &Part)| a.body() == b.body();
        assert_eq!(again.len(), read.len());
        assert!(again.iter().zip(&read).all(same), "printing changed a part");
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(key) = ReferenceKey::new(&[7; 16])
    {
        assert!(key.verify(text, WallTime::default()).is_err(), "forged");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn seeds_and_their_mutants_keep_every_promise() {
        crate::fuzz::run_seeds("call_data", call_data);
        let mut data = CallData::default();
        data.set("a", "b").expect("room");
        data.set("n", 1_i64).expect("room");
        let seeds = [
            data.encode(),
            b"--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b\r\n\r\n\r\n--b--".to_vec(),
        ];
        for round in 0..20_000 {
            let mut rng = Rng::new(round);
            let mut data = seeds[rng.below(2) as usize].clone();
            for _ in 0..=rng.below(3) {
                let at = rng.below(data.len() as u64) as usize;
                match rng.below(3) {
                    0 => data[at] = rng.next_u32() as u8,
                    1 => data.insert(at, b"\r\n-b:\x01"[rng.below(6) as usize]),
                    _ => data.extend_from_within(at..),
                }
            }
            call_data(&data);
        }
    }
}
