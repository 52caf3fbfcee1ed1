//! Writing msgpack.

use super::Pack;
use crate::Timestamp;

/// Values, one behind the other.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// What was written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn sized(&mut self, marker: u8, bytes: &[u8]) {
        self.0.push(marker);
        self.0.extend_from_slice(bytes);
    }

    /// Nothing.
    pub fn nil(&mut self) {
        self.0.push(0xc0);
    }

    /// Yes or no.
    pub fn bool(&mut self, value: bool) {
        self.0.push(if value { 0xc3 } else { 0xc2 });
    }

    /// A number of a signed type.
    pub fn int(&mut self, number: i64) {
        if let Ok(small) = i8::try_from(number) {
            match small {
                -32.. => self.0.push(small as u8),
                _ => self.sized(0xd0, &small.to_be_bytes()),
            }
        } else if let Ok(number) = i16::try_from(number) {
            self.sized(0xd1, &number.to_be_bytes());
        } else if let Ok(number) = i32::try_from(number) {
            self.sized(0xd2, &number.to_be_bytes());
        } else {
            self.sized(0xd3, &number.to_be_bytes());
        }
    }

    /// A number of an unsigned type.
    pub fn uint(&mut self, number: u64) {
        if let Ok(small) = u8::try_from(number) {
            match small {
                0..=127 => self.0.push(small),
                _ => self.sized(0xcc, &[small]),
            }
        } else if let Ok(number) = u16::try_from(number) {
            self.sized(0xcd, &number.to_be_bytes());
        } else if let Ok(number) = u32::try_from(number) {
            self.sized(0xce, &number.to_be_bytes());
        } else {
            self.sized(0xcf, &number.to_be_bytes());
        }
    }

    /// Text or bytes, at most 4 GiB of them.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.length(bytes.len(), (0xa0, 32), 0xda);
        self.0.extend_from_slice(bytes);
    }

    /// The head of a list; its items follow.
    pub fn array(&mut self, length: usize) {
        self.length(length, (0x90, 16), 0xdc);
    }

    /// The head of a map; keys and values follow in turn.
    pub fn map(&mut self, length: usize) {
        self.length(length, (0x80, 16), 0xde);
    }

    /// A length: within the marker when it is below the bound, else in two bytes, else in four.
    fn length(&mut self, length: usize, (fixed, below): (u8, usize), marker: u8) {
        if length < below {
            self.0.push(fixed | length as u8);
        } else if let Ok(length) = u16::try_from(length) {
            self.sized(marker, &length.to_be_bytes());
        } else {
            self.sized(marker + 1, &u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        }
    }

    /// A time, in the shortest of its forms.
    pub fn time(&mut self, time: Timestamp) {
        let (secs, nanos) = (time.unix_secs(), time.subsec_nanos());
        match u64::try_from(secs) {
            _ if time.is_zero() => self.nil(),
            Ok(secs) if nanos == 0 && secs >> 32 == 0 => self.raw(&(secs as u32).to_be_bytes()),
            Ok(secs) if secs >> 34 == 0 => self.raw(&(u64::from(nanos) << 34 | secs).to_be_bytes()),
            _ => {
                let mut bytes = [0; 12];
                bytes[..4].copy_from_slice(&nanos.to_be_bytes());
                bytes[4..].copy_from_slice(&secs.to_be_bytes());
                self.raw(&bytes);
            }
        }
    }
}

/// The fields of a map that have a value: the reference leaves out the others.
#[derive(Debug, Default)]
pub struct Fields {
    count: usize,
    body: Writer,
}

impl Fields {
    /// A field that is always there.
    pub fn always(&mut self, key: &str, write: impl FnOnce(&mut Writer)) {
        self.count += 1;
        self.body.raw(key.as_bytes());
        write(&mut self.body);
    }

    /// A field that is there when `present`.
    pub fn when(&mut self, present: bool, key: &str, write: impl FnOnce(&mut Writer)) {
        if present {
            self.always(key, write);
        }
    }

    /// A text, unless it is empty.
    pub fn text(&mut self, key: &str, text: &str) {
        self.when(!text.is_empty(), key, |out| out.raw(text.as_bytes()));
    }

    /// A number, unless it is zero.
    pub fn int(&mut self, key: &str, number: i64) {
        self.when(number != 0, key, |out| out.int(number));
    }

    /// A number of an unsigned type, unless it is zero.
    pub fn uint(&mut self, key: &str, number: u64) {
        self.when(number != 0, key, |out| out.uint(number));
    }

    /// A truth, unless it is false.
    pub fn truth(&mut self, key: &str, value: bool) {
        self.when(value, key, |out| out.bool(value));
    }

    /// A time, unless it is none.
    pub fn time(&mut self, key: &str, time: Timestamp) {
        self.when(!time.is_zero(), key, |out| out.time(time));
    }

    /// A value, if there is one.
    pub fn some(&mut self, key: &str, value: Option<&impl Pack>) {
        if let Some(value) = value {
            self.always(key, |out| value.pack(out));
        }
    }

    /// Writes them as a map.
    pub fn finish(self, out: &mut Writer) {
        out.map(self.count);
        out.0.extend(self.body.0);
    }
}
