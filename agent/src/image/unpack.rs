//! Raw images whose length is not known before they end: compressed as a whole, or served without a length.
//!
//! They go to the disk as they come out. The disk's first and last MiB stay held as with every image; what is written in
//! between names no partition table that a firmware looks for: that is at the disk's first or last block.

use std::collections::VecDeque;
use std::io::{self, BufReader, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};
use tokio::sync::mpsc;

use super::Held;
use super::boot_area::HELD_BYTES;
use super::decode::{Output, Sink, Stop};
use super::detect::{Format, Packing, detect};
use super::error::ImageError;
use super::thread::{Fate, Worker};
use super::write::Target;

/// Memory a decompressor may take, bytes: enough for `xz -9` (65 MiB) and, as a window, for every zstd level without
/// `--long` and `--ultra` (8 MiB).
pub(super) const MEMORY_BYTES: u64 = 66 << 20;
/// The same for zstd, which counts its window only: 64 MiB.
const ZSTD_WINDOW_LOG: u32 = 26;
/// Bytes taken out at a time.
const PIECE_BYTES: usize = 1 << 20;
/// [`HELD_BYTES`] in memory.
#[expect(clippy::cast_possible_truncation, reason = "1 MiB fits every usize")]
const TAIL_BYTES: usize = HELD_BYTES as usize;
/// First bytes of the unpacked image that are looked at.
const LOOK_BYTES: usize = 64 << 10;

/// An image that ended.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// Bytes that came out.
    pub(super) bytes: u64,
    /// The last of them, at most [`HELD_BYTES`].
    tail: Vec<u8>,
}

impl Unpacked {
    /// What of the image belongs to the boot area, from the disk's held first MiB and the image's own end.
    pub(super) fn held(self, mut head: Vec<u8>) -> Held {
        head.truncate(usize::try_from(self.bytes).unwrap_or(usize::MAX));
        let tail_start = self.bytes - self.tail.len() as u64;
        let tail_offset = tail_start.max(head.len() as u64);
        let skip = usize::try_from(tail_offset - tail_start).unwrap_or(usize::MAX);
        let tail = self.tail.get(skip..).unwrap_or_default().to_vec();
        Held { head, tail_offset, tail }
    }
}

/// Looks inside `prefix`, the start of a compressed image, before the disk is touched.
///
/// # Errors
/// [`ImageError::Inside`], [`ImageError::Unsupported`]: no raw image; [`ImageError::Unpack`]: damaged, or needs too much memory.
pub(super) fn look_inside(packing: Packing, prefix: &[u8]) -> Result<(), ImageError> {
    let packed = Format::Packed(packing).name();
    let failed = |source| ImageError::Unpack { packed, bytes: 0, source };
    let (mut inside, mut piece) = (Vec::new(), vec![0; 4096]);
    let mut source = open(Some(packing), io::Cursor::new(prefix.to_vec())).map_err(failed)?;
    while inside.len() < LOOK_BYTES {
        match source.read(&mut piece) {
            Ok(0) if inside.is_empty() => return Err(ImageError::Empty),
            Ok(0) => break,
            Ok(read) => inside.extend_from_slice(piece.get(..read).unwrap_or_default()),
            // The prefix ends here, the image does not.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(failed(error)),
        }
    }
    match detect(&inside, None)? {
        Format::Raw => Ok(()),
        other @ (Format::Qcow2 | Format::Packed(_)) => {
            Err(ImageError::Inside { packed, detected: other.name().to_owned() })
        }
    }
}

/// Whether a decompressor refused because of [`MEMORY_BYTES`].
pub(super) fn is_too_much(error: &io::Error) -> bool {
    let lzma = error.get_ref().and_then(|inner| inner.downcast_ref::<liblzma::stream::Error>());
    // ZSTD_error_frameParameter_windowTooLarge; the crate hands on its text only.
    lzma == Some(&liblzma::stream::Error::MemLimit) || error.to_string().contains("too much memory")
}

/// The plain bytes of `body`.
fn open<'a>(packing: Option<Packing>, body: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let body = BufReader::with_capacity(128 << 10, body);
    Ok(match packing {
        None => Box::new(body),
        Some(Packing::Gzip) => Box::new(MultiGzDecoder::new(body)),
        Some(Packing::Xz) => {
            let stream = Stream::new_stream_decoder(MEMORY_BYTES, CONCATENATED)?;
            Box::new(XzDecoder::new_stream(body, stream))
        }
        Some(Packing::Zstd) => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(body)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
    })
}

/// The body as it arrives. Its end may also mean that somebody stopped.
struct Body {
    chunks: mpsc::Receiver<Bytes>,
    current: Bytes,
    fate: Arc<Fate>,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            if self.fate.stopped() {
                return Ok(0);
            }
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk,
                None => return Ok(0),
            }
        }
        let len = self.current.len().min(buffer.len());
        self.current.copy_to_slice(buffer.get_mut(..len).unwrap_or_default());
        Ok(len)
    }
}

/// The thread that unpacks one body and sends it to the disk; ends when the channel does, and early when it or another
/// thread fails.
pub(super) fn start_unpack(
    packing: Option<Packing>,
    sink: Sink,
    body: mpsc::Receiver<Bytes>,
    fate: &Arc<Fate>,
) -> Result<Worker<Option<Unpacked>>, ImageError> {
    let shared = Arc::clone(fate);
    // Made here, not there: glibc keeps what a thread freed for threads like it, and every mirror that failed would leave its own.
    let piece = vec![0; PIECE_BYTES];
    let tail = VecDeque::with_capacity(TAIL_BYTES + PIECE_BYTES);
    Worker::start("image-unpack", fate, move || {
        let target = Arc::clone(&sink.target);
        let output = Output::new(sink.target, sink.lanes, sink.pool, 0);
        let body = Body { chunks: body, current: Bytes::new(), fate: Arc::clone(&shared) };
        match unpack(packing, body, &target, output, (piece, tail)) {
            Ok(unpacked) => Some(unpacked),
            Err(Stop::Elsewhere) => None,
            Err(Stop::Error(error)) => {
                // The first failure counts: an end of the body that another thread caused is no damage.
                shared.fail(error);
                None
            }
        }
    })
}

fn unpack(
    packing: Option<Packing>,
    body: Body,
    target: &Target,
    mut output: Output,
    (mut piece, mut tail): (Vec<u8>, VecDeque<u8>),
) -> Result<Unpacked, Stop> {
    let disk_bytes = target.disk.bytes();
    let packed = packing.map_or("raw", |packing| Format::Packed(packing).name());
    let failed = |bytes, source| Stop::Error(ImageError::Unpack { packed, bytes, source });
    let mut source = open(packing, body).map_err(|error| failed(0, error))?;
    let mut bytes = 0;
    loop {
        let len = fill(&mut *source, &mut piece).map_err(|error| failed(bytes, error))?;
        let part = piece.get(..len).unwrap_or_default();
        if bytes + len as u64 > disk_bytes {
            return Err(ImageError::Grows { disk_bytes }.into());
        }
        output.plain(bytes, part)?;
        keep_last(&mut tail, part);
        bytes += len as u64;
        if len < PIECE_BYTES {
            target.sums.end_at(bytes);
            output.flush()?;
            return Ok(Unpacked { bytes, tail: tail.into() });
        }
    }
}

/// Reads until `buffer` is full or the source ends.
fn fill(source: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match source.read(buffer.get_mut(len..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

/// Keeps the last [`HELD_BYTES`] of everything.
fn keep_last(tail: &mut VecDeque<u8>, part: &[u8]) {
    tail.extend(part);
    tail.drain(..tail.len().saturating_sub(TAIL_BYTES));
}
