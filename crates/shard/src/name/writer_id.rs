//! The ID in the file names of our own writer: `PID-INSTANCE`. Pure; the random bits come from the writer.
//!
//! Invariant: an ID that parses is ours; Python's pids and the IDs of other writers never do.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// 128 random bits that tell one life of a writer from every other; a reused PID never continues a dead process's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Instance(u128);

/// Characters of an instance: 128 bits in base 32, five a character.
const INSTANCE_LEN_CHARS: usize = 26;

/// RFC 4648, lower case.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// 26 characters hold 130 bits; RFC 4648 fills the last two with zeros at the right.
const FILL_BITS: u32 = 2;

impl Instance {
    /// From 128 random bits.
    pub const fn from_bits(bits: u128) -> Instance {
        Instance(bits)
    }

    /// The 128 bits.
    pub const fn bits(self) -> u128 {
        self.0
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; INSTANCE_LEN_CHARS];
        // The last character holds the lowest three bits, moved up by the two fill bits.
        text[INSTANCE_LEN_CHARS - 1] = BASE32[((self.0 << FILL_BITS) & 31) as usize];
        let mut rest = self.0 >> (5 - FILL_BITS);
        for character in text[..INSTANCE_LEN_CHARS - 1].iter_mut().rev() {
            *character = BASE32[(rest & 31) as usize];
            rest >>= 5;
        }
        f.write_str(std::str::from_utf8(&text).expect("the alphabet is ASCII"))
    }
}

impl FromStr for Instance {
    type Err = WriterIdError;

    fn from_str(text: &str) -> Result<Instance, WriterIdError> {
        let bytes = text.as_bytes();
        if bytes.len() != INSTANCE_LEN_CHARS {
            return Err(WriterIdError);
        }
        let digit = |byte: u8| BASE32.iter().position(|&c| c == byte).ok_or(WriterIdError);
        let mut bits: u128 = 0;
        for &byte in &bytes[..INSTANCE_LEN_CHARS - 1] {
            bits = (bits << 5) | digit(byte)? as u128;
        }
        let last = digit(bytes[INSTANCE_LEN_CHARS - 1])? as u128;
        if last & 0b11 != 0 {
            return Err(WriterIdError);
        }
        Ok(Instance((bits << (5 - FILL_BITS)) | (last >> FILL_BITS)))
    }
}

/// The ID of our own writer's files: `PID-INSTANCE`.
///
/// It has no underscore, because Python splits a name on it and shows the ID of a gauge's file as the label `pid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WriterId {
    /// The writer's process ID in its own PID namespace. For people; nothing decides by it.
    pub pid: u32,
    /// The random part.
    pub instance: Instance,
}

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.pid, self.instance)
    }
}

impl FromStr for WriterId {
    type Err = WriterIdError;

    /// Accepts `PID-INSTANCE` and `PID-INSTANCE-SLOT`.
    fn from_str(text: &str) -> Result<WriterId, WriterIdError> {
        let mut parts = text.splitn(3, '-');
        let (pid, instance) = (
            parts.next().ok_or(WriterIdError)?,
            parts.next().ok_or(WriterIdError)?,
        );
        let slot_is_number = parts.next().is_none_or(is_plain_number);
        if !is_plain_number(pid) || !slot_is_number {
            return Err(WriterIdError);
        }
        Ok(WriterId {
            pid: pid.parse().map_err(|_| WriterIdError)?,
            instance: instance.parse()?,
        })
    }
}

fn is_plain_number(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'))
}

/// The ID is not one of our own writer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not the ID of a writer of ours; expected PID-INSTANCE with 26 base32 characters")]
pub struct WriterIdError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_is_26_characters_of_the_rfc_4648_alphabet() {
        // Judge: python3 -c "import base64; print(base64.b32encode(bytes.fromhex(..)).decode().lower().rstrip('='))"
        for (bits, text) in [
            (0, "aaaaaaaaaaaaaaaaaaaaaaaaaa"),
            (u128::MAX, "77777777777777777777777774"),
            (
                0x0123_4567_89ab_cdef_fedc_ba98_7654_3210,
                "aerukz4jvpg677w4xkmhmvbsca",
            ),
        ] {
            assert_eq!(Instance::from_bits(bits).to_string(), text);
            assert_eq!(text.parse(), Ok(Instance::from_bits(bits)));
        }
    }

    #[test]
    fn ids_of_other_writers_are_not_taken_for_ours() {
        let instance = Instance::from_bits(1 << 90);
        let id = WriterId {
            pid: 4242,
            instance,
        };
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(
            format!("{id}-7").parse(),
            Ok(id),
            "a slot is part of the name, not of the identity"
        );
        for text in [
            "4242".to_owned(),
            "4242-rs".to_owned(),
            format!("04242-{instance}"),
            format!("-{instance}"),
            format!("99999999999-{instance}"),
            format!("4242-{instance}-"),
            format!("4242-{instance}-x"),
            format!("4242-{}", instance.to_string().to_uppercase()),
            "4242-aaaaaaaaaaaaaaaaaaaaaaaaab".to_owned(), // the fill bits are not zero
        ] {
            assert_eq!(text.parse::<WriterId>(), Err(WriterIdError), "{text}");
        }
    }
}
