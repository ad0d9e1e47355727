//! Files of this module and of others, and what is none.

use super::*;
use crate::rng::Rng;

fn drawn(seed: u64) -> impl FnMut(&mut [u8]) -> io::Result<()> {
    let mut rng = Rng::new(seed);
    move |bytes| {
        bytes.fill_with(|| rng.next_u32() as u8);
        Ok(())
    }
}

/// A key pair that `age-keygen` made.
const SECRET: &str = "AGE-SECRET-KEY-1GCCGTZ0MYV0LG8WAFD79FGC4Y4SG5W0TQZCLPWJRK3RJ25ZGZMRQTRJ5Q5";
const PUBLIC: &str = "age1sv0vq0n89u7kmnucvd7c0r8gar04ghdu254nxrv0xla45rpjwudqcl9rlm";

fn identity(seed: u64) -> Identity {
    let bytes = random::<32>(&mut drawn(seed)).expect("numbers");
    let text = bech32::encode("age-secret-key-", &bytes).to_ascii_uppercase();
    Identity::parse(&text).expect("a key")
}

#[test]
fn the_public_half_is_what_age_keygen_says() {
    let identity = Identity::read(&format!("# created: then\n# public key: x\n{SECRET}\n"));
    let recipient = identity.and_then(|it| it.recipient()).expect("a key");
    assert_eq!(recipient.to_string(), PUBLIC);
    for wrong in [
        "",
        "age1",
        PUBLIC,
        &SECRET.to_lowercase()[..70],
        &SECRET.replace('Q', "P"),
    ] {
        assert!(Identity::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn every_recipient_reads_it_and_nobody_else() {
    let readers = [1, 2, 3].map(identity);
    let recipients = readers.each_ref().map(|it| it.recipient().expect("a key"));
    let file = encrypt(&recipients, b"the key", &mut drawn(9)).expect("a file");
    for reader in &readers {
        assert_eq!(
            *decrypt(reader, &file).expect("readable"),
            b"the key".to_vec()
        );
    }
    assert_eq!(decrypt(&identity(4), &file), Err(AgeError::NotForUs));
    assert_eq!(encrypt(&[], b"", &mut drawn(1)), Err(AgeError::Recipients));
}

#[test]
fn no_bit_can_be_changed_and_nothing_cut_off() {
    let reader = identity(1);
    let recipients = [reader.recipient().expect("a key")];
    let file = encrypt(&recipients, &[5; 32], &mut drawn(9)).expect("a file");
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut altered = file.clone();
            altered[at] ^= 1 << bit;
            assert!(decrypt(&reader, &altered).is_err(), "byte {at}");
        }
        assert!(decrypt(&reader, &file[..at]).is_err(), "cut at {at}");
    }
}
