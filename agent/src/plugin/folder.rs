//! A plugin unpacked: `manifest.json` and the tree `root/`.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ironwright_plugin::{Manifest, ManifestProblem};

/// Largest manifest, bytes.
const MAX_MANIFEST: u64 = 64 << 10;

/// A folder that holds a usable plugin.
#[derive(Debug, Clone)]
pub struct Folder {
    dir: PathBuf,
    manifest: Manifest,
    program: PathBuf,
}

/// Why a folder holds none.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The manifest could not be read.
    #[error("reading {}", path.display())]
    Read {
        /// The manifest.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Larger than a manifest may be.
    #[error("{} has {bytes} bytes, the most is {MAX_MANIFEST}", path.display())]
    Large {
        /// The manifest.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// Not JSON, or not a manifest's JSON.
    #[error("{} is not a manifest", path.display())]
    Json {
        /// The manifest.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// Fields that cannot be used.
    #[error("{}: {}", path.display(), join(problems))]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// All that is wrong.
        problems: Vec<ManifestProblem>,
    },
    /// The program is not there, or is none.
    #[error("the program {exec:?} of the manifest is not an executable file: {} must be there with its x bit set", path.display())]
    Program {
        /// As the manifest names it.
        exec: String,
        /// Where it should be.
        path: PathBuf,
    },
}

fn join(problems: &[ManifestProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Folder {
    /// Reads the plugin in `dir`.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn read(dir: &Path) -> Result<Self, FolderError> {
        let path = dir.join("manifest.json");
        let read = |source| FolderError::Read { path: path.clone(), source };
        let bytes = fs::metadata(&path).map_err(read)?.len();
        if bytes > MAX_MANIFEST {
            return Err(FolderError::Large { path, bytes });
        }
        let text = fs::read(&path).map_err(read)?;
        let manifest: Manifest = match serde_json::from_slice(&text) {
            Ok(manifest) => manifest,
            Err(source) => return Err(FolderError::Json { path, source }),
        };
        let problems = manifest.problems();
        if !problems.is_empty() {
            return Err(FolderError::Manifest { path, problems });
        }
        let exec = manifest.exec.first().cloned().unwrap_or_default();
        let program = dir.join("root").join(exec.trim_start_matches('/'));
        // A link is judged where it will be followed: inside the tree.
        let executable = |meta: fs::Metadata| {
            meta.is_symlink() || meta.is_file() && meta.permissions().mode() & 0o111 != 0
        };
        if !fs::symlink_metadata(&program).is_ok_and(executable) {
            return Err(FolderError::Program { exec, path: program });
        }
        Ok(Self { dir: dir.to_path_buf(), manifest, program })
    }

    /// The interpreter that the program's first line names and the tree lacks: the plugin runs where the host has one, and
    /// not confined. Of a binary, the libraries it may need are not looked at.
    #[must_use]
    pub fn missing_interpreter(&self) -> Option<PathBuf> {
        let mut start = Vec::new();
        fs::File::open(&self.program).ok()?.take(256).read_to_end(&mut start).ok()?;
        let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
        let interpreter = std::str::from_utf8(line).ok()?.split_whitespace().next()?;
        let inside = self.dir.join("root").join(interpreter.trim_start_matches('/'));
        fs::symlink_metadata(inside).is_err().then(|| PathBuf::from(interpreter))
    }

    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it says it is.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its program, as a path outside of its tree.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }
}
