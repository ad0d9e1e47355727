//! Vectors by session key: the packets of RFC 7714, the key stream of RFC 3711 appendix B.2.

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let hex: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    let pair = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).expect("hex");
    hex.chunks(2).map(pair).collect()
}

fn gcm(key_len: u8) -> Transform {
    let key: Vec<u8> = (0..key_len).collect();
    let algorithm = if key_len == 16 {
        &AES_128_GCM
    } else {
        &AES_256_GCM
    };
    Transform {
        cipher: Cipher::Gcm {
            key: LessSafeKey::new(UnboundKey::new(algorithm, &key).expect("length")),
            salt: Zeroizing::new(*b"Quid pro quo"),
        },
        rtp_tag: 16,
    }
}

#[test]
fn rfc_3711_b_2_key_stream() {
    let aes = Aes::Short(Aes128::new(
        &[
            0x2B, 0x7E, 0x15, 0x16, 0x28, 0xAE, 0xD2, 0xA6, 0xAB, 0xF7, 0x15, 0x88, 0x09, 0xCF,
            0x4F, 0x3C,
        ]
        .into(),
    ));
    let mut salt = [0; 14];
    salt.copy_from_slice(&bytes("F0F1F2F3F4F5F6F7F8F9FAFBFCFD"));
    let place = Place { ssrc: 0, index: 0 };
    // The whole stream of the appendix, all of its 0xFF02 blocks.
    let mut stream = vec![0; 0xFF02 * 16];
    aes.apply(&counter(&salt, place), &mut stream);
    let blocks: Vec<_> = stream.chunks(16).collect();
    for (block, expected) in [
        (0, "E03EAD0935C95E80E166B16DD92B4EB4"),
        (1, "D23513162B02D0F72A43A2FE4A5F97AB"),
        (2, "41E95B3BB0A2E8DD477901E4FCA894C0"),
        (0xFEFF, "EC8CDF7398607CB0F2D21675EA9EA1E4"),
        (0xFF00, "362B7C3C6773516318A077D7FC5073AE"),
        (0xFF01, "6A2CC3787889374FBEB4C81B17BA6C44"),
    ] {
        assert_eq!(blocks[block], bytes(expected), "block {block:#x}");
    }
}

#[test]
fn rfc_7714_16_packets_both_ways() {
    let plain = bytes(
        "8040f17b8041f8d35501a0b247616c6c696120657374206f6d6e69732064697669736120696e207061727465\
         732074726573",
    );
    for (key_len, expected) in [
        (
            16,
            "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7\
             d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce",
        ),
        (
            32,
            "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ff\
             ae0f1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
        ),
    ] {
        let transform = gcm(key_len);
        let place = Place {
            ssrc: 0x5501_A0B2,
            index: 0xF17B,
        };
        let mut packet = [0; 100];
        packet[..plain.len()].copy_from_slice(&plain);
        let length = transform.protect_rtp(&mut packet, 12, plain.len(), place, &[]);
        let length = length.expect("room");
        assert_eq!(packet[..length], bytes(expected));
        let opened = transform.unprotect_rtp(&mut packet[..length], 12, place, 0, None);
        assert_eq!(opened, Ok(plain.len()));
        assert_eq!(packet[..plain.len()], plain);
    }
}

#[test]
fn rfc_7714_17_packets_both_ways() {
    let plain = bytes(
        "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeef\
         deadbeefdeadbeef",
    );
    for (key_len, expected) in [
        (
            16,
            "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce0\
             9b4686303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4",
        ),
        (
            32,
            "81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415\
             f658c61de0476f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4",
        ),
    ] {
        let transform = gcm(key_len);
        let place = Place {
            ssrc: u32::from_be_bytes(*b"Mars"),
            index: 0x5D4,
        };
        let mut packet = [0; 100];
        packet[..plain.len()].copy_from_slice(&plain);
        let length = transform.protect_rtcp(&mut packet, plain.len(), place, &[]);
        let length = length.expect("room");
        assert_eq!(packet[..length], bytes(expected));
        let opened = transform.unprotect_rtcp(&mut packet[..length], place, 0, None);
        assert_eq!(opened, Ok(plain.len()));
        assert_eq!(packet[..plain.len()], plain);
    }
}
