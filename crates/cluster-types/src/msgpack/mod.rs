//! msgpack as peers speak it: the reference's dialect, in which text and bytes are one kind, whole numbers are written as
//! signed ones unless their type is not, and times are raw.
//!
//! [`Writer`] writes what the reference writes, byte for byte. [`Reader`] reads more than that: whatever the reference's
//! own decoder takes, since other versions may write it. [`Pack`] and [`Unpack`] are the forms of our types.

mod forms;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::{Known, Malformed, Reader, measure};
pub use write::{Fields, Writer};

/// Has a form in msgpack.
pub trait Pack {
    /// Writes it.
    fn pack(&self, out: &mut Writer);

    /// Its bytes.
    fn to_msgpack(&self) -> Vec<u8> {
        let mut out = Writer::default();
        self.pack(&mut out);
        out.into_bytes()
    }
}

/// Can be read from msgpack.
pub trait Unpack: Sized {
    /// Reads one value. Nothing (`nil`) is the empty value of its type where there is one.
    ///
    /// # Errors
    /// When it is no value of this type.
    fn unpack(input: &mut Reader<'_>) -> Result<Self, Malformed>;

    /// Reads one value that is all there is.
    ///
    /// # Errors
    /// As [`unpack`](Self::unpack), or when something follows.
    fn from_msgpack(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Reader::new(bytes);
        let value = Self::unpack(&mut input)?;
        if input.is_empty() { Ok(value) } else { Err(Malformed::new("bytes follow the value")) }
    }
}
