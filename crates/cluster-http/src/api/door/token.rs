//! JSON Web Tokens, signed with a user's password (HMAC with SHA-2). Each names its user as the issuer.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cluster_types::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256, Sha384, Sha512};
use std::time::Duration;

/// Longest token that is looked at.
const TOKEN_MAX: usize = 8 << 10;

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exp: Option<f64>,
    #[serde(default, skip_serializing)]
    nbf: Option<f64>,
    #[serde(default, skip_serializing)]
    iat: Option<f64>,
}

/// A token for a user. A lifetime of zero never ends.
pub(super) fn issue(user: &str, password: &str, now: Timestamp, lifetime: Duration) -> String {
    let exp = (!lifetime.is_zero()).then(|| now.unix_secs().saturating_add_unsigned(lifetime.as_secs()));
    let claims = match exp {
        None => serde_json::json!({ "iss": user }),
        Some(exp) => serde_json::json!({ "iss": user, "exp": exp }),
    };
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let header = encode(br#"{"alg":"HS256","typ":"JWT"}"#);
    let signed = format!("{header}.{}", encode(claims.to_string().as_bytes()));
    let signature = hmac::<Sha256>(password.as_bytes(), signed.as_bytes(), 64);
    format!("{signed}.{}", encode(&signature))
}

/// The user that a token names, if it is his and holds now. `password_of` knows the users; an empty password opens nothing,
/// as with basic authentication.
pub(super) fn user_of<'a>(
    token: &str,
    now: Timestamp,
    password_of: impl Fn(&str) -> Option<&'a str>,
) -> Option<String> {
    if token.len() > TOKEN_MAX {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
    let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
    let claims: Claims = serde_json::from_slice(&decode(claims)?).ok()?;
    // With an empty key anybody could sign. A stranger's is looked at as long as a user's.
    let password = password_of(&claims.iss).unwrap_or("");
    let key = password.as_bytes();
    let expected = match header.alg.as_str() {
        "HS256" => hmac::<Sha256>(key, signed.as_bytes(), 64),
        "HS384" => hmac::<Sha384>(key, signed.as_bytes(), 128),
        "HS512" => hmac::<Sha512>(key, signed.as_bytes(), 128),
        _ => return None,
    };
    #[allow(clippy::cast_precision_loss)] // Seconds of this age are far below 2^52.
    let seconds = now.unix_secs() as f64;
    let holds =
        claims.exp.is_none_or(|t| seconds < t) && [claims.nbf, claims.iat].iter().flatten().all(|t| *t <= seconds);
    let signed = super::auth::equal(&expected, &decode(signature)?);
    (signed && holds && !password.is_empty()).then_some(claims.iss)
}

/// RFC 2104. `block` is the hash's block size in bytes.
fn hmac<D: Digest>(key: &[u8], message: &[u8], block: usize) -> Vec<u8> {
    let mut padded = if key.len() > block { D::digest(key).to_vec() } else { key.to_vec() };
    padded.resize(block, 0);
    let with = |byte: u8| padded.iter().map(|b| b ^ byte).collect::<Vec<u8>>();
    let inner = D::new().chain_update(with(0x36)).chain_update(message).finalize();
    D::new().chain_update(with(0x5c)).chain_update(inner).finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn check(token: &str, at: i64) -> Option<String> {
        user_of(token, Timestamp::from_unix(at, 0), |user| (user == "user").then_some("pass"))
    }

    #[test]
    fn a_token_without_an_end_is_the_one_of_the_reference() {
        let token = issue("user", "pass", Timestamp::from_unix(NOW, 0), Duration::ZERO);
        assert_eq!(
            token,
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJ1c2VyIn0.QezMUPmvhZET9xHCT52dxFfGlmLRebSpplZ1p4W9KTI"
        );
        assert_eq!(check(&token, NOW).as_deref(), Some("user"));
    }

    #[test]
    fn a_token_ends_when_it_says() {
        let token = issue("user", "pass", Timestamp::from_unix(NOW, 0), Duration::from_secs(60));
        assert_eq!(check(&token, NOW + 59).as_deref(), Some("user"));
        assert_eq!(check(&token, NOW + 60), None);
    }

    #[test]
    fn a_changed_token_and_one_without_a_signature_are_refused() {
        let token = issue("user", "pass", Timestamp::from_unix(NOW, 0), Duration::ZERO);
        assert_eq!(check(&token.replace("iOiJ1c2VyIn0", "iOiJ1c2VyIn1"), NOW), None);
        assert_eq!(check(&issue("user", "other", Timestamp::from_unix(NOW, 0), Duration::ZERO), NOW), None);
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        assert_eq!(check(&format!("{none}.eyJpc3MiOiJ1c2VyIn0."), NOW), None);
        for garbage in ["", ".", "..", "a.b.c", "\u{fc}.x.y"] {
            assert_eq!(check(garbage, NOW), None);
        }
    }

    /// Anybody can sign with an empty key.
    #[test]
    fn nobody_comes_in_as_a_user_whose_password_is_empty_or_as_nobody() {
        let forged = issue("nobody", "", Timestamp::from_unix(NOW, 0), Duration::ZERO);
        let users = |user: &str| (user == "nobody").then_some("");
        assert_eq!(user_of(&forged, Timestamp::from_unix(NOW, 0), users), None);
        assert_eq!(user_of(&forged, Timestamp::from_unix(NOW, 0), |_| None), None);
    }

    #[test]
    fn all_three_hashes_are_taken_as_rfc_4231_has_them() {
        let mac = hmac::<Sha512>(b"Jefe", b"what do ya want for nothing?", 128);
        assert_eq!(mac[..8], [0x16, 0x4b, 0x7a, 0x7b, 0xfc, 0xf8, 0x19, 0xe2]);
        let mac = hmac::<Sha256>(b"Jefe", b"what do ya want for nothing?", 64);
        assert_eq!(mac[..8], [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e]);
    }
}
