//! The small archive that puts the trusted keys into a ramdisk: cpio in the "newc" form (kernel,
//! Documentation/driver-api/early-userspace/buffer-format.rst), packed with gzip, loaded as a further initrd.
//!
//! Packed, because a plain archive counts only at a multiple of four bytes, and UEFI puts one initrd right behind the other, whatever
//! its length; a packed one is found anywhere.

use std::io::Write as _;

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use ironwright_api::PLUGIN_KEYS_DIR;

use super::key::TrustedKeys;

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
    packed.finish()
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
