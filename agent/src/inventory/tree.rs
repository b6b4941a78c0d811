//! Small files below a root folder: the door of the inventory to the machine, by which captured trees are read too.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Longest file read, bytes: `/proc/cpuinfo` of a thousand processors is about 2 MiB.
const MAX_BYTES: u64 = 8 << 20;

/// A root folder with /sys and /proc below it. Paths are relative to it, without a leading slash.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
}

impl Tree {
    /// The tree below `root`.
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.canonicalize().unwrap_or_else(|_| root.to_owned()) }
    }

    /// Whether this is the machine itself, and not a captured one: only then are its devices asked.
    pub(super) fn is_this_machine(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Contents of a file; `None` when it cannot be read, which for sysfs is an answer.
    pub(super) fn bytes(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = File::open(self.root.join(path)).ok()?;
        file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Contents without NULs and surrounding white space; `None` when nothing is left.
    pub(super) fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        clean(&self.bytes(path)?)
    }

    /// A decimal number.
    pub(super) fn number<T: std::str::FromStr>(&self, path: impl AsRef<Path>) -> Option<T> {
        self.text(path)?.parse().ok()
    }

    /// Whether a file says `1`.
    pub(super) fn flag(&self, path: impl AsRef<Path>) -> bool {
        self.number::<u8>(path) == Some(1)
    }

    /// Whether there is such a file or folder.
    pub(super) fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.root.join(path).exists()
    }

    /// Where a path leads when all links are followed, relative to the root.
    pub(super) fn real(&self, path: impl AsRef<Path>) -> Option<PathBuf> {
        let real = self.root.join(path).canonicalize().ok()?;
        real.strip_prefix(&self.root).ok().map(Path::to_owned)
    }

    /// Last part of where a link leads: a driver's name, for example.
    pub(super) fn link_name(&self, path: impl AsRef<Path>) -> Option<String> {
        let target = fs::read_link(self.root.join(path)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }

    /// Names in a folder, sorted; none when there is no such folder.
    pub(super) fn names(&self, path: impl AsRef<Path>) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

/// Text without NULs and surrounding white space; `None` when nothing is left.
pub(super) fn clean(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes).replace('\0', "");
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
