//! Who is let in: basic authentication and tokens.

use super::token;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cluster_types::Timestamp;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue};
use std::collections::BTreeMap;
use std::time::Duration;

const BASIC: &str = "Basic realm=\"Restricted IPFS Cluster API\"";
const BEARER: &str = "Bearer realm=\"Restricted IPFS Cluster API\"";
const BAD_TOKEN: &str = "Bearer realm=\"Restricted IPFS Cluster API\", error=\"invalid_token\"";

/// Who is let in, and for how long a token holds.
pub(super) struct Credentials {
    users: BTreeMap<String, String>,
    token_lifetime: Duration,
}

impl Credentials {
    pub(super) fn new(users: BTreeMap<String, String>, token_lifetime: Duration) -> Self {
        Self { users, token_lifetime }
    }

    /// Lets a request in and says whose it is, or says how it is refused.
    pub(super) fn check(&self, headers: &HeaderMap, now: Timestamp) -> Result<String, Refused> {
        let given = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or("");
        if let Some((user, password)) = basic(given) {
            let known = self.knows(&user, &password);
            return if known { Ok(user) } else { Err(refusal("unauthorized: access denied", &[BASIC])) };
        }
        match given.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                let user = token::user_of(token.trim(), now, |user| self.users.get(user).map(String::as_str));
                user.ok_or_else(|| refusal("unauthorized: invalid token", &[BAD_TOKEN]))
            }
            _ => Err(refusal("unauthorized: no auth provided", &[BEARER, BASIC])),
        }
    }

    /// A token for a user who has been let in.
    pub(super) fn token(&self, user: &str, now: Timestamp) -> Option<String> {
        self.users.get(user).map(|password| token::issue(user, password, now, self.token_lifetime))
    }

    /// Looks at every user, and at every byte, so that the time it takes tells nothing. An empty password opens nothing.
    fn knows(&self, user: &str, password: &str) -> bool {
        let mut known = false;
        for (name, secret) in &self.users {
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
pub(super) fn equal(secret: &[u8], given: &[u8]) -> bool {
    let mut difference = secret.len() ^ given.len();
    for (i, byte) in given.iter().enumerate() {
        let of_secret = secret.get(i).copied().unwrap_or(0);
        difference |= usize::from(of_secret ^ byte);
    }
    std::hint::black_box(difference) == 0
}

/// Why a request is not let in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// In words.
    pub(super) message: &'static str,
    /// Ways of being let in, as `WWW-Authenticate` says them.
    schemes: &'static [&'static str],
}

impl Refused {
    /// Says in an answer how to be let in.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        for scheme in self.schemes {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
        }
    }
}

fn refusal(message: &'static str, schemes: &'static [&'static str]) -> Refused {
    Refused { message, schemes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::try_from(text).expect("header"))])
    }

    fn credentials() -> Credentials {
        let users = [("user", "pass"), ("nobody", "")].map(|(u, p)| (u.to_owned(), p.to_owned()));
        Credentials::new(users.into_iter().collect(), Duration::from_secs(60))
    }

    #[test]
    fn only_the_right_password_opens() {
        let (credentials, now) = (credentials(), Timestamp::from_unix(1, 0));
        let with = |text: &str| header(&format!("Basic {}", STANDARD.encode(text)));

        assert_eq!(credentials.check(&with("user:pass"), now).expect("let in"), "user");
        for wrong in ["user:passs", "user:pas", "user:", "nobody:", ":", "other:pass"] {
            let refused = credentials.check(&with(wrong), now).expect_err(wrong);
            assert_eq!(refused, refusal("unauthorized: access denied", &[BASIC]));
        }
        let refused = credentials.check(&HeaderMap::new(), now).expect_err("nothing given");
        let mut headers = HeaderMap::new();
        refused.tell(&mut headers);
        assert_eq!(headers.get_all(WWW_AUTHENTICATE).iter().count(), 2);
    }

    #[test]
    fn a_token_opens_until_it_ends() {
        let (credentials, now) = (credentials(), Timestamp::from_unix(1_000, 0));
        let token = credentials.token("user", now).expect("a user");
        let with = header(&format!("bearer {token}"));

        assert_eq!(credentials.check(&with, now).expect("let in"), "user");
        credentials.check(&with, Timestamp::from_unix(1_060, 0)).expect_err("too late");
        assert_eq!(credentials.token("stranger", now), None);
    }
}
