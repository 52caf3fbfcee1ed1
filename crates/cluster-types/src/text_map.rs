//! Maps keyed by peers in JSON: keys are text, and sorted as text, as Go sorts the keys of its maps.

use crate::PeerId;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

pub(crate) fn serialize<T: Serialize, S: Serializer>(
    map: &BTreeMap<PeerId, T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let by_text: BTreeMap<String, &T> = map.iter().map(|(peer, value)| (peer.to_string(), value)).collect();
    by_text.serialize(serializer)
}

pub(crate) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<PeerId, T>, D::Error> {
    let by_text = Option::<BTreeMap<String, T>>::deserialize(deserializer)?.unwrap_or_default();
    by_text
        .into_iter()
        .map(|(text, value)| Ok((crate::peer_id::parse(&text).map_err(D::Error::custom)?, value)))
        .collect()
}

/// A value that is `null` or missing has its default.
pub(crate) fn or_default<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A peer, or the empty text for none.
pub(crate) mod or_empty {
    use super::{Deserialize, Deserializer, Error, PeerId, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(peer: &Option<PeerId>, serializer: S) -> Result<S::Ok, S::Error> {
        peer.map(|peer| peer.to_string()).unwrap_or_default().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PeerId>, D::Error> {
        match Option::<String>::deserialize(deserializer)?.as_deref() {
            None | Some("") => Ok(None),
            Some(text) => crate::peer_id::parse(text).map(Some).map_err(D::Error::custom),
        }
    }
}
