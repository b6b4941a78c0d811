//! The small archive that puts the trusted keys into a ramdisk: cpio in the "newc" form (kernel,
//! Documentation/driver-api/early-userspace/buffer-format.rst), packed with gzip, loaded as a further initrd.
//!
//! UEFI puts one initrd right behind the other, whatever its length, and the kernel takes an archive that is not packed for one only
//! where a multiple of four bytes came before it. So this one is packed, which is found anywhere, and padded, so that what comes
//! behind it is found too; the kernel skips the zeros.

use std::io::Write as _;

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use ironwright_api::PLUGIN_KEYS_DIR;

use super::key::TrustedKeys;

/// The archive's length is a multiple of this, bytes: as with every other archive that a ramdisk is made of.
const BLOCK: usize = 512;

/// File type bits (POSIX, `sys/stat.h`) with permissions.
const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_644;

/// The archive with these keys; the same keys are the same bytes.
///
/// # Errors
///
/// None that memory can have.
pub fn archive(keys: &TrustedKeys) -> std::io::Result<Vec<u8>> {
    let mut packed: GzEncoder<Vec<u8>> = GzBuilder::new().write(Vec::new(), Compression::best());
    packed.write_all(&cpio(keys))?;
    let mut archive = packed.finish()?;
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    Ok(archive)
}

fn cpio(keys: &TrustedKeys) -> Vec<u8> {
    let mut out = Vec::new();
    let folder = PLUGIN_KEYS_DIR.trim_start_matches('/');
    let ends = folder.match_indices('/').map(|(at, _)| at).chain([folder.len()]);
    for path in ends.filter_map(|end| folder.get(..end)) {
        entry(&mut out, path, FOLDER, b"");
    }
    for (id, line) in keys.files() {
        entry(&mut out, &format!("{folder}/{id}.pub"), FILE, line.as_bytes());
    }
    entry(&mut out, "TRAILER!!!", 0, b"");
    out
}

fn entry(out: &mut Vec<u8>, name: &str, mode: u32, body: &[u8]) {
    // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check.
    let (size, length) = (body.len(), name.len() + 1);
    let header = format!(
        "070701{0:08X}{mode:08X}{0:08X}{0:08X}{1:08X}{0:08X}{size:08X}{0:08X}{0:08X}{0:08X}{0:08X}{length:08X}{0:08X}",
        0, 1
    );
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    pad(out);
    out.extend_from_slice(body);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}
