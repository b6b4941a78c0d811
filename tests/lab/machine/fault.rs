//! Errors of a disk's writes, made by QEMU's blkdebug driver for one power-on.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// What happens to the first write that covers a sector; zeroing does not count as writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteFault {
    /// The sector, in units of 512 bytes.
    pub sector: u64,
    /// What becomes of the write, which does not happen.
    pub then: Then,
}

/// What becomes of a write that does not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Then {
    /// The whole machine stands still at that moment, as it would before a power cut.
    Stop,
    /// The machine's kernel gets this error number (5: EIO, 28: ENOSPC).
    Fail(u8),
}

fn file(dir: &Path, disk: usize) -> std::path::PathBuf {
    dir.join(format!("fault{disk}"))
}

/// Arms `fault` for the next power-on.
pub(super) fn arm(dir: &Path, disk: usize, fault: WriteFault) -> anyhow::Result<()> {
    fs::write(file(dir, disk), serde_json::to_vec(&fault)?).context("arming a fault of a disk")
}

/// The fault armed for a disk, once.
pub(super) fn take(dir: &Path, disk: usize) -> anyhow::Result<Option<WriteFault>> {
    let file = file(dir, disk);
    let Ok(text) = fs::read(&file) else { return Ok(None) };
    fs::remove_file(&file)?;
    serde_json::from_slice(&text).context("reading the fault of a disk").map(Some)
}

impl WriteFault {
    /// The options of a `-drive` on `file` (QEMU `qapi/block-core.json`, `BlockdevOptionsBlkdebug`).
    pub(super) fn drive(self, file: &str) -> String {
        let Self { sector, then } = self;
        let (errno, werror) = match then {
            Then::Stop => (5, "stop"),
            Then::Fail(errno) => (errno, "report"),
        };
        format!(
            "driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename={file},\
             file.inject-error.0.event=none,file.inject-error.0.iotype=write,file.inject-error.0.sector={sector},\
             file.inject-error.0.errno={errno},file.inject-error.0.once=on,werror={werror}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_armed_for_one_power_on() {
        let dir = tempfile::tempdir().unwrap();
        let fault = WriteFault { sector: 1, then: Then::Fail(28) };
        arm(dir.path(), 0, fault).unwrap();
        assert_eq!(take(dir.path(), 1).unwrap(), None);
        assert_eq!(take(dir.path(), 0).unwrap(), Some(fault));
        assert_eq!(take(dir.path(), 0).unwrap(), None);
    }
}
