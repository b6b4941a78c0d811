//! The journal's file: read whole, replaced by rename, for its owner only.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The journal could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{op} of the journal {}", path.display())]
pub struct JournalError {
    /// The file.
    pub path: PathBuf,
    /// What was attempted.
    pub op: &'static str,
    /// The system's answer.
    pub source: io::Error,
}

#[derive(Debug)]
pub(super) struct JournalFile {
    path: PathBuf,
}

impl JournalFile {
    /// The journal in `dir`, which is made for its owner only when it is not there.
    pub(super) fn in_dir(dir: &Path) -> Result<Self, JournalError> {
        let file = Self { path: dir.join("journal.json") };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|source| file.error("making the directory", source))?;
        Ok(file)
    }

    pub(super) fn read(&self) -> Result<Option<Vec<u8>>, JournalError> {
        match std::fs::read(&self.path) {
            Ok(text) => Ok(Some(text)),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.error("read", source)),
        }
    }

    pub(super) fn replace(&self, text: &[u8]) -> Result<(), JournalError> {
        let next = self.path.with_extension("next");
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&next)?;
            file.write_all(text)?;
            file.sync_data()?;
            std::fs::rename(&next, &self.path)
        };
        write().map_err(|source| self.error("write", source))
    }

    pub(super) fn error(&self, op: &'static str, source: io::Error) -> JournalError {
        JournalError { path: self.path.clone(), op, source }
    }
}
