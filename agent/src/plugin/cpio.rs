//! The archive inside a bundle: cpio in the "newc" form (kernel, Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! Only folders, files and symbolic links. Written in one order with times and owners 0, so that the same tree is the same
//! bytes; read as what a stranger may have written, although it is read only after its signature was checked.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

/// Bytes of a header: the magic and thirteen fields of eight hexadecimal digits.
const HEADER: usize = 110;
const MAGIC: &[u8] = b"070701";
const TRAILER: &[u8] = b"TRAILER!!!";
/// File type bits and their values (POSIX, `sys/stat.h`).
const KIND: u32 = 0o170_000;
const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
/// Longest path, bytes (Linux, `PATH_MAX`).
const MAX_PATH: u64 = 4096;
/// Most entries of one archive: Python with its library has some 1,500, fwupd with all it needs some 400.
const MAX_ENTRIES: u64 = 20_000;
/// Deepest that folders may be in one another: each entry's place is looked for from the top.
const MAX_DEPTH: usize = 32;
const ENTRIES: &str = "files and folders";

/// Why an archive could not be written or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A file of the tree, or the archive itself, could not be read or written.
    #[error("{op} {}", path.display())]
    Io {
        /// `reading`, `writing`.
        op: &'static str,
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The archive's own bytes could not be read or written.
    #[error("reading the bundle's archive")]
    Stream(#[source] io::Error),
    /// Something that a plugin has no use for.
    #[error("{} is neither a folder, a file nor a symbolic link", path.display())]
    Kind {
        /// Which.
        path: PathBuf,
    },
    /// A header that is none.
    #[error("entry {entry} of the archive has a damaged header")]
    Header {
        /// Counts from 1.
        entry: u64,
    },
    /// A path that leads out of the folder, or below a link.
    #[error("the archive's path {:?} leads out of the plugin's folder, or is there twice", path.display().to_string())]
    Path {
        /// As written.
        path: PathBuf,
    },
    /// More than was allowed.
    #[error("the plugin's tree has more than {limit} {unit}, the most it may have")]
    TooLarge {
        /// The cap.
        limit: u64,
        /// `bytes` or `files and folders`.
        unit: &'static str,
    },
    /// Folders in folders in folders.
    #[error(
        "{:?} is more than {MAX_DEPTH} folders deep in the plugin's tree, the most it may be",
        start(path)
    )]
    Deep {
        /// Which.
        path: PathBuf,
    },
}

/// The beginning of a path, which may be long.
fn start(path: &Path) -> String {
    path.display().to_string().chars().take(80).collect()
}

fn io_error(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ArchiveError {
    let path = path.to_path_buf();
    move |source| ArchiveError::Io { op, path, source }
}

/// Writes the tree below `dir` to `out`.
///
/// # Errors
/// [`ArchiveError::Io`], [`ArchiveError::Kind`]; [`ArchiveError::TooLarge`] and [`ArchiveError::Deep`] where nobody could unpack it.
pub fn pack(dir: &Path, out: &mut impl Write) -> Result<(), ArchiveError> {
    let mut paths = BTreeSet::new();
    gather(dir, Path::new(""), &mut paths)?;
    for path in paths {
        let full = dir.join(&path);
        let meta = fs::symlink_metadata(&full).map_err(io_error("reading", &full))?;
        let kind = meta.file_type();
        let (mode, body) = if kind.is_dir() {
            (FOLDER | 0o755, Vec::new())
        } else if kind.is_symlink() {
            let target = fs::read_link(&full).map_err(io_error("reading", &full))?;
            (LINK | 0o777, target.into_os_string().into_vec())
        } else if kind.is_file() {
            let executable = meta.permissions().mode() & 0o111 != 0;
            let bits = if executable { 0o755 } else { 0o644 };
            (FILE | bits, fs::read(&full).map_err(io_error("reading", &full))?)
        } else {
            return Err(ArchiveError::Kind { path });
        };
        entry(out, path.as_os_str().as_bytes(), mode, &body).map_err(ArchiveError::Stream)?;
    }
    entry(out, TRAILER, 0, &[]).map_err(ArchiveError::Stream)
}

fn gather(dir: &Path, below: &Path, paths: &mut BTreeSet<PathBuf>) -> Result<(), ArchiveError> {
    let full = dir.join(below);
    for entry in fs::read_dir(&full).map_err(io_error("reading", &full))? {
        let entry = entry.map_err(io_error("reading", &full))?;
        let path = below.join(entry.file_name());
        if paths.len() as u64 >= MAX_ENTRIES {
            return Err(ArchiveError::TooLarge { limit: MAX_ENTRIES, unit: ENTRIES });
        }
        if path.components().count() > MAX_DEPTH {
            return Err(ArchiveError::Deep { path });
        }
        if entry.file_type().map_err(io_error("reading", &full))?.is_dir() {
            gather(dir, &path, paths)?;
        }
        paths.insert(path);
    }
    Ok(())
}

fn entry(out: &mut impl Write, name: &[u8], mode: u32, body: &[u8]) -> io::Result<()> {
    let size = u32::try_from(body.len()).map_err(io::Error::other)?;
    let length = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
    // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check.
    out.write_all(MAGIC)?;
    for field in [0, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, length, 0] {
        write!(out, "{field:08x}")?;
    }
    out.write_all(name)?;
    out.write_all(&[0])?;
    pad(out, HEADER + name.len() + 1)?;
    out.write_all(body)?;
    pad(out, body.len())
}

fn pad(out: &mut impl Write, written: usize) -> io::Result<()> {
    let zeros = [0; 3];
    out.write_all(zeros.get(..written.next_multiple_of(4) - written).unwrap_or_default())
}

/// Unpacks an archive into the empty folder `dir`; at most `limit` bytes of files.
///
/// # Errors
/// [`ArchiveError`]; what was unpacked until then stays.
pub fn unpack(archive: &mut impl Read, dir: &Path, limit: u64) -> Result<(), ArchiveError> {
    let mut left = limit;
    // One more: the end of the archive looks like an entry.
    for number in 1..=MAX_ENTRIES + 1 {
        let header = Header::read(archive, number)?;
        if header.name == TRAILER {
            return Ok(());
        }
        let relative = PathBuf::from(std::ffi::OsString::from_vec(header.name));
        left =
            left.checked_sub(header.size).ok_or(ArchiveError::TooLarge { limit, unit: "bytes" })?;
        let full = place(dir, &relative)?;
        let mut body = archive.take(header.size);
        let wrong = || ArchiveError::Path { path: relative.clone() };
        match header.mode & KIND {
            FOLDER => DirBuilder::new().mode(0o755).create(&full).map_err(|_| wrong())?,
            FILE => write_file(&full, header.mode, &mut body)?,
            LINK => {
                if header.size > MAX_PATH {
                    return Err(wrong());
                }
                let mut target = Vec::new();
                body.read_to_end(&mut target).map_err(ArchiveError::Stream)?;
                symlink(std::ffi::OsString::from_vec(target), &full).map_err(|_| wrong())?;
            }
            _ => return Err(ArchiveError::Kind { path: relative }),
        }
        if body.limit() > 0 {
            return Err(ArchiveError::Header { entry: number });
        }
        skip(archive, header.size.next_multiple_of(4) - header.size)?;
    }
    Err(ArchiveError::TooLarge { limit: MAX_ENTRIES, unit: ENTRIES })
}

fn write_file(path: &Path, mode: u32, body: &mut impl Read) -> Result<(), ArchiveError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(io_error("writing", path))?;
    io::copy(body, &mut file).map_err(io_error("writing", path))?;
    // Set-user-ID bits have no business here.
    file.set_permissions(Permissions::from_mode(mode & 0o755)).map_err(io_error("writing", path))
}

/// Where `relative` goes: its parents are folders that this archive made, never links.
fn place(dir: &Path, relative: &Path) -> Result<PathBuf, ArchiveError> {
    let wrong = || ArchiveError::Path { path: relative.to_path_buf() };
    if relative.components().count() > MAX_DEPTH {
        return Err(ArchiveError::Deep { path: relative.to_path_buf() });
    }
    let mut full = dir.to_path_buf();
    let mut parts = relative.components().peekable();
    if parts.peek().is_none() {
        return Err(wrong());
    }
    while let Some(part) = parts.next() {
        let Component::Normal(name) = part else { return Err(wrong()) };
        full.push(name);
        let known = fs::symlink_metadata(&full);
        let good = if parts.peek().is_some() {
            known.is_ok_and(|meta| meta.is_dir())
        } else {
            known.is_err()
        };
        if !good {
            return Err(wrong());
        }
    }
    Ok(full)
}

struct Header {
    mode: u32,
    size: u64,
    name: Vec<u8>,
}

impl Header {
    fn read(archive: &mut impl Read, entry: u64) -> Result<Self, ArchiveError> {
        let damaged = || ArchiveError::Header { entry };
        let mut bytes = [0; HEADER];
        archive.read_exact(&mut bytes).map_err(ArchiveError::Stream)?;
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(damaged)?;
        let field = |index: usize| {
            let digits = rest.get(index * 8..index * 8 + 8)?;
            u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
        };
        let mode = field(1).ok_or_else(damaged)?;
        let size = field(6).map(u64::from).ok_or_else(damaged)?;
        let length = field(11).map(u64::from).ok_or_else(damaged)?;
        if !(2..=MAX_PATH).contains(&length) {
            return Err(damaged());
        }
        let mut name = Vec::new();
        archive.take(length).read_to_end(&mut name).map_err(ArchiveError::Stream)?;
        if name.pop() != Some(0) || name.contains(&0) {
            return Err(damaged());
        }
        let read = HEADER as u64 + length;
        skip(archive, read.next_multiple_of(4) - read)?;
        Ok(Self { mode, size, name })
    }
}

fn skip(archive: &mut impl Read, bytes: u64) -> Result<(), ArchiveError> {
    io::copy(&mut archive.take(bytes), &mut io::sink()).map(drop).map_err(ArchiveError::Stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, mode: u32, body: &[u8]) -> Vec<u8> {
        let mut archive = Vec::new();
        entry(&mut archive, name.as_bytes(), mode, body).unwrap();
        archive
    }

    fn unpacked(archive: &[u8]) -> Result<tempfile::TempDir, ArchiveError> {
        let dir = tempfile::tempdir().unwrap();
        let whole = [archive, &one("TRAILER!!!", 0, b"")].concat();
        unpack(&mut whole.as_slice(), dir.path(), 1000).map(|()| dir)
    }

    #[test]
    fn a_tree_survives_and_the_same_tree_is_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root/bin")).unwrap();
        fs::write(dir.path().join("root/bin/hello"), b"#!/bin/sh\n").unwrap();
        fs::set_permissions(dir.path().join("root/bin/hello"), Permissions::from_mode(0o775))
            .unwrap();
        symlink("hello", dir.path().join("root/bin/also")).unwrap();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        pack(dir.path(), &mut first).unwrap();
        pack(dir.path(), &mut second).unwrap();
        assert_eq!(first, second);
        let copy = tempfile::tempdir().unwrap();
        unpack(&mut first.as_slice(), copy.path(), 1000).unwrap();
        let also = copy.path().join("root/bin/also");
        assert_eq!(fs::read(&also).unwrap(), b"#!/bin/sh\n");
        assert_eq!(fs::metadata(also).unwrap().permissions().mode() & 0o777, 0o755);
        let tight = tempfile::tempdir().unwrap();
        let error = unpack(&mut first.as_slice(), tight.path(), 9).unwrap_err();
        assert!(matches!(error, ArchiveError::TooLarge { limit: 9, .. }), "{error}");
    }

    #[test]
    fn nothing_leaves_the_folder() {
        for name in ["../x", "/etc/x", "a/../../x", "./x", "missing/x", "link/x", "link"] {
            let archive =
                [one("link", LINK | 0o777, b"/tmp"), one(name, FILE | 0o644, b"x")].concat();
            let error = unpacked(&archive).map(drop).unwrap_err();
            assert!(matches!(error, ArchiveError::Path { .. }), "{name}: {error}");
        }
        let device = unpacked(&one("sda", 0o060_644, b"")).map(drop).unwrap_err();
        assert!(matches!(device, ArchiveError::Kind { .. }), "{device}");
        let dir = unpacked(&one("su", FILE | 0o4755, b"")).unwrap();
        let mode = fs::metadata(dir.path().join("su")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755, "no set-user-ID");
    }

    #[test]
    fn so_many_entries_and_so_deep_folders_and_no_more() {
        let folders = |count: u64| -> Vec<u8> {
            (0..count).flat_map(|number| one(&format!("{number}"), FOLDER | 0o755, b"")).collect()
        };
        assert!(unpacked(&folders(MAX_ENTRIES)).is_ok());
        let error = unpacked(&folders(MAX_ENTRIES + 1)).map(drop).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the plugin's tree has more than 20000 files and folders, the most it may have"
        );
        let nested = |depth: usize| -> Vec<u8> {
            let path = |depth| vec!["a"; depth].join("/");
            (1..=depth).flat_map(|depth| one(&path(depth), FOLDER | 0o755, b"")).collect()
        };
        assert!(unpacked(&nested(MAX_DEPTH)).is_ok());
        let error = unpacked(&nested(MAX_DEPTH + 1)).map(drop).unwrap_err();
        assert!(error.to_string().contains("is more than 32 folders deep"), "{error}");
        // Who makes a bundle learns of it, and not who gets it.
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join(vec!["a"; MAX_DEPTH].join("/"));
        fs::create_dir_all(&deep).unwrap();
        pack(dir.path(), &mut Vec::new()).unwrap();
        fs::write(deep.join("b"), "").unwrap();
        let error = pack(dir.path(), &mut Vec::new()).unwrap_err();
        assert!(matches!(error, ArchiveError::Deep { .. }), "{error}");
    }

    #[test]
    fn cut_and_damaged_archives_are_errors() {
        let whole = [one("a", FILE | 0o644, b"body"), one("TRAILER!!!", 0, b"")].concat();
        for cut in 0..whole.len() - 1 {
            let dir = tempfile::tempdir().unwrap();
            let mut part = whole.get(..cut).unwrap();
            // The padding after the trailer's name may be missing.
            if unpack(&mut part, dir.path(), 1000).is_ok() {
                assert!(cut >= whole.len() - 3, "{cut} of {}", whole.len());
            }
        }
        assert!(unpacked(b"garbage that is longer than a header of the newc form, so that its magic is looked at, and then some more").is_err());
    }
}
