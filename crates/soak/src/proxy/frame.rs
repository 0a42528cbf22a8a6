//! Frames of ZeroMQ's wire protocol, as far as a proxy has to know them. Invariant: a frame that is written again is the very bytes that were
//! read. Must not touch: what is in the frames.

use std::io::{self, Read};

/// What each end sends first, in pieces that wait for the other's.
pub(super) const GREETING_BYTES: usize = 64;

/// Nothing of the gateway protocol is longer; more is no frame.
const BODY_MAX: u64 = 1 << 20;

const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// One frame: its head (flags and length) and its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) head: Vec<u8>,
    pub(super) body: Vec<u8>,
}

impl Frame {
    /// The next one.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Frame> {
        let mut head = vec![0; 2];
        from.read_exact(&mut head)?;
        let length = if head[0] & LONG == 0 {
            u64::from(head[1])
        } else {
            head.resize(9, 0);
            from.read_exact(&mut head[2..])?;
            head[1..]
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        };
        if length > BODY_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut body = vec![0; usize::try_from(length).unwrap_or(0)];
        from.read_exact(&mut body)?;
        Ok(Frame { head, body })
    }

    /// A message of these bytes.
    pub(super) fn message(body: Vec<u8>) -> Frame {
        let length = body.len() as u64;
        let head = match u8::try_from(length) {
            Ok(short) => vec![0, short],
            Err(_) => [&[LONG][..], &length.to_be_bytes()].concat(),
        };
        Frame { head, body }
    }

    /// Whether it is ZeroMQ's own and no message.
    pub(super) fn is_command(&self) -> bool {
        self.head[0] & COMMAND != 0
    }

    /// As it goes over the wire.
    pub(super) fn bytes(&self) -> Vec<u8> {
        [&self.head[..], &self.body].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_again_is_what_was_read_and_an_absurd_length_is_an_error() {
        for length in [0, 1, 255, 256, 70_000] {
            let frame = Frame::message(vec![7; length]);
            let bytes = frame.bytes();
            assert_eq!(Frame::read(&mut bytes.as_slice()).unwrap(), frame);
        }
        assert!(Frame::read(&mut [2, 1, 0, 0, 0, 0, 0, 0, 0, 1].as_slice()).is_err());
        assert!(Frame::read(&mut [0, 3, 1].as_slice()).is_err());
    }
}
