//! Who this peer is: `identity.json`, in the reference's form.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cluster_types::PeerId;
use libp2p_identity::Keypair;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;

/// A peer's key and the name that follows from it.
///
/// The file's text of the key is kept, since some kinds of key can be read but not written back.
#[derive(Clone)]
pub struct Identity {
    id: PeerId,
    key: Keypair,
    key_text: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("id", &self.id).finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct File {
    id: String,
    private_key: String,
}

impl Identity {
    /// A new Ed25519 identity.
    ///
    /// # Errors
    /// When the key cannot be written down, which Ed25519 keys can.
    pub fn generate() -> Result<Self, IdentityError> {
        let key = Keypair::generate_ed25519();
        let bytes =
            key.to_protobuf_encoding().map_err(|e| IdentityError(format!("error encoding private_key: {e}")))?;
        Ok(Self { id: key.public().to_peer_id(), key, key_text: STANDARD.encode(bytes) })
    }

    /// From the two texts of the file.
    ///
    /// # Errors
    /// When either cannot be read, or they do not belong together. Texts as the reference.
    pub fn from_texts(id: &str, private_key: &str) -> Result<Self, IdentityError> {
        let id: PeerId =
            cluster_types::peer_id::parse(id).map_err(|e| IdentityError(format!("error decoding cluster ID: {e}")))?;
        let bytes = STANDARD
            .decode(private_key)
            .map_err(|e| IdentityError(format!("error decoding private_key: it is not standard base64: {e}")))?;
        let key = Keypair::from_protobuf_encoding(&bytes)
            .map_err(|e| IdentityError(format!("error parsing private_key ID: {e}")))?;
        if key.public().to_peer_id() != id {
            return Err(IdentityError("identity ID does not match the private_key".into()));
        }
        Ok(Self { id, key, key_text: private_key.to_owned() })
    }

    /// From the text of `identity.json`, with `CLUSTER_ID` and `CLUSTER_PRIVATEKEY` in place of what it says.
    ///
    /// # Errors
    /// As [`from_texts`](Self::from_texts), and when the text is no JSON object.
    pub fn parse(text: &str, id: Option<&str>, private_key: Option<&str>) -> Result<Self, IdentityError> {
        let file: File = serde_json::from_str(text).map_err(|e| IdentityError(format!("it is not valid JSON: {e}")))?;
        let own = Self::from_texts(&file.id, &file.private_key)?;
        if id.is_none() && private_key.is_none() {
            return Ok(own);
        }
        Self::from_texts(id.unwrap_or(&file.id), private_key.unwrap_or(&file.private_key))
            .map_err(|e| IdentityError(format!("{OF_VARIABLES}{e}")))
    }

    /// From a `service.json` of old, which held the identity in its section `cluster`.
    ///
    /// # Errors
    /// When there is none in it.
    pub fn of_old_configuration(service_json: &str) -> Result<Self, IdentityError> {
        let root: serde_json::Value = serde_json::from_str(service_json).unwrap_or_default();
        let text = |key: &str| root["cluster"][key].as_str().unwrap_or("").to_owned();
        Self::from_texts(&text("id"), &text("private_key"))
    }

    /// Reads `identity.json`.
    ///
    /// # Errors
    /// When the file cannot be read or does not make sense; the text names the file.
    pub fn load(path: &Path, id: Option<&str>, private_key: Option<&str>) -> Result<Self, IdentityError> {
        let text = std::fs::read_to_string(path).map_err(|e| e.to_string());
        text.and_then(|text| Self::parse(&text, id, private_key).map_err(|e| e.0)).map_err(|reason| {
            let of_file = format!("error loading identity from {}: {reason}", path.display());
            IdentityError(if reason.starts_with(OF_VARIABLES) { reason } else { of_file })
        })
    }

    /// The text of `identity.json`.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{{\n    \"id\": \"{}\",\n    \"private_key\": \"{}\"\n}}", self.id, self.key_text)
    }

    /// The peer's name.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Keypair {
        &self.key
    }
}

/// How a text begins that is about the variables and not about the file.
const OF_VARIABLES: &str = "error applying environment variables to the identity: ";

/// What is wrong with an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct IdentityError(pub String);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read_back() {
        let identity = Identity::generate().expect("generated");

        let again = Identity::parse(&identity.to_text(), None, None).expect("own text");

        assert_eq!(again.id(), identity.id());
        assert_eq!(again.to_text(), identity.to_text());
        assert!(identity.id().to_string().starts_with("12D3KooW"));
    }

    #[test]
    fn a_name_of_another_key_is_refused() {
        let (one, two) = (Identity::generate().expect("one"), Identity::generate().expect("two"));

        let error = Identity::from_texts(&one.id().to_string(), &two.key_text).expect_err("refused");
        assert_eq!(error.0, "identity ID does not match the private_key");

        let error = Identity::parse(&one.to_text(), Some(&two.id().to_string()), None).expect_err("refused");
        assert!(error.0.starts_with("error applying environment variables to the identity: "), "{error}");
    }

    #[test]
    fn garbage_is_refused_with_the_name_of_the_file() {
        let temp = tempfile::tempdir().expect("temp folder");
        let path = temp.path().join("identity.json");
        std::fs::write(&path, "{").expect("written");

        let error = Identity::load(&path, None, None).expect_err("refused");
        assert!(error.0.contains("identity.json"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_identity_is_read_back_and_what_is_almost_one_is_refused(
            seed in any::<[u8; 32]>(), at in any::<usize>(), byte in 0x20..0x7f_u8,
        ) {
            let key = Keypair::ed25519_from_bytes(seed).expect("any 32 bytes are a key");
            let text = STANDARD.encode(key.to_protobuf_encoding().expect("written"));
            let identity = Identity::from_texts(&key.public().to_peer_id().to_string(), &text).expect("its own texts");
            let file = identity.to_text();
            let again = Identity::parse(&file, None, None).expect("own text");
            prop_assert_eq!((again.id(), again.to_text()), (identity.id(), file.clone()));

            let mut spoiled = file.clone().into_bytes();
            let at = at % spoiled.len();
            spoiled[at] = byte;
            let spoiled = String::from_utf8(spoiled).expect("ASCII");
            if let Ok(read) = Identity::parse(&spoiled, None, None) {
                prop_assert_eq!(read.id(), identity.id(), "{}", spoiled);
            }
            let _either = (Identity::parse(&file[..at], None, None), Identity::of_old_configuration(&spoiled));
        }
    }
}
