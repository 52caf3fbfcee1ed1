//! Reading msgpack. Nothing is allocated by a length that has not been checked against the bytes that are there.

use crate::Timestamp;
use rmp::Marker;

/// How deep values may be nested: the types of peers need five levels.
const DEPTH_MAX: usize = 16;

/// Bytes that are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("msgpack decode error: {0}")]
pub struct Malformed(&'static str);

impl Malformed {
    /// With what is wrong.
    #[must_use]
    pub const fn new(what: &'static str) -> Self {
        Self(what)
    }
}

const SHORT: Malformed = Malformed("the value is cut short");

/// How many bytes the value takes that these begin with; `None`: it goes on behind them.
///
/// # Errors
/// When they begin no value, or one that is nested too deep.
pub fn measure(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let mut reader = Reader::new(bytes);
    match reader.skip() {
        Ok(()) => Ok(Some(bytes.len() - reader.0.len())),
        Err(error) if error == SHORT => Ok(None),
        Err(error) => Err(error),
    }
}

/// Values, one behind the other.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads these.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether all was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    fn marker(&mut self) -> Result<Marker, Malformed> {
        Ok(Marker::from_u8(self.take(1)?[0]))
    }

    /// A number of so many bytes, the first the highest.
    fn number(&mut self, bytes: usize) -> Result<u64, Malformed> {
        Ok(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn length(&mut self, bytes: usize) -> Result<usize, Malformed> {
        usize::try_from(self.number(bytes)?).map_err(|_| SHORT)
    }

    /// Whether the next value is nothing; then it has been read.
    pub fn nil(&mut self) -> bool {
        let nil = self.0.first() == Some(&0xc0);
        if nil {
            self.0 = &self.0[1..];
        }
        nil
    }

    /// How many pairs of key and value follow.
    ///
    /// # Errors
    /// When it is no map.
    pub fn map(&mut self) -> Result<usize, Malformed> {
        match self.marker()? {
            Marker::Null => Ok(0),
            Marker::FixMap(length) => Ok(usize::from(length)),
            Marker::Map16 => self.length(2),
            Marker::Map32 => self.length(4),
            _ => Err(Malformed("it is no map")),
        }
    }

    /// Reads a map: `field` is given each key and reads its value, or says that it does not know it.
    ///
    /// # Errors
    /// As `field`, or when it is no map.
    pub fn fields(
        &mut self,
        mut field: impl FnMut(&[u8], &mut Self) -> Result<Known, Malformed>,
    ) -> Result<(), Malformed> {
        for _ in 0..self.map()? {
            let key = self.raw()?.unwrap_or_default();
            if field(key, self)? == Known::No {
                self.skip()?;
            }
        }
        Ok(())
    }

    /// How many items follow.
    ///
    /// # Errors
    /// When it is no list.
    pub fn array(&mut self) -> Result<usize, Malformed> {
        match self.marker()? {
            Marker::Null => Ok(0),
            Marker::FixArray(length) => Ok(usize::from(length)),
            Marker::Array16 => self.length(2),
            Marker::Array32 => self.length(4),
            _ => Err(Malformed("it is no list")),
        }
    }

    /// Text or bytes, in any of their forms; nothing: `None`.
    ///
    /// # Errors
    /// When it is something else.
    pub fn raw(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let length = match self.marker()? {
            Marker::Null => return Ok(None),
            Marker::FixStr(length) => usize::from(length),
            Marker::Str8 | Marker::Bin8 => self.length(1)?,
            Marker::Str16 | Marker::Bin16 => self.length(2)?,
            Marker::Str32 | Marker::Bin32 => self.length(4)?,
            _ => return Err(Malformed("it is neither text nor bytes")),
        };
        self.take(length).map(Some)
    }

    /// Text; what is no UTF-8 is replaced.
    ///
    /// # Errors
    /// When it is no text.
    pub fn text(&mut self) -> Result<String, Malformed> {
        Ok(String::from_utf8_lossy(self.raw()?.unwrap_or_default()).into_owned())
    }

    /// A number of a signed type.
    ///
    /// # Errors
    /// When it is no such number.
    pub fn int(&mut self) -> Result<i64, Malformed> {
        let signed = |number: u64| i64::try_from(number).map_err(|_| Malformed("the number is too large"));
        match self.marker()? {
            Marker::Null => Ok(0),
            Marker::FixPos(number) => Ok(i64::from(number)),
            Marker::FixNeg(number) => Ok(i64::from(number)),
            Marker::I8 => Ok(i64::from(self.number(1)? as i8)),
            Marker::I16 => Ok(i64::from(self.number(2)? as i16)),
            Marker::I32 => Ok(i64::from(self.number(4)? as i32)),
            Marker::I64 => Ok(self.number(8)? as i64),
            Marker::U8 => signed(self.number(1)?),
            Marker::U16 => signed(self.number(2)?),
            Marker::U32 => signed(self.number(4)?),
            Marker::U64 => signed(self.number(8)?),
            _ => Err(Malformed("it is no number")),
        }
    }

    /// A number of an unsigned type.
    ///
    /// # Errors
    /// When it is no such number.
    pub fn uint(&mut self) -> Result<u64, Malformed> {
        if self.0.first() == Some(&Marker::U64.to_u8()) {
            self.marker()?;
            return self.number(8);
        }
        u64::try_from(self.int()?).map_err(|_| Malformed("the number is negative"))
    }

    /// Yes or no.
    ///
    /// # Errors
    /// When it is neither.
    pub fn bool(&mut self) -> Result<bool, Malformed> {
        match self.marker()? {
            Marker::True => Ok(true),
            Marker::False | Marker::Null => Ok(false),
            _ => Err(Malformed("it is neither true nor false")),
        }
    }

    /// A time: raw, bytes, or the extension that msgpack has for it.
    ///
    /// # Errors
    /// When it is no time.
    pub fn time(&mut self) -> Result<Timestamp, Malformed> {
        let extension = match self.0.first().map(|byte| Marker::from_u8(*byte)) {
            Some(Marker::FixExt4) => Some((2, 4)),
            Some(Marker::FixExt8) => Some((2, 8)),
            Some(Marker::Ext8) => Some((3, 12)),
            _ => None,
        };
        let bytes = match extension {
            None => self.raw()?.unwrap_or_default(),
            Some((head, length)) => {
                if self.take(head)?.last() != Some(&0xff) {
                    return Err(Malformed("it is no time"));
                }
                self.take(length)?
            }
        };
        let mut inner = Reader(bytes);
        match bytes.len() {
            0 => Ok(Timestamp::ZERO),
            4 => Ok(Timestamp::from_unix(inner.number(4)? as i64, 0)),
            8 => {
                let both = inner.number(8)?;
                Ok(Timestamp::from_unix((both & ((1 << 34) - 1)) as i64, (both >> 34) as u32))
            }
            12 => {
                let nanos = inner.number(4)? as u32;
                Ok(Timestamp::from_unix(inner.number(8)? as i64, nanos))
            }
            _ => Err(Malformed("it is no time")),
        }
    }

    /// Passes over a value of any kind.
    ///
    /// # Errors
    /// When it is none, is cut short, or is nested too deep.
    pub fn skip(&mut self) -> Result<(), Malformed> {
        // Values still to come, by level: a stack of numbers instead of calls within calls.
        let mut waiting = vec![1_usize];
        while let Some(left) = waiting.last_mut() {
            if *left == 0 {
                waiting.pop();
                continue;
            }
            *left -= 1;
            let inside = self.skip_one()?;
            if inside > 0 {
                if waiting.len() > DEPTH_MAX {
                    return Err(Malformed("it is nested too deep"));
                }
                waiting.push(inside);
            }
        }
        Ok(())
    }

    /// Passes over a value without those inside it; returns how many those are.
    fn skip_one(&mut self) -> Result<usize, Malformed> {
        let bytes = match self.marker()? {
            Marker::Null | Marker::True | Marker::False | Marker::FixPos(_) | Marker::FixNeg(_) => 0,
            Marker::U8 | Marker::I8 => 1,
            Marker::U16 | Marker::I16 | Marker::FixExt1 => 2,
            Marker::FixExt2 => 3,
            Marker::U32 | Marker::I32 | Marker::F32 => 4,
            Marker::FixExt4 => 5,
            Marker::U64 | Marker::I64 | Marker::F64 => 8,
            Marker::FixExt8 => 9,
            Marker::FixExt16 => 17,
            Marker::FixStr(length) => usize::from(length),
            Marker::Str8 | Marker::Bin8 => self.length(1)?,
            Marker::Str16 | Marker::Bin16 => self.length(2)?,
            Marker::Str32 | Marker::Bin32 => self.length(4)?,
            Marker::Ext8 => self.length(1)?.saturating_add(1),
            Marker::Ext16 => self.length(2)?.saturating_add(1),
            Marker::Ext32 => self.length(4)?.saturating_add(1),
            Marker::FixArray(length) => return Ok(usize::from(length)),
            Marker::Array16 => return self.length(2),
            Marker::Array32 => return self.length(4),
            Marker::FixMap(length) => return Ok(usize::from(length) * 2),
            Marker::Map16 => return Ok(self.length(2)?.saturating_mul(2)),
            Marker::Map32 => return Ok(self.length(4)?.saturating_mul(2)),
            Marker::Reserved => return Err(Malformed("it begins no value")),
        };
        self.take(bytes).map(|_| 0)
    }
}

/// Whether a field was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Its value has been read.
    Yes,
    /// Its value stands there still.
    No,
}
