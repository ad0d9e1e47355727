//! Challenges and credentials: WWW-Authenticate, Authorization, their proxy forms, and
//! Authentication-Info (RFC 3261 §20.6, §20.7, §20.44, RFC 7616 §3).

use std::fmt::{self, Write as _};

use crate::sip::header::Problem;
use crate::sip::lex::{self, MAX_VALUE_BYTES};

/// Parameters that one challenge or one set of credentials has at most.
const MAX_PARAMS: usize = 32;

/// The parameters after the scheme `Digest`, each name once.
#[derive(Clone, PartialEq, Eq)]
struct Fields(Vec<(String, String)>);

impl Fields {
    fn parse(raw: &[u8]) -> Result<Self, Problem> {
        let scheme = raw.iter().take_while(|&&b| lex::is_token_byte(b)).count();
        if !raw[..scheme].eq_ignore_ascii_case(b"Digest") {
            return Err(Problem::Syntax("not the scheme Digest"));
        }
        let at = lex::skip_lws(raw, scheme);
        if at == scheme {
            return Err(Problem::Syntax("no parameters"));
        }
        Self::parse_from(raw, at)
    }

    /// The parameters from `at` on.
    fn parse_from(raw: &[u8], mut at: usize) -> Result<Self, Problem> {
        if raw.len() > MAX_VALUE_BYTES {
            return Err(Problem::TooLong);
        }
        let mut fields = Vec::new();
        loop {
            let end = lex::find_outside(raw, at, b',');
            let (name, value) = split(&raw[at..end])?;
            if fields.len() == MAX_PARAMS {
                return Err(Problem::TooLong);
            }
            if fields.iter().any(|(known, _)| *known == name) {
                return Err(Problem::Syntax("parameter repeated"));
            }
            fields.push((name, value));
            if end >= raw.len() {
                return Ok(Self(fields));
            }
            at = lex::skip_lws(raw, end + 1);
        }
    }

    fn of(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn needed(&self, name: &str, missing: &'static str) -> Result<String, Problem> {
        let value = self.of(name).ok_or(Problem::Syntax(missing))?;
        Ok(value.to_owned())
    }
}

/// `name = value`, the name in lower case, the value without quotes.
fn split(part: &[u8]) -> Result<(String, String), Problem> {
    const SYNTAX: Problem = Problem::Syntax("no name=value");
    let equals = lex::find_byte(part, b'=').ok_or(SYNTAX)?;
    let (name, value) = (lex::trim(&part[..equals]), lex::trim(&part[equals + 1..]));
    let quoted = value.first() == Some(&b'"') && lex::quoted_end(value, 0) == Some(value.len());
    if !lex::is_token(name) || !(quoted || lex::is_token(value)) {
        return Err(SYNTAX);
    }
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let value = lex::unquote(value);
    if value.contains(|c: char| c.is_control()) {
        return Err(Problem::Syntax("control character"));
    }
    Ok((name, value.into_owned()))
}

/// Writes `name="value"`, escaped.
fn quoted(out: &mut String, name: &str, value: &str) {
    let _ = write!(out, ", {name}=\"");
    for c in value.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

/// One challenge of a 401 or 407: WWW-Authenticate or Proxy-Authenticate (RFC 7616 §3.3).
///
/// ```
/// use sidetone::sip::header::auth::Challenge;
/// let challenge = Challenge::parse(br#"Digest realm="a.example", nonce="n1", qop="auth,auth-int""#)?;
/// assert_eq!(challenge.realm, "a.example");
/// assert_eq!(challenge.qop, ["auth", "auth-int"]);
/// assert_eq!(challenge.algorithm, None);
/// assert!(Challenge::parse(b"Basic realm=\"x\"").is_err());
/// # Ok::<(), sidetone::sip::header::Problem>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Whose password is asked for.
    pub realm: String,
    /// The server's nonce, opaque to the client.
    pub nonce: String,
    /// To be sent back as it is.
    pub opaque: Option<String>,
    /// The algorithm's token; `None` means MD5.
    pub algorithm: Option<String>,
    /// The qualities of protection on offer, in the server's order; empty where the server speaks
    /// RFC 2069 only.
    pub qop: Vec<String>,
    /// The credentials were good but for the nonce's age: try again without asking a person.
    pub stale: bool,
}

impl Challenge {
    /// Parses the value of the header field.
    ///
    /// # Errors
    /// [`Problem`] where the scheme is not Digest, realm or nonce is missing, or the grammar breaks.
    pub fn parse(raw: &[u8]) -> Result<Self, Problem> {
        let fields = Fields::parse(raw)?;
        let qop = fields.of("qop").unwrap_or_default();
        let qop = qop.split(',').map(str::trim).filter(|q| !q.is_empty());
        Ok(Self {
            realm: fields.needed("realm", "no realm")?,
            nonce: fields.needed("nonce", "no nonce")?,
            opaque: fields.of("opaque").map(str::to_owned),
            algorithm: fields.of("algorithm").map(str::to_owned),
            qop: qop.map(str::to_ascii_lowercase).collect(),
            stale: fields
                .of("stale")
                .is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        quoted(&mut out, "realm", &self.realm);
        quoted(&mut out, "nonce", &self.nonce);
        if let Some(opaque) = &self.opaque {
            quoted(&mut out, "opaque", opaque);
        }
        if self.stale {
            out.push_str(", stale=true");
        }
        if let Some(algorithm) = &self.algorithm {
            let _ = write!(out, ", algorithm={algorithm}");
        }
        if !self.qop.is_empty() {
            quoted(&mut out, "qop", &self.qop.join(","));
        }
        write!(f, "Digest {}", out.trim_start_matches(", "))
    }
}

/// The credentials of one request: Authorization or Proxy-Authorization (RFC 7616 §3.4).
///
/// Its `Debug` form leaves out the response, which could be tried against guessed passwords.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Who asks.
    pub username: String,
    /// The realm of the challenge.
    pub realm: String,
    /// The nonce of the challenge.
    pub nonce: String,
    /// The request's URI as the client computed with.
    pub uri: String,
    /// The proof, in hexadecimal.
    pub response: String,
    /// The algorithm's token; `None` means MD5.
    pub algorithm: Option<String>,
    /// The opaque value of the challenge.
    pub opaque: Option<String>,
    /// The quality of protection, with the client's own nonce and its count of uses of the nonce.
    pub qop: Option<Protection>,
}

/// What goes with a quality of protection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protection {
    /// `auth` or `auth-int`.
    pub qop: String,
    /// The client's nonce.
    pub cnonce: String,
    /// How often the server's nonce has been used, this time included.
    pub count: u32,
}

impl Credentials {
    /// Parses the value of the header field.
    ///
    /// # Errors
    /// [`Problem`] where the scheme is not Digest, a parameter is missing or the grammar breaks.
    pub fn parse(raw: &[u8]) -> Result<Self, Problem> {
        let fields = Fields::parse(raw)?;
        let qop = match fields.of("qop") {
            None => None,
            Some(qop) => Some(Protection {
                qop: qop.to_ascii_lowercase(),
                cnonce: fields.needed("cnonce", "qop without cnonce")?,
                count: count(fields.of("nc").unwrap_or_default())?,
            }),
        };
        Ok(Self {
            username: fields.needed("username", "no username")?,
            realm: fields.needed("realm", "no realm")?,
            nonce: fields.needed("nonce", "no nonce")?,
            uri: fields.needed("uri", "no uri")?,
            response: fields.needed("response", "no response")?,
            algorithm: fields.of("algorithm").map(str::to_owned),
            opaque: fields.of("opaque").map(str::to_owned),
            qop,
        })
    }
}

/// The nonce count: eight hexadecimal digits.
fn count(text: &str) -> Result<u32, Problem> {
    let valid = text.len() == 8 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let number = valid.then(|| u32::from_str_radix(text, 16).ok()).flatten();
    number.ok_or(Problem::Syntax("nonce count"))
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        quoted(&mut out, "username", &self.username);
        quoted(&mut out, "realm", &self.realm);
        quoted(&mut out, "nonce", &self.nonce);
        quoted(&mut out, "uri", &self.uri);
        quoted(&mut out, "response", &self.response);
        if let Some(algorithm) = &self.algorithm {
            let _ = write!(out, ", algorithm={algorithm}");
        }
        if let Some(opaque) = &self.opaque {
            quoted(&mut out, "opaque", opaque);
        }
        if let Some(protection) = &self.qop {
            let _ = write!(out, ", qop={}", protection.qop);
            quoted(&mut out, "cnonce", &protection.cnonce);
            let _ = write!(out, ", nc={:08x}", protection.count);
        }
        write!(f, "Digest {}", out.trim_start_matches(", "))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("realm", &self.realm)
            .field("uri", &self.uri)
            .field("algorithm", &self.algorithm)
            .field("qop", &self.qop)
            .finish_non_exhaustive()
    }
}

/// What a server says to credentials that it has accepted: Authentication-Info (RFC 7616 §3.5).
///
/// ```
/// use sidetone::sip::header::auth::AuthenticationInfo;
/// let info = AuthenticationInfo::parse(br#"nextnonce="n2", qop=auth, rspauth="0f", cnonce="c", nc=00000001"#)?;
/// assert_eq!(info.next_nonce.as_deref(), Some("n2"));
/// assert_eq!(info.proof.unwrap().protection.count, 1);
/// # Ok::<(), sidetone::sip::header::Problem>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthenticationInfo {
    /// The nonce for the requests to come.
    pub next_nonce: Option<String>,
    /// That the server knows the secret too.
    pub proof: Option<ServerProof>,
}

/// The server's own response to the client's nonce.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerProof {
    /// The proof (`rspauth`), in hexadecimal.
    pub response: String,
    /// The quality of protection, and of which request of the client this is the answer.
    pub protection: Protection,
}

impl AuthenticationInfo {
    /// Parses the value of the header field.
    ///
    /// # Errors
    /// [`Problem`] where the grammar breaks, or a proof does not say what it is over.
    pub fn parse(raw: &[u8]) -> Result<Self, Problem> {
        let fields = Fields::parse_from(raw, 0)?;
        let proof = match fields.of("rspauth") {
            None => None,
            Some(response) => Some(ServerProof {
                response: response.to_owned(),
                protection: Protection {
                    qop: fields
                        .needed("qop", "rspauth without qop")?
                        .to_ascii_lowercase(),
                    cnonce: fields.needed("cnonce", "rspauth without cnonce")?,
                    count: count(fields.of("nc").unwrap_or_default())?,
                },
            }),
        };
        Ok(Self {
            next_nonce: fields.of("nextnonce").map(str::to_owned),
            proof,
        })
    }
}

impl fmt::Display for AuthenticationInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        if let Some(next) = &self.next_nonce {
            quoted(&mut out, "nextnonce", next);
        }
        if let Some(ServerProof {
            response,
            protection,
        }) = &self.proof
        {
            let _ = write!(out, ", qop={}", protection.qop);
            quoted(&mut out, "rspauth", response);
            quoted(&mut out, "cnonce", &protection.cnonce);
            let _ = write!(out, ", nc={:08x}", protection.count);
        }
        f.write_str(out.trim_start_matches(", "))
    }
}

impl fmt::Debug for ServerProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerProof")
            .field("protection", &self.protection)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_come_back_as_they_were_written() {
        let credentials = Credentials {
            username: "o\"ne\\".into(),
            realm: "a, b".into(),
            nonce: "n".into(),
            uri: "sip:x@y;a=1".into(),
            response: "00ff".into(),
            algorithm: Some("SHA-256".into()),
            opaque: Some(String::new()),
            qop: Some(Protection {
                qop: "auth".into(),
                cnonce: "c".into(),
                count: 0x1f,
            }),
        };
        let text = credentials.to_string();
        assert!(text.contains("nc=0000001f"), "{text}");
        assert_eq!(Credentials::parse(text.as_bytes()).unwrap(), credentials);
        assert!(!format!("{credentials:?}").contains("00ff"));
    }

    #[test]
    fn challenges_come_back_as_they_were_written() {
        let challenge = Challenge {
            realm: "r".into(),
            nonce: "n".into(),
            opaque: None,
            algorithm: Some("SHA-512-256".into()),
            qop: vec!["auth".into(), "auth-int".into()],
            stale: true,
        };
        let text = challenge.to_string();
        assert_eq!(Challenge::parse(text.as_bytes()).unwrap(), challenge);
    }

    #[test]
    fn broken_values_are_refused() {
        let long = format!("Digest realm=\"{}\"", "x".repeat(MAX_VALUE_BYTES));
        let many: Vec<String> = (0..40).map(|n| format!("p{n}=1")).collect();
        let many = format!("Digest realm=\"r\", nonce=\"n\", {}", many.join(", "));
        for bad in [
            "",
            "Digest",
            "Digest ",
            "Basic abc",
            "Digestrealm=\"r\", nonce=\"n\"",
            "Digest realm=\"r\"",
            "Digest realm=\"r\", nonce=\"n\",",
            "Digest realm=\"r\", nonce=\"n\", realm=\"s\"",
            "Digest realm=\"r, nonce=\"n\"",
            "Digest realm=\"r\" nonce=\"n\"",
            "Digest realm=\"r\", nonce=\"n\\\r\nX: y\"",
            &long,
            &many,
        ] {
            assert!(Challenge::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        let good = r#"Digest username="u", realm="r", nonce="n", uri="sip:a", response="0""#;
        assert!(Credentials::parse(good.as_bytes()).is_ok());
        for tail in [
            "qop=auth, nc=00000001",
            "qop=auth, cnonce=\"c\"",
            "qop=auth, cnonce=\"c\", nc=1",
            "qop=auth, cnonce=\"c\", nc=+0000001",
        ] {
            let bad = format!("{good}, {tail}");
            assert!(Credentials::parse(bad.as_bytes()).is_err(), "{tail}");
        }
    }

    #[test]
    fn what_a_server_says_of_itself_comes_back_as_it_was_written() {
        let info = AuthenticationInfo {
            next_nonce: Some("n\"2".into()),
            proof: Some(ServerProof {
                response: "00ff".into(),
                protection: Protection {
                    qop: "auth-int".into(),
                    cnonce: "c".into(),
                    count: 7,
                },
            }),
        };
        let text = info.to_string();
        assert_eq!(AuthenticationInfo::parse(text.as_bytes()).unwrap(), info);
        assert!(!format!("{info:?}").contains("00ff"));
        for bad in [
            "",
            "nextnonce",
            "rspauth=\"0\"",
            "rspauth=\"0\", qop=auth, cnonce=\"c\", nc=1",
            "nextnonce=\"a\", nextnonce=\"b\"",
        ] {
            assert!(
                AuthenticationInfo::parse(bad.as_bytes()).is_err(),
                "{bad:?}"
            );
        }
    }
}
