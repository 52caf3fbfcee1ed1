//! Multiaddrs as users write them.

use crate::Multiaddr;
use multiaddr::Protocol;

/// A text that is no multiaddr; worded as the reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to parse multiaddr {text:?}: {reason}")]
pub struct AddressError {
    text: String,
    reason: String,
}

/// Reads a multiaddr. In `/unix/…` everything behind is the path of the socket, for which the library takes one segment.
///
/// # Errors
/// When it is none.
pub fn parse(text: &str) -> Result<Multiaddr, AddressError> {
    let wrong = |reason: String| AddressError { text: text.to_owned(), reason };
    if text.is_empty() {
        return Err(wrong("empty multiaddr".into()));
    }
    if !text.starts_with('/') {
        return Err(wrong("must begin with /".into()));
    }
    match text.strip_prefix("/unix/") {
        Some("") => Err(wrong("unexpected end of multiaddr".into())),
        Some(path) => Ok(Multiaddr::empty().with(Protocol::Unix(path.to_owned().into()))),
        None => text.parse().map_err(|e: multiaddr::Error| {
            wrong(e.to_string().replace("unknown protocol string: ", "unknown protocol "))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_keep_their_whole_path() {
        let address = parse("/unix/run/cluster/api.sock").expect("a socket");
        assert_eq!(address.to_string(), "/unix/run/cluster/api.sock");
        assert_eq!(address.iter().next(), Some(Protocol::Unix("run/cluster/api.sock".into())));
    }

    #[test]
    fn what_is_none_is_refused_in_the_words_of_the_reference() {
        let text = |given: &str| parse(given).expect_err(given).to_string();
        assert_eq!(text("zz"), "failed to parse multiaddr \"zz\": must begin with /");
        assert_eq!(text(""), "failed to parse multiaddr \"\": empty multiaddr");
        assert!(text("/nope/1").contains("unknown protocol nope"));
    }
}
