//! Frames: how messages lie in a byte stream.
//!
//! A frame is, with all numbers unsigned, 32 bits, most significant byte first:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | length of everything after this field |
//! | 4 | length of the header |
//! | … | the header, one JSON document |
//! | … | the tail, raw bytes, to the end of the frame |
//!
//! A frame is written with one write, because several small ones cost a delayed acknowledgement each on the way through
//! a jump host.

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The most bytes that may follow a frame's first length field. A longer frame is refused before memory is set aside.
pub const MAXIMUM_FRAME: usize = 16 * 1024 * 1024;

const LENGTH: usize = 4;

/// A frame that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<T> {
    /// The message.
    pub header: T,
    /// The raw bytes after it; most messages have none.
    pub tail: Bytes,
}

/// Why no frame could be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream failed.
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// The stream ended in the middle of a frame.
    #[error("the connection ended in the middle of a message")]
    Truncated,
    /// A length field is larger than [`MAXIMUM_FRAME`]; most often the other side does not speak frames at all.
    #[error(
        "the other side announced a message of {length} bytes, more than the {MAXIMUM_FRAME} allowed: it does not speak this protocol"
    )]
    TooLarge {
        /// The length that was announced, or that a message to be written has.
        length: usize,
    },
    /// The two length fields contradict each other.
    #[error("the lengths of a message contradict each other: header {header} in {total} bytes")]
    Lengths {
        /// Length of the header.
        header: usize,
        /// Length of the whole.
        total: usize,
    },
    /// The header is not the message expected.
    #[error("a message could not be read: {0}")]
    Header(#[source] serde_json::Error),
    /// A message could not be turned into JSON.
    #[error("a message could not be written: {0}")]
    Encode(#[source] serde_json::Error),
}

/// A message as the bytes of one frame.
pub fn encode<T: Serialize>(header: &T, tail: &[u8]) -> Result<Vec<u8>, FrameError> {
    let mut frame = Vec::with_capacity(2 * LENGTH + 256 + tail.len());
    frame.extend_from_slice(&[0; 2 * LENGTH]);
    serde_json::to_writer(&mut frame, header).map_err(FrameError::Encode)?;
    let header_length = frame.len() - 2 * LENGTH;
    frame.extend_from_slice(tail);
    let total = frame.len() - LENGTH;
    if total > MAXIMUM_FRAME {
        return Err(FrameError::TooLarge { length: total });
    }
    // Both fit in 32 bits: they are at most `MAXIMUM_FRAME`.
    frame[..LENGTH].copy_from_slice(&(total as u32).to_be_bytes());
    frame[LENGTH..2 * LENGTH].copy_from_slice(&(header_length as u32).to_be_bytes());
    Ok(frame)
}

/// Writes one frame with a single write, and flushes.
///
/// Not safe to cancel: a frame that was written in part spoils the stream.
pub async fn write_frame<W, T>(writer: &mut W, header: &T, tail: &[u8]) -> Result<(), FrameError>
where
    W: AsyncWrite + Unpin,
    T: Serialize,
{
    let frame = encode(header, tail)?;
    writer.write_all(&frame).await?;
    writer.flush().await?;
    Ok(())
}

/// Reads one frame; `None` where the stream ended between two frames.
///
/// Not safe to cancel: a frame that was read in part is lost. Reads in two or three calls, so that a
/// [`tokio::io::BufReader`] around `reader` saves system calls for small frames.
pub async fn read_frame<R, T>(reader: &mut R) -> Result<Option<Frame<T>>, FrameError>
where
    R: AsyncRead + Unpin,
    T: DeserializeOwned,
{
    let Some(total) = read_first_length(reader).await? else {
        return Ok(None);
    };
    if total > MAXIMUM_FRAME {
        return Err(FrameError::TooLarge { length: total });
    }
    let mut payload = BytesMut::zeroed(total);
    reader.read_exact(&mut payload).await.map_err(truncated)?;
    decode(payload.freeze()).map(Some)
}

/// Takes apart what follows the first length field.
fn decode<T: DeserializeOwned>(mut payload: Bytes) -> Result<Frame<T>, FrameError> {
    let total = payload.len();
    let Some(field) = payload.first_chunk::<LENGTH>() else {
        return Err(FrameError::Lengths { header: 0, total });
    };
    let header_length = u32::from_be_bytes(*field) as usize;
    if header_length > total - LENGTH {
        return Err(FrameError::Lengths {
            header: header_length,
            total,
        });
    }
    let tail = payload.split_off(LENGTH + header_length);
    let header = serde_json::from_slice(&payload[LENGTH..]).map_err(FrameError::Header)?;
    Ok(Frame { header, tail })
}

/// The first length field; `None` where the stream ends before its first byte.
async fn read_first_length<R: AsyncRead + Unpin>(reader: &mut R) -> Result<Option<usize>, FrameError> {
    let mut field = [0; LENGTH];
    let read = reader.read(&mut field).await?;
    if read == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut field[read..]).await.map_err(truncated)?;
    Ok(Some(u32::from_be_bytes(field) as usize))
}

fn truncated(error: std::io::Error) -> FrameError {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => FrameError::Truncated,
        _ => FrameError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_all(bytes: &[u8]) -> Result<Vec<Frame<serde_json::Value>>, FrameError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut reader = bytes;
            let mut frames = Vec::new();
            while let Some(frame) = read_frame(&mut reader).await? {
                frames.push(frame);
            }
            Ok(frames)
        })
    }

    proptest! {
        #[test]
        fn frames_read_back_as_written(messages in prop::collection::vec((".{0,200}", prop::collection::vec(any::<u8>(), 0..5000)), 0..8)) {
            let mut stream = Vec::new();
            for (text, tail) in &messages {
                stream.extend(encode(text, tail).unwrap());
            }
            let frames = read_all(&stream).unwrap();
            prop_assert_eq!(frames.len(), messages.len());
            for (frame, (text, tail)) in frames.iter().zip(&messages) {
                prop_assert_eq!(frame.header.as_str(), Some(text.as_str()));
                prop_assert_eq!(&frame.tail[..], &tail[..]);
            }
        }

        #[test]
        fn a_stream_cut_inside_a_frame_is_truncated(text in ".{0,50}", tail in prop::collection::vec(any::<u8>(), 0..50), cut in 1usize..1000) {
            let frame = encode(&text, &tail).unwrap();
            let cut = 1 + cut % (frame.len() - 1);
            prop_assert!(matches!(read_all(&frame[..cut]), Err(FrameError::Truncated)));
        }

        #[test]
        fn arbitrary_bytes_yield_no_frames_out_of_nothing(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let frames = read_all(&bytes).map_or(0, |frames| frames.len());
            prop_assert!(frames * 2 * LENGTH <= bytes.len());
        }
    }

    #[test]
    fn text_instead_of_frames_is_refused_in_words() {
        let error = read_all(b"Welcome to host h1!\n").unwrap_err();
        assert!(
            error.to_string().contains("does not speak this protocol"),
            "{error}"
        );
    }

    #[test]
    fn a_header_longer_than_its_frame_is_refused() {
        let mut frame = encode(&"x", b"").unwrap();
        frame[7] = 200;
        assert!(matches!(
            read_all(&frame),
            Err(FrameError::Lengths { header: 200, .. })
        ));
    }

    #[test]
    fn a_message_over_the_limit_is_refused_by_the_writer() {
        let tail = vec![0; MAXIMUM_FRAME];
        assert!(matches!(encode(&"x", &tail), Err(FrameError::TooLarge { .. })));
    }
}
