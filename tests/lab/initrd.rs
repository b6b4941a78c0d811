//! What is in an initrd, as the kernel would unpack it: archives one after the other, compressed with zstd or not, zeros between them
//! (Linux Documentation/driver-api/early-userspace/buffer-format.rst).

use std::io::Read as _;

use anyhow::{Context as _, bail};

/// Bytes of a cpio header of the form "newc": its magic and thirteen fields of eight hexadecimal digits.
const HEADER: usize = 110;
const CPIO: &[u8] = b"070701";
/// The magic number of zstd (RFC 8878, 3.1.1).
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const TRAILER: &str = "TRAILER!!!";

/// One file, folder, link or device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path, without a slash at the start.
    pub path: String,
    /// File type and permissions (POSIX, `sys/stat.h`).
    pub mode: u32,
}

impl Entry {
    /// Whether it is a file that can be started.
    #[must_use]
    pub fn is_program(&self) -> bool {
        self.mode & 0o170_000 == 0o100_000 && self.mode & 0o111 != 0
    }
}

/// Everything in `initrd`, of all of its archives, in their order.
///
/// # Errors
/// When something in it is no archive, or is cut.
pub fn entries(mut initrd: &[u8]) -> anyhow::Result<Vec<Entry>> {
    let mut found = Vec::new();
    loop {
        let zeros = initrd.iter().take_while(|byte| **byte == 0).count();
        initrd = initrd.get(zeros..).unwrap_or_default();
        if initrd.is_empty() {
            return Ok(found);
        } else if initrd.starts_with(CPIO) {
            initrd = archive(initrd, &mut found)?;
        } else if initrd.starts_with(ZSTD) {
            let mut unpacked = Vec::new();
            let frame = zstd::Decoder::with_buffer(&mut initrd).context("starting zstd")?;
            frame.single_frame().read_to_end(&mut unpacked).context("unpacking an archive")?;
            found.extend(entries(&unpacked)?);
        } else {
            bail!("after {} entries comes something that is no archive", found.len());
        }
    }
}

/// Reads one archive and returns what follows it.
fn archive<'a>(mut rest: &'a [u8], found: &mut Vec<Entry>) -> anyhow::Result<&'a [u8]> {
    loop {
        let cut = || format!("the archive is cut after {} entries", found.len());
        let header =
            rest.get(..HEADER).filter(|header| header.starts_with(CPIO)).with_context(cut)?;
        let field = |number: usize| -> anyhow::Result<usize> {
            let digits = header.get(6 + number * 8..14 + number * 8).with_context(cut)?;
            Ok(usize::from_str_radix(std::str::from_utf8(digits)?, 16)?)
        };
        let (mode, size, length) = (field(1)?, field(6)?, field(11)?);
        let name = rest.get(HEADER..HEADER + length).with_context(cut)?;
        let path = String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
        let body = (HEADER + length).next_multiple_of(4);
        rest = rest.get((body + size).next_multiple_of(4)..).unwrap_or_default();
        if path == TRAILER {
            return Ok(rest);
        }
        let path = path.trim_start_matches("./").to_owned();
        found.push(Entry { path, mode: u32::try_from(mode)? });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, mode: u32, body: &str) -> Vec<u8> {
        let fields = [0, mode as usize, 0, 0, 1, 0, body.len(), 0, 0, 0, 0, name.len() + 1, 0];
        let mut bytes = b"070701".to_vec();
        fields.iter().for_each(|field| bytes.extend(format!("{field:08X}").bytes()));
        bytes.extend(name.bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(body.bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn plain_and_compressed_archives_are_read_one_after_the_other() {
        let end = one(TRAILER, 0, "");
        let plain =
            [one("dev", 0o040_755, ""), one("dev/null", 0o020_600, ""), end.clone()].concat();
        let inner =
            [one("./init", 0o100_755, "a program"), one("bin/x", 0o120_777, "../init"), end]
                .concat();
        let packed = zstd::encode_all(inner.as_slice(), 3).unwrap();
        // What is behind a frame is another archive, not a part of it.
        let whole = [plain.clone(), packed.clone(), vec![0; 700], packed.clone()].concat();
        let found = entries(&whole).unwrap();
        let paths: Vec<&str> = found.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths, ["dev", "dev/null", "init", "bin/x", "init", "bin/x"]);
        let programs = found.iter().filter(|entry| entry.is_program()).count();
        assert_eq!(programs, 2, "{found:?}");
        for bad in [&plain[..130], &packed[..packed.len() - 3], b"garbage"] {
            assert!(entries(bad).is_err(), "{bad:?}");
        }
    }
}
