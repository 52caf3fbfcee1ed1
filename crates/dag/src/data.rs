//! Data that is no part of a file system: dag-cbor as it is stored, dag-json as users write and read it
//! (<https://ipld.io/specs/codecs/>).

use ipld_core::ipld::Ipld;

/// Data that cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DataError(String);

fn wrong(codec: &str, error: impl std::fmt::Display) -> DataError {
    DataError(format!("it is no {codec} data: {error}"))
}

/// The dag-cbor form of dag-json.
///
/// # Errors
/// When it is none.
pub fn cbor_of_json(json: &[u8]) -> Result<Vec<u8>, DataError> {
    let value: Ipld = serde_ipld_dagjson::from_slice(json).map_err(|e| wrong("dag-json", e))?;
    serde_ipld_dagcbor::to_vec(&value).map_err(|e| wrong("dag-cbor", e))
}

/// The dag-json form of dag-cbor.
///
/// # Errors
/// When it is none.
pub fn json_of_cbor(cbor: &[u8]) -> Result<Vec<u8>, DataError> {
    let value: Ipld = serde_ipld_dagcbor::from_slice(cbor).map_err(|e| wrong("dag-cbor", e))?;
    serde_ipld_dagjson::to_vec(&value).map_err(|e| wrong("dag-json", e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Naming;

    /// What `ipfs dag put` of Kubo 0.44 says.
    const CID_OF_KUBO: &str = "bafyreih5xlofm75sa3ux26ujwh4prjs7zztagi4vnqdco6tmiayyoagqpm";

    #[test]
    fn data_is_what_kubo_makes_of_it() {
        let json = br#"{"to":{"/":"bafkreicqr267qanuuq4klr2am4ejgaecopfx4244u4kwiyukz2bemffrby"},"a":[1,null,"x"]}"#;
        let cbor = cbor_of_json(json).expect("dag-json");
        let naming = Naming { version_1: true, ..Naming::default() };
        assert_eq!(naming.cid(crate::links::DAG_CBOR, &cbor).to_string(), CID_OF_KUBO);
        let back = json_of_cbor(&cbor).expect("dag-cbor");
        assert_eq!(cbor_of_json(&back), Ok(cbor));
        assert!(cbor_of_json(b"{").expect_err("cut").to_string().starts_with("it is no dag-json data: "));
        assert!(json_of_cbor(b"\xff").is_err());
        let deep = "[".repeat(100_000);
        assert!(cbor_of_json(deep.as_bytes()).is_err());
    }
}
