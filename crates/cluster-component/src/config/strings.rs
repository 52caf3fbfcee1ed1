//! A list of texts that may be written as a single text, as the reference writes listen addresses.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Read from a text (empty: no item) or an array; written as `[]`, a single text, or an array.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Strings(pub Vec<String>);

impl Serialize for Strings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            more => more.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Strings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            One(String),
            Many(Vec<String>),
        }
        let form = Option::<Form>::deserialize(deserializer)
            .map_err(|_| serde::de::Error::custom("expected a string or an array of strings"))?;
        Ok(Self(match form {
            None => Vec::new(),
            Some(Form::One(one)) if one.is_empty() => Vec::new(),
            Some(Form::One(one)) => vec![one],
            Some(Form::Many(many)) => many,
        }))
    }
}
