//! The bytes that records are made of: varints, lengths, numbers. Every read is checked against the bytes that are there.
//!
//! Invariant: decoding any bytes ends in a value or an error, never a panic, and reserves no memory because a length says so.
//! Pure; knows nothing of records.

use thiserror::Error;

/// Most bytes of a varint: 64 bits, seven a byte.
const VARINT_LEN_MAX: usize = 10;

/// Bytes that do not say what they should.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum DecodeError {
    /// They end too early.
    #[error("the bytes end inside a field")]
    Short,
    /// A number of more than 64 bits.
    #[error("a number has more than 64 bits")]
    Varint,
    /// A number or length beyond what the field allows.
    #[error("{what}: more than {limit}")]
    TooLarge {
        /// The field.
        what: &'static str,
        /// The most that is accepted.
        limit: usize,
    },
    /// A code that means nothing.
    #[error("{what}: {found} has no meaning in this version")]
    Tag {
        /// The field.
        what: &'static str,
        /// The code.
        found: u8,
    },
    /// Text that is not UTF-8.
    #[error("{what}: not UTF-8")]
    Text {
        /// The field.
        what: &'static str,
    },
    /// Bytes are left over.
    #[error("{count} bytes are left over")]
    Trailing {
        /// How many.
        count: usize,
    },
}

/// Appends `value`, seven bits a byte, the least significant first.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends `value` so that small numbers of either sign are short.
pub(super) fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Appends the length and the bytes.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends all eight bytes of a double.
pub(super) fn put_f64(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

/// Reads fields one after the other.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// The bytes that were not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Bytes are left over.
    pub(super) fn finish(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(DecodeError::Trailing { count }),
        }
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(head)
    }

    /// One byte.
    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// Eight bytes, the least significant first.
    pub(super) fn u64_le(&mut self) -> Result<u64, DecodeError> {
        let bytes = self.take(8)?.try_into().map_err(|_| DecodeError::Short)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// What [`put_f64`] wrote.
    pub(super) fn f64(&mut self) -> Result<f64, DecodeError> {
        self.u64_le().map(f64::from_bits)
    }

    /// What [`put_varint`] wrote.
    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, DecodeError> {
        if let [first @ 0..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u64::from(*first));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0;
        for index in 0..VARINT_LEN_MAX {
            let byte = self.u8()?;
            // The tenth byte has room for one bit.
            if index == VARINT_LEN_MAX - 1 && byte > 1 {
                return Err(DecodeError::Varint);
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::Varint)
    }

    /// What [`put_zigzag`] wrote.
    pub(super) fn zigzag(&mut self) -> Result<i64, DecodeError> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    /// A count or length of at most `limit`.
    pub(super) fn count(&mut self, limit: usize) -> Result<usize, DecodeError> {
        let value = self.varint()?;
        usize::try_from(value)
            .ok()
            .filter(|value| *value <= limit)
            .ok_or(DecodeError::TooLarge {
                what: "a count",
                limit,
            })
    }

    /// A count of things that take at least `len_min_bytes` each: never more than there are bytes for, so memory may be
    /// reserved for them.
    pub(super) fn count_of(&mut self, len_min_bytes: usize) -> Result<usize, DecodeError> {
        let value = self.varint()?;
        let limit = self.rest.len() / len_min_bytes.max(1);
        usize::try_from(value)
            .ok()
            .filter(|value| *value <= limit)
            .ok_or(DecodeError::Short)
    }

    /// A 32-bit number.
    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        let limit = u32::MAX as usize;
        u32::try_from(self.varint()?).map_err(|_| DecodeError::TooLarge { what, limit })
    }

    /// What [`put_bytes`] wrote.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.count_of(1)?;
        self.take(len)
    }

    /// What [`put_bytes`] wrote, as text.
    pub(super) fn text(&mut self, what: &'static str) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| DecodeError::Text { what })
    }
}
