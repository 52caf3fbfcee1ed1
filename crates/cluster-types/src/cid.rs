//! Content identifiers, with the text form of the REST API and the key under which stores list them.

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// A content identifier, as [`cid::Cid`], whose JSON and text form is that of the REST API: base58 `Qm…` for version 0
/// and lower-case base32 `b…` for version 1, whatever base it was read in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cid(pub ::cid::Cid);

impl Cid {
    /// Reads the binary form.
    ///
    /// # Errors
    /// When the bytes are not one whole CID.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CidError> {
        let mut rest = bytes;
        let cid = ::cid::Cid::read_bytes(&mut rest).map_err(|e| CidError::Invalid(e.to_string()))?;
        if rest.is_empty() { Ok(Self(cid)) } else { Err(CidError::Invalid("trailing bytes after the CID".into())) }
    }

    /// The binary form: for version 0 the bare multihash.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_bytes()
    }

    /// The key under which stores keep what belongs to this CID.
    ///
    /// Keys sort as the reference lists: by the text of its datastore keys, which is upper-case base32 of the binary
    /// CID, in which the digits 2–7 come before A–Z. The key is the same five-bit groups, renumbered in that order
    /// and packed again, so that it takes 37 bytes and not 58.
    #[must_use]
    pub fn sort_key(&self) -> Vec<u8> {
        let bytes = self.to_bytes();
        shift_groups(&bytes, bytes.len() * 8, 6)
    }

    /// The CID whose [`sort_key`](Self::sort_key) this is.
    ///
    /// # Errors
    /// When the key does not hold one whole CID.
    pub fn from_sort_key(key: &[u8]) -> Result<Self, CidError> {
        let bytes = shift_groups(key, key.len() * 8 / 5 * 5, 26);
        // A CID says how long it is; what follows it is at most one byte of padding.
        let mut rest = bytes.as_slice();
        let cid = ::cid::Cid::read_bytes(&mut rest).map_err(|e| CidError::Invalid(e.to_string()))?;
        if rest.len() <= 1 { Ok(Self(cid)) } else { Err(CidError::Invalid("trailing bytes after the key".into())) }
    }

    /// Upper-case base32 without padding of the binary form: how the reference names keys of its datastore.
    #[must_use]
    pub fn to_key_text(&self) -> String {
        BASE32_NOPAD.encode(&self.to_bytes())
    }
}

/// Adds `shift` (modulo 32) to each five-bit group of the first `bits` bits; a last group is filled with zero bits.
fn shift_groups(bytes: &[u8], bits: usize, shift: u8) -> Vec<u8> {
    let mut left = bits.div_ceil(5) * 5;
    let mut out = Vec::with_capacity(bytes.len() + 1);
    for chunk in bytes.chunks(5) {
        let mut eight = [0; 8];
        eight[3..3 + chunk.len()].copy_from_slice(chunk);
        let shifted = shift_eight(u64::from_be_bytes(eight), shift);
        let kept = left.min(40);
        let whole = (shifted >> (40 - kept)) << (40 - kept);
        out.extend_from_slice(&whole.to_be_bytes()[3..3 + kept.div_ceil(8)]);
        left -= kept;
    }
    out
}

/// The same for eight groups at once: every other one, so that what one carries over falls between two.
fn shift_eight(groups: u64, shift: u8) -> u64 {
    const EVEN: u64 = 0x07_c1f0_7c1f;
    const ODD: u64 = EVEN ^ 0xff_ffff_ffff;
    const ONES: u64 = 0x08_4210_8421;
    let by = ONES * u64::from(shift);
    (((groups & EVEN) + (by & EVEN)) & EVEN) | (((groups & ODD) + (by & ODD)) & ODD)
}

impl std::ops::Deref for Cid {
    type Target = ::cid::Cid;
    fn deref(&self) -> &::cid::Cid {
        &self.0
    }
}

impl From<::cid::Cid> for Cid {
    fn from(cid: ::cid::Cid) -> Self {
        Self(cid)
    }
}

impl FromStr for Cid {
    type Err = CidError;
    fn from_str(text: &str) -> Result<Self, CidError> {
        parse_text(text)
    }
}

/// As the reference words it: the REST API shows these texts after `error decoding Cid: `.
fn parse_text(text: &str) -> Result<Cid, CidError> {
    if text.len() < 2 {
        return Err(CidError::TooShort);
    }
    ::cid::Cid::try_from(text).map(Cid).map_err(|_| CidError::Invalid(fault_of(text).into_owned()))
}

/// The bytes of a text in multibase. As Go, what is left over at the end of base32 is passed over.
fn multibase_bytes(text: &str) -> Option<Vec<u8>> {
    let Some(base32) = text.strip_prefix('b') else { return multibase::decode(text).map(|(_, bytes)| bytes).ok() };
    let mut lenient = BASE32_NOPAD.specification();
    lenient.check_trailing_bits = false;
    let (lenient, text) = (lenient.encoding().ok()?, base32.to_ascii_uppercase());
    // Lengths that no bytes have are cut to the next one that some have.
    (0..3).find_map(|cut| lenient.decode(text.as_bytes().get(..text.len().checked_sub(cut)?)?).ok())
}

/// What is wrong with a text that is no CID.
fn fault_of(text: &str) -> Cow<'static, str> {
    let cut_short = "invalid cid: varints malformed, could not reach the end";
    let Some(bytes) = multibase_bytes(text) else { return "selected encoding not supported".into() };
    match unsigned_varint::decode::u64(&bytes) {
        Ok((1, _)) | Err(_) => cut_short.into(),
        Ok((version, _)) => format!("invalid cid: expected 1 as the cid version number, got: {version}").into(),
    }
}

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cid({})", self.0)
    }
}

impl Serialize for Cid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Cid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a text or bytes are no CID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CidError {
    /// Fewer than two characters.
    #[error("invalid cid: cid too short")]
    TooShort,
    /// Anything else; the text says what.
    #[error("invalid cid: {0}")]
    Invalid(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Cid> {
        [
            "QmW3J3czdUzxRaaN31Gtu5T1U5br3t631b8AHdvxHdsHWg",
            "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
            "bafybeig2amll2rtp5mlb46cfprw4xbyyyio5hejq57jkw4atub2jcangim",
            "bafyreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
        ]
        .iter()
        .map(|t| t.parse().expect("sample"))
        .collect()
    }

    #[test]
    fn sort_keys_give_back_their_cid() {
        for cid in samples() {
            assert_eq!(Cid::from_sort_key(&cid.sort_key()).expect("key"), cid);
        }
    }

    /// Against one group at a time.
    #[test]
    fn groups_are_shifted_each_by_itself_at_every_length() {
        let bytes: Vec<u8> = (0..90_u8).map(|i| i.wrapping_mul(167) ^ 0x5a).collect();
        let group = |bytes: &[u8], at: usize| {
            (0..5).fold(0_u8, |group, bit| {
                let at = at * 5 + bit;
                group << 1 | bytes.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1)
            })
        };
        for length in 0..bytes.len() {
            for (bits, shift) in [(length * 8, 6), (length * 8 / 5 * 5, 26)] {
                let shifted = shift_groups(&bytes[..length], bits, shift);

                assert_eq!(shifted.len(), (bits.div_ceil(5) * 5).div_ceil(8));
                for at in 0..bits.div_ceil(5) {
                    assert_eq!(
                        group(&shifted, at),
                        (group(&bytes[..length], at) + shift) & 31,
                        "{length} bytes, group {at}"
                    );
                }
            }
        }
    }

    #[test]
    fn sort_keys_order_as_the_text_of_the_reference_does() {
        let mut by_key = samples();
        by_key.sort_by_key(Cid::sort_key);

        let mut by_text = samples();
        by_text.sort_by_key(Cid::to_key_text);

        assert_eq!(by_key, by_text);
    }

    #[test]
    fn text_is_base58_for_version_0_and_base32_for_version_1() {
        for cid in samples() {
            assert_eq!(cid.to_string().parse::<Cid>().expect("round trip"), cid);
        }
        assert_eq!("x".parse::<Cid>(), Err(CidError::TooShort));
    }

    #[test]
    fn what_is_no_cid_is_refused_in_the_words_of_the_reference() {
        for (text, words) in [
            ("bad", "invalid cid: invalid cid: expected 1 as the cid version number, got: 0"),
            ("zzzz", "invalid cid: invalid cid: expected 1 as the cid version number, got: 2"),
            ("Qm", "invalid cid: selected encoding not supported"),
            ("bafybad", "invalid cid: invalid cid: varints malformed, could not reach the end"),
        ] {
            assert_eq!(text.parse::<Cid>().expect_err(text).to_string(), words);
        }
    }
}
