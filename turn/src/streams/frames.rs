//! Whole messages out of a stream's bytes.

use std::time::Instant;

use trunkline_stun::{FRAME_PREFIX, frame_len};

/// Bytes of buffer that a connection keeps between two halves of messages. More is given back.
const KEPT: usize = 2048;

/// The beginning of a message whose rest has not come. Nothing is reserved for the rest: what is held has been received.
#[derive(Debug, Default)]
pub(crate) struct Partial {
    bytes: Vec<u8>,
    since: Option<Instant>,
}

/// Who gets the messages.
pub(crate) trait Receiver {
    /// A whole message.
    fn message(&mut self, message: &[u8]);

    /// Whether a message of so many bytes is worth the memory until it is whole.
    fn may_wait(&mut self, length: usize) -> bool;
}

/// Why a stream cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameError {
    /// Neither STUN nor ChannelData: nothing tells where the next message begins.
    NotTurn,
    /// The message would be longer than the stream may have it.
    TooLong,
}

impl Partial {
    /// When the message that has begun did begin.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Gives every whole message in `data`, which follows what was given before, to `receiver`, and keeps the
    /// beginning of the next one. How many there were.
    pub(crate) fn feed(
        &mut self,
        mut data: &[u8],
        now: Instant,
        receiver: &mut impl Receiver,
    ) -> Result<usize, FrameError> {
        let mut count = 0;
        if !self.bytes.is_empty() {
            match self.complete(data, receiver)? {
                None => return Ok(0),
                Some(rest) => {
                    receiver.message(&self.bytes);
                    count = 1;
                    self.clear();
                    data = rest;
                }
            }
        }
        while let Some(prefix) = data.first_chunk::<FRAME_PREFIX>() {
            let length = frame_len(*prefix).ok_or(FrameError::NotTurn)?;
            let Some((frame, rest)) = data.split_at_checked(length) else {
                if !receiver.may_wait(length) {
                    return Err(FrameError::TooLong);
                }
                break;
            };
            receiver.message(frame);
            count += 1;
            data = rest;
        }
        if !data.is_empty() {
            self.bytes.extend_from_slice(data);
            self.since = Some(now);
        }
        Ok(count)
    }

    /// Adds to the message that has begun; once it is whole, what follows it.
    fn complete<'a>(
        &mut self,
        mut data: &'a [u8],
        receiver: &mut impl Receiver,
    ) -> Result<Option<&'a [u8]>, FrameError> {
        if self.bytes.len() < FRAME_PREFIX {
            data = self.take(data, FRAME_PREFIX);
        }
        let Some(prefix) = self.bytes.first_chunk::<FRAME_PREFIX>() else { return Ok(None) };
        let length = frame_len(*prefix).ok_or(FrameError::NotTurn)?;
        data = self.take(data, length);
        if self.bytes.len() == length {
            return Ok(Some(data));
        }
        if receiver.may_wait(length) { Ok(None) } else { Err(FrameError::TooLong) }
    }

    /// Grows to `length` as far as `data` lasts; what is left of it.
    fn take<'a>(&mut self, data: &'a [u8], length: usize) -> &'a [u8] {
        let (taken, rest) = data.split_at((length - self.bytes.len()).min(data.len()));
        self.bytes.extend_from_slice(taken);
        rest
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use trunkline_stun::FRAME_MAX;

    use super::*;

    struct Gathered {
        whole: Vec<Vec<u8>>,
        longest: usize,
    }

    impl Receiver for Gathered {
        fn message(&mut self, message: &[u8]) {
            self.whole.push(message.to_vec());
        }

        fn may_wait(&mut self, length: usize) -> bool {
            length <= self.longest
        }
    }

    fn frames(pieces: &[&[u8]], longest: usize) -> (Vec<Vec<u8>>, Result<(), FrameError>, Partial) {
        let mut partial = Partial::default();
        let mut gathered = Gathered { whole: vec![], longest };
        for piece in pieces {
            if let Err(error) = partial.feed(piece, Instant::now(), &mut gathered) {
                return (gathered.whole, Err(error), partial);
            }
        }
        (gathered.whole, Ok(()), partial)
    }

    #[test]
    fn however_the_bytes_are_cut_the_messages_are_the_same() {
        let mut stun = vec![0x00, 0x01, 0x00, 0x04];
        stun.extend_from_slice(&[7; 20]);
        let messages: [&[u8]; 5] = [
            &stun,
            &[0x40, 0, 0, 0],
            &[0x40, 1, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0],
            &stun,
            &[0x4f, 1, 0, 4, 1, 2, 3, 4],
        ];
        let all = messages.concat();
        for size in 1..=all.len() {
            let pieces: Vec<&[u8]> = all.chunks(size).collect();
            let (whole, result, partial) = frames(&pieces, 100);
            assert_eq!(
                (whole.as_slice(), result),
                (messages.map(<[u8]>::to_vec).as_slice(), Ok(())),
                "{size}"
            );
            assert_eq!((partial.bytes.len(), partial.since()), (0, None), "{size}");
        }
    }

    #[test]
    fn half_a_message_is_held_and_its_beginning_remembered() {
        let (whole, result, partial) = frames(&[&[0x40, 0, 0], &[9, 1, 2]], 100);
        assert_eq!((whole.len(), result, partial.bytes.len()), (0, Ok(()), 6));
        assert!(partial.since().is_some());
    }

    /// The prefix alone says whether the rest may be waited for; a long message that has come whole costs nothing.
    #[test]
    fn nothing_long_is_waited_for() {
        let long = [&[0x40, 0, 0x10, 0][..], &[1; 0x1000]].concat();
        assert_eq!(frames(&[&long], 100).0.len(), 1);
        for pieces in [&[&long[..4]][..], &[&long[..3], &long[3..4]], &[&long[..1], &long[1..200]]] {
            let (whole, result, partial) = frames(pieces, 100);
            assert_eq!((whole.len(), result), (0, Err(FrameError::TooLong)));
            assert!(partial.bytes.len() <= 200);
        }
    }

    #[test]
    fn what_is_not_turn_ends_the_stream_after_what_came_before() {
        let (whole, result, _) = frames(&[&[0x40, 0, 0, 0, 0x16, 3, 1, 2]], 100);
        assert_eq!((whole.len(), result), (1, Err(FrameError::NotTurn)));
        assert_eq!(frames(&[b"G", b"ET / HTTP/1.1\r\n"], 4096).1, Err(FrameError::TooLong));
    }

    #[test]
    fn the_longest_frame_in_single_bytes_takes_no_more_than_itself_twice() {
        let mut partial = Partial::default();
        let mut frame = vec![0x40, 0, 0xff, 0xff];
        frame.resize(65_540, 3);
        let mut gathered = Gathered { whole: vec![], longest: FRAME_MAX };
        for byte in frame.chunks(1) {
            partial.feed(byte, Instant::now(), &mut gathered).unwrap();
            assert!(partial.bytes.capacity() <= 2 * FRAME_MAX);
        }
        assert_eq!((gathered.whole, partial.bytes.len()), (vec![frame], 0));
        assert!(partial.bytes.capacity() <= KEPT, "given back");
    }
}
