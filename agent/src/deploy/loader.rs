//! The boot loader that a partition image brings: what its `/boot/efi` holds, read out of its file system.
//!
//! The image is somebody else's: its file system is parsed here and not mounted by the kernel, and everything about it is
//! bounded.

use std::sync::Arc;

use ext4_view::{Ext4, Ext4Error, Ext4Read, PathBuf};

use crate::sys::disk::{BlockDevice, DiskError};
use crate::vfat::{Content, Entry};

/// Where distributions keep what belongs on the EFI system partition.
const FOLDER: &str = "/boot/efi";
/// Most files and folders of a loader.
const MAX_ENTRIES: usize = 4096;
/// Largest loader, all files together, bytes: a GRUB with its modules has 10 MB, a unified kernel 100.
const MAX_BYTES: u64 = 256 << 20;
/// Deepest folder.
const MAX_DEPTH: usize = 8;

/// Why the image's boot loader cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoaderError {
    /// The file system is another one, or damaged.
    #[error(
        "the partition image is no ext4, ext3 or ext2 file system that can be read, so its boot loader cannot be"
    )]
    FileSystem(#[source] Ext4Error),
    /// A file in it cannot be read.
    #[error("reading {path} of the partition image")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: Ext4Error,
    },
    /// There is none.
    #[error("the partition image has no EFI loader (*.efi) below /boot/efi")]
    None,
    /// There is one, and no firmware would find it.
    #[error("no firmware would start what /boot/efi of the partition image holds: {why}")]
    Unusable {
        /// Why.
        why: String,
    },
    /// There is too much of it.
    #[error(
        "/boot/efi of the partition image holds more than {MAX_ENTRIES} files, {MAX_BYTES} bytes or {MAX_DEPTH} folders in one another"
    )]
    TooMuch,
    /// A name that FAT cannot have.
    #[error("/boot/efi of the partition image has the name {name:?}, which is no text")]
    Name {
        /// As far as it is text.
        name: String,
    },
}

/// A partition as the parser reads it.
struct Reader(Arc<dyn BlockDevice>);

impl Ext4Read for Reader {
    fn read(
        &mut self,
        start: u64,
        buffer: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.0.read_at(start, buffer).map_err(|error: DiskError| error.into())
    }
}

/// The entries of the image's `/boot/efi`, with a loader among them.
///
/// # Errors
/// [`LoaderError`].
pub(super) fn read(partition: Arc<dyn BlockDevice>) -> Result<Vec<Entry>, LoaderError> {
    let image = Ext4::load(Box::new(Reader(partition))).map_err(LoaderError::FileSystem)?;
    let mut walk = Walk { image, entries: 0, bytes: 0, loaders: 0 };
    let path = PathBuf::new(FOLDER);
    match walk.image.exists(&path) {
        Ok(true) => {}
        Ok(false) => return Err(LoaderError::None),
        Err(source) => return Err(LoaderError::Read { path: FOLDER.to_owned(), source }),
    }
    let found = walk.folder(&path, 0)?;
    if walk.loaders == 0 { Err(LoaderError::None) } else { Ok(found) }
}

struct Walk {
    image: Ext4,
    entries: usize,
    bytes: u64,
    loaders: usize,
}

impl Walk {
    /// Files and folders in `path`; links and everything else that FAT does not know are left out.
    fn folder(&mut self, path: &PathBuf, depth: usize) -> Result<Vec<Entry>, LoaderError> {
        let failed = |source| LoaderError::Read { path: path.display().to_string(), source };
        let mut found = Vec::new();
        for entry in self.image.read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = match entry.file_name().as_str() {
                Ok("." | "..") => continue,
                Ok(name) => name.to_owned(),
                Err(_) => {
                    return Err(LoaderError::Name {
                        name: entry.file_name().display().to_string(),
                    });
                }
            };
            self.entries += 1;
            if self.entries > MAX_ENTRIES || depth >= MAX_DEPTH {
                return Err(LoaderError::TooMuch);
            }
            let kind = entry.file_type().map_err(failed)?;
            let content = match () {
                () if kind.is_dir() => Content::Folder(self.folder(&entry.path(), depth + 1)?),
                () if kind.is_regular_file() => Content::File(self.file(&entry.path())?),
                () => continue,
            };
            if matches!(content, Content::File(_)) && name.to_lowercase().ends_with(".efi") {
                self.loaders += 1;
            }
            found.push(Entry { name, content });
        }
        // The same image gives the same bytes, whatever the order of its directories.
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    fn file(&mut self, path: &PathBuf) -> Result<Vec<u8>, LoaderError> {
        let failed = |source| LoaderError::Read { path: path.display().to_string(), source };
        // Looked at first: a length is a claim, and reading allocates it.
        self.bytes = self.bytes.saturating_add(self.image.metadata(path).map_err(failed)?.len());
        if self.bytes > MAX_BYTES {
            return Err(LoaderError::TooMuch);
        }
        self.image.read(path).map_err(failed)
    }
}
