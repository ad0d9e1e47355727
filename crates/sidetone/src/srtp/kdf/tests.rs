//! The key derivation vectors of RFC 3711 appendix B.3 and RFC 6188 §7.

use super::*;
use crate::srtp::suite::Suite;

fn bytes(hex: &str) -> Vec<u8> {
    let hex: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    let pair = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).expect("hex");
    hex.chunks(2).map(pair).collect()
}

#[test]
fn rfc_3711_b_3() {
    let key = bytes("E1F97A0D3E018BE0D64FA32C06DE4139");
    let salt = bytes("0EC675AD498AFEEBB6960B3AABE6");
    let master = MasterKey::new(Suite::AesCm128HmacSha1_80, &key, &salt).expect("lengths");
    let encryption = derive::<16>(&master, RTP.encryption);
    assert_eq!(*encryption, *bytes("C61E7A93744F39EE10734AFE3FF7A087"));
    let salt = derive::<14>(&master, RTP.salt);
    assert_eq!(*salt, *bytes("30CBBC08863D8C85D49DB34A9AE1"));
    let authentication = derive::<96>(&master, RTP.authentication);
    let expected = "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCEE049646C43D932\
                    7AD175578EF72270986371C10C9A369AC2F94A8C5FBCDDDC256D6E919A48B610EF17C2041E4740\
                    35766B68642C59BBFC2F34DB60DBDFB2DC68";
    assert_eq!(*authentication, *bytes(expected));
}

#[test]
fn rfc_6188_7_2() {
    let key = bytes("f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6");
    let salt = bytes("3b04803de51ee7c96423ab5b78d2");
    let master = MasterKey::new(Suite::AesCm256HmacSha1_80, &key, &salt).expect("lengths");
    let encryption = derive::<32>(&master, RTP.encryption);
    let expected = "5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4";
    assert_eq!(*encryption, *bytes(expected));
    assert_eq!(
        *derive::<14>(&master, RTP.salt),
        *bytes("fa31791685ca444a9e07c6c64e93")
    );
    let authentication = derive::<20>(&master, RTP.authentication);
    assert_eq!(
        *authentication,
        *bytes("fd9c32d39ed5fbb5a9dc96b30818454d1313dc05")
    );
}
