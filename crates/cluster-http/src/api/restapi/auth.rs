//! Basic authentication.

use super::answer::{self, Answer};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use std::collections::BTreeMap;

const BASIC: &str = "Basic realm=\"Restricted IPFS Cluster API\"";

/// Who is let in.
pub(super) struct Credentials(BTreeMap<String, String>);

impl Credentials {
    pub(super) fn new(users: BTreeMap<String, String>) -> Self {
        Self(users)
    }

    /// Lets a request in, or says how it is refused.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Answer> {
        let given = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok());
        let Some((user, password)) = given.and_then(basic) else {
            return Err(refusal("unauthorized: no auth provided"));
        };
        if self.knows(&user, &password) { Ok(()) } else { Err(refusal("unauthorized: access denied")) }
    }

    /// Looks at every user, and at every byte, so that the time it takes tells nothing. An empty password opens nothing.
    fn knows(&self, user: &str, password: &str) -> bool {
        let mut known = false;
        for (name, secret) in &self.0 {
            known |= equal(name.as_bytes(), user.as_bytes()) & equal(secret.as_bytes(), password.as_bytes());
        }
        known && !user.is_empty() && !password.is_empty()
    }
}

fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Whether two texts are equal, in a time that depends only on the second's length.
fn equal(secret: &[u8], given: &[u8]) -> bool {
    let mut difference = secret.len() ^ given.len();
    for (i, byte) in given.iter().enumerate() {
        let of_secret = secret.get(i).copied().unwrap_or(0);
        difference |= usize::from(of_secret ^ byte);
    }
    std::hint::black_box(difference) == 0
}

fn refusal(message: &str) -> Answer {
    let mut response = answer::error(StatusCode::UNAUTHORIZED, message);
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(BASIC));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> HeaderMap {
        let value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(text))).expect("header");
        HeaderMap::from_iter([(AUTHORIZATION, value)])
    }

    #[test]
    fn only_the_right_password_opens() {
        let users = [("user", "pass"), ("nobody", "")].map(|(u, p)| (u.to_owned(), p.to_owned()));
        let credentials = Credentials::new(users.into_iter().collect());

        assert!(credentials.check(&header("user:pass")).is_ok());
        for wrong in ["user:passs", "user:pas", "user:", "nobody:", ":", "other:pass"] {
            let refused = credentials.check(&header(wrong)).expect_err(wrong);
            assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
        }
        assert!(credentials.check(&HeaderMap::new()).is_err());
    }
}
