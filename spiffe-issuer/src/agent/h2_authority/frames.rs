//! What a client sends on an HTTP/2 connection (RFC 9113), with its header blocks rewritten: bytes
//! in, bytes out.

use std::mem;

use super::block::Blocks;

/// Follows the frames of one client.
///
/// All bytes go through as they came, but for header blocks: such a block is collected, rewritten
/// and sent on as one HEADERS frame without padding. No more than one block, of
/// [`MAX_BLOCK`] bytes at most, is ever held.
#[derive(Debug, Default)]
pub struct Frames {
    state: State,
    blocks: Blocks,
}

#[derive(Debug)]
enum State {
    /// So many bytes of the preface have come.
    Preface(usize),
    /// This is no HTTP/2, so there is nothing to follow.
    Foreign,
    /// A frame's header is coming in; `open` is the block that it has to continue, if any.
    Header {
        bytes: [u8; HEADER_LEN],
        have: usize,
        open: Option<Open>,
    },
    /// A frame that does not concern us: so many bytes are left of it.
    Passing(usize),
    /// A part of a header block.
    Part {
        header: Header,
        payload: Vec<u8>,
        open: Option<Open>,
    },
    /// The client broke the rules; nothing of it goes through any more.
    Broken(FramesError),
}

impl Default for State {
    fn default() -> Self {
        Self::Preface(0)
    }
}

/// A header block whose end has not come yet.
#[derive(Debug)]
struct Open {
    /// The header of its first frame.
    first: Header,
    /// Stream dependency and weight, where the first frame has them.
    priority: Vec<u8>,
    block: Vec<u8>,
    parts: usize,
}

#[derive(Debug, Clone, Copy)]
struct Header {
    length: usize,
    kind: u8,
    flags: u8,
    stream: [u8; 4],
}

/// Why a connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FramesError {
    /// Another frame came before the end of a header block.
    #[error("a frame came in the middle of a header block")]
    Interrupted,
    /// The padding, or the priority, is longer than the frame.
    #[error("a HEADERS frame is shorter than it says")]
    Short,
    /// A header block is longer than any client needs it.
    #[error("a header block is longer than {MAX_BLOCK} bytes")]
    TooLarge,
    /// A header block is cut into more frames than any client needs.
    #[error("a header block has more than {MAX_PARTS} frames")]
    TooManyParts,
}

impl Frames {
    /// Takes what the client sent, however it was cut, and appends to `out` what to hand on.
    ///
    /// # Errors
    ///
    /// Where the client breaks a rule in a way that cannot be handed on. What stands in `out` by
    /// then is good, and every later call fails with the same error.
    pub fn push(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), FramesError> {
        while !input.is_empty() {
            let state = mem::take(&mut self.state);
            self.state = match self.step(state, &mut input, out) {
                Ok(next) => next,
                Err(why) => {
                    self.state = State::Broken(why);
                    return Err(why);
                }
            };
        }
        Ok(())
    }

    /// Takes from `input` what this state can use.
    fn step(
        &mut self,
        state: State,
        input: &mut &[u8],
        out: &mut Vec<u8>,
    ) -> Result<State, FramesError> {
        Ok(match state {
            State::Preface(seen) => preface(seen, input, out),
            State::Foreign => {
                out.extend_from_slice(take(input, usize::MAX));
                State::Foreign
            }
            State::Header {
                mut bytes,
                have,
                open,
            } => {
                let part = take(input, HEADER_LEN - have);
                bytes[have..have + part.len()].copy_from_slice(part);
                match have + part.len() {
                    HEADER_LEN => self.begin(bytes, open, out)?,
                    have => State::Header { bytes, have, open },
                }
            }
            State::Passing(left) => {
                let part = take(input, left);
                out.extend_from_slice(part);
                match left - part.len() {
                    0 => next_frame(None),
                    left => State::Passing(left),
                }
            }
            State::Part {
                header,
                mut payload,
                open,
            } => {
                payload.extend_from_slice(take(input, header.length - payload.len()));
                if payload.len() < header.length {
                    State::Part {
                        header,
                        payload,
                        open,
                    }
                } else {
                    self.part(header, &payload, open, out)?
                }
            }
            State::Broken(why) => return Err(why),
        })
    }

    /// A frame's header has come whole.
    fn begin(
        &mut self,
        bytes: [u8; HEADER_LEN],
        open: Option<Open>,
        out: &mut Vec<u8>,
    ) -> Result<State, FramesError> {
        let header = Header::read(bytes);
        let room = match &open {
            Some(open) if header.kind != CONTINUATION || header.stream != open.first.stream => {
                return Err(FramesError::Interrupted);
            }
            Some(open) if open.parts == MAX_PARTS => return Err(FramesError::TooManyParts),
            Some(open) => MAX_BLOCK - open.block.len(),
            None if header.kind != HEADERS => {
                out.extend_from_slice(&bytes);
                return Ok(match header.length {
                    0 => next_frame(None),
                    left => State::Passing(left),
                });
            }
            None => MAX_BLOCK + MAX_PADDING,
        };
        match header.length {
            // Nothing more needs to come, so nothing would wake us.
            0 => self.part(header, &[], open, out),
            length if length > room => Err(FramesError::TooLarge),
            length => Ok(State::Part {
                header,
                payload: Vec::with_capacity(length),
                open,
            }),
        }
    }

    /// A part of a header block has come whole.
    fn part(
        &mut self,
        header: Header,
        payload: &[u8],
        open: Option<Open>,
        out: &mut Vec<u8>,
    ) -> Result<State, FramesError> {
        let open = match open {
            Some(mut open) => {
                open.block.extend_from_slice(payload);
                open.parts += 1;
                open
            }
            None => Open::new(header, payload)?,
        };
        if open.block.len() > MAX_BLOCK {
            return Err(FramesError::TooLarge);
        }
        if header.flags & END_HEADERS == 0 {
            return Ok(next_frame(Some(open)));
        }
        self.write(&open, out);
        Ok(next_frame(None))
    }

    /// Writes a whole block as one frame: [`MAX_BLOCK`] leaves room below the smallest frame size
    /// that a peer may ask for, whatever the rewriting adds.
    fn write(&mut self, open: &Open, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(&[0; HEADER_LEN]);
        out.extend_from_slice(&open.priority);
        self.blocks.rewrite(&open.block, out);
        let header = Header {
            length: out.len() - at - HEADER_LEN,
            flags: open.first.flags & !PADDED | END_HEADERS,
            ..open.first
        };
        out[at..at + HEADER_LEN].copy_from_slice(&header.bytes());
    }
}

impl Open {
    /// The block that a HEADERS frame begins, freed of its padding.
    fn new(first: Header, payload: &[u8]) -> Result<Self, FramesError> {
        let (padding, payload) = match first.flags & PADDED {
            0 => (0, payload),
            _ => payload
                .split_first()
                .map(|(length, rest)| (usize::from(*length), rest))
                .ok_or(FramesError::Short)?,
        };
        let priority = if first.flags & PRIORITY == 0 { 0 } else { 5 };
        let (priority, rest) = payload
            .split_at_checked(priority)
            .ok_or(FramesError::Short)?;
        let block = rest
            .len()
            .checked_sub(padding)
            .map(|length| &rest[..length])
            .ok_or(FramesError::Short)?;
        Ok(Self {
            first,
            priority: priority.to_vec(),
            block: block.to_vec(),
            parts: 1,
        })
    }
}

impl Header {
    fn read(bytes: [u8; HEADER_LEN]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = bytes;
        Self {
            length: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            stream,
        }
    }

    fn bytes(&self) -> [u8; HEADER_LEN] {
        let [_, a, b, c] = (self.length as u32).to_be_bytes();
        let [s, t, r, e] = self.stream;
        [a, b, c, self.kind, self.flags, s, t, r, e]
    }
}

fn preface(seen: usize, input: &mut &[u8], out: &mut Vec<u8>) -> State {
    let part = take(input, PREFACE.len() - seen);
    out.extend_from_slice(part);
    let now = seen + part.len();
    if part != &PREFACE[seen..now] {
        State::Foreign
    } else if now == PREFACE.len() {
        next_frame(None)
    } else {
        State::Preface(now)
    }
}

fn next_frame(open: Option<Open>) -> State {
    State::Header {
        bytes: [0; HEADER_LEN],
        have: 0,
        open,
    }
}

/// Up to so many bytes from the front.
fn take<'a>(input: &mut &'a [u8], at_most: usize) -> &'a [u8] {
    let (part, rest) = input.split_at(input.len().min(at_most));
    *input = rest;
    part
}

/// The longest header block, in bytes: what gRPC servers commonly take.
pub const MAX_BLOCK: usize = 8 * 1024;

/// The most frames that a header block may be cut into.
pub const MAX_PARTS: usize = 8;

/// The length of the padding, the padding and the priority.
const MAX_PADDING: usize = 1 + 255 + 5;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADER_LEN: usize = 9;
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

#[cfg(test)]
mod tests;
