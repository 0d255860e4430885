//! Finds requests that HTTP/2's reader refuses. The reader resets their streams and calls no service, so the tap reads the
//! frames that the connection writes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection that calls `refused` for each refused stream.
pub(super) struct ResetTap<S, F> {
    stream: S,
    refused: F,
    frames: FrameReader,
}

/// Reads the written frames, however their bytes are split.
#[derive(Debug, Default)]
struct FrameReader {
    is_h1: bool,
    /// The frame's head, and the four bytes after it.
    start: [u8; START],
    /// The bytes of `start` so far.
    have: usize,
    /// The bytes of the payload that follow.
    left: usize,
}

/// The bytes of a frame's head: RFC 9113, section 4.1.
const HEAD: usize = 9;
/// A head with the error code of RST_STREAM: section 6.4.
const START: usize = HEAD + 4;
const RST_STREAM: u8 = 3;
/// PROTOCOL_ERROR: section 7.
const PROTOCOL_ERROR: [u8; 4] = [0, 0, 0, 1];

impl<S, F: Fn()> ResetTap<S, F> {
    pub(super) fn new(stream: S, refused: F) -> Self {
        Self { stream, refused, frames: FrameReader::default() }
    }

    fn wrote(&mut self, bytes: &[u8]) {
        for _ in 0..self.frames.resets_in(bytes) {
            (self.refused)();
        }
    }
}

impl FrameReader {
    /// The number of streams that these bytes reset for a protocol error.
    fn resets_in(&mut self, mut bytes: &[u8]) -> usize {
        let mut resets = 0_usize;
        while !self.is_h1 && !bytes.is_empty() {
            if self.have < HEAD {
                let (head, rest) = bytes.split_at(bytes.len().min(HEAD.saturating_sub(self.have)));
                self.keep(head);
                bytes = rest;
                // HTTP/1 begins with `H`, which as the length of a frame is over 4 MiB: no server begins with such a frame.
                self.is_h1 = self.start.starts_with(b"HTTP/1");
                if self.have == HEAD {
                    let [high, middle, low, ..] = self.start;
                    self.left =
                        usize::try_from(u32::from_be_bytes([0, high, middle, low])).unwrap_or_default();
                }
            } else if self.left > 0 {
                let (payload, rest) = bytes.split_at(bytes.len().min(self.left));
                self.left = self.left.saturating_sub(payload.len());
                self.keep(payload);
                bytes = rest;
            }
            if self.have >= HEAD && self.left == 0 {
                let [_, _, _, kind, _, _, _, _, _, code @ ..] = self.start;
                resets = resets.saturating_add(usize::from(kind == RST_STREAM && code == PROTOCOL_ERROR));
                (self.start, self.have) = Default::default();
            }
        }
        resets
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.start.iter_mut().skip(self.have);
        room.zip(bytes).for_each(|(place, byte)| *place = *byte);
        self.have = self.have.saturating_add(bytes.len()).min(START);
    }
}

impl<S: AsyncRead + Unpin, F: Unpin> AsyncRead for ResetTap<S, F> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin, F: Fn() + Unpin> AsyncWrite for ResetTap<S, F> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.wrote(bytes.get(..count).unwrap_or_default());
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
        let mut left = count;
        for slice in slices {
            let part = slice.get(..slice.len().min(left)).unwrap_or_default();
            self.wrote(part);
            left = left.saturating_sub(part.len());
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, 0, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn counts_resets_in_pieces_of_any_size() {
        let frames = [
            frame(4, &[0; 12]),
            frame(4, &[]),
            frame(RST_STREAM, &PROTOCOL_ERROR),
            frame(0, b"a body with \x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x01 in it"),
            frame(RST_STREAM, &[0, 0, 0, 8]),
            frame(RST_STREAM, &PROTOCOL_ERROR),
        ]
        .concat();
        for size in [1, 2, 7, 13, 500] {
            let mut written = FrameReader::default();
            let resets: usize = frames.chunks(size).map(|piece| written.resets_in(piece)).sum();
            assert_eq!(resets, 2, "in pieces of {size}");
        }
        let answer = b"HTTP/1.1 200 OK\r\n\r\n\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x01";
        assert_eq!(FrameReader::default().resets_in(answer), 0);
    }
}
