//! The kernel's own log.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;

/// Records read at most; the kernel keeps fewer.
const MOST: usize = 20_000;
/// Longest record (kernel, `CONSOLE_EXT_LOG_MAX`), bytes.
const RECORD: usize = 8192;
/// Bytes kept.
const BYTES: usize = 1 << 20;

/// The newest MiB of what the kernel said in this boot, a record a line; empty where it may not be read.
#[must_use]
pub fn kernel_log() -> Vec<u8> {
    let mut log = Vec::new();
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg");
    let Ok(mut file) = file else { return log };
    let mut record = vec![0; RECORD];
    for _ in 0..MOST {
        match file.read(&mut record) {
            // `priority,sequence,microseconds,flags;message`, then the rest in lines of its own.
            Ok(bytes @ 1..) => log.extend_from_slice(record.get(..bytes).unwrap_or_default()),
            // A record that was overwritten meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
            Ok(0) | Err(_) => break,
        }
    }
    log.split_off(log.len().saturating_sub(BYTES))
}
