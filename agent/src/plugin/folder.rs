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
    #[error("{} has more than {MAX_MANIFEST} bytes", path.display())]
    Large {
        /// The manifest.
        path: PathBuf,
    },
    /// It would lead out of the plugin: what is signed would not be what runs.
    #[error("{} must be {what} of the plugin's own, not a link or something else", path.display())]
    Foreign {
        /// The manifest, or the tree.
        path: PathBuf,
        /// `a file` or `a folder`.
        what: &'static str,
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
        if !fs::symlink_metadata(&path).map_err(read)?.is_file() {
            return Err(FolderError::Foreign { path, what: "a file" });
        }
        let mut text = Vec::new();
        let mut start = fs::File::open(&path).map_err(read)?.take(MAX_MANIFEST + 1);
        start.read_to_end(&mut text).map_err(read)?;
        if text.len() as u64 > MAX_MANIFEST {
            return Err(FolderError::Large { path });
        }
        let tree = dir.join("root");
        if fs::symlink_metadata(&tree).is_ok_and(|meta| !meta.is_dir()) {
            return Err(FolderError::Foreign { path: tree, what: "a folder" });
        }
        let manifest: Manifest = match serde_json::from_slice(&text) {
            Ok(manifest) => manifest,
            Err(source) => return Err(FolderError::Json { path, source }),
        };
        let problems = manifest.problems();
        if !problems.is_empty() {
            return Err(FolderError::Manifest { path, problems });
        }
        let exec = manifest.exec.first().cloned().unwrap_or_default();
        let program = tree.join(exec.trim_start_matches('/'));
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder with a tree and this program.
    fn plugin(exec: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let manifest = serde_json::json!({
            "protocol": 1, "name": "fake", "version": "1.0.0", "exec": [exec],
            "steps": [{"name": "fake_step", "interface": "deploy", "safety": "read_only"}],
        });
        fs::write(dir.path().join("manifest.json"), manifest.to_string()).unwrap();
        fs::create_dir_all(dir.path().join("root/bin")).unwrap();
        let program = dir.path().join("root/bin/it");
        fs::write(&program, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        dir
    }

    #[test]
    fn what_runs_is_what_is_signed_so_neither_manifest_nor_tree_may_be_a_link() {
        let refusal = |dir: &tempfile::TempDir| Folder::read(dir.path()).unwrap_err().to_string();
        let (tree, manifest) = (plugin("bin/it"), plugin("bin/it"));
        assert!(Folder::read(tree.path()).is_ok());
        fs::remove_dir_all(tree.path().join("root")).unwrap();
        symlink(manifest.path().join("root"), tree.path().join("root")).unwrap();
        let said = refusal(&tree);
        assert!(
            said.ends_with(
                "root must be a folder of the plugin's own, not a link or something else"
            ),
            "{said}"
        );

        let path = manifest.path().join("manifest.json");
        fs::rename(&path, manifest.path().join("other.json")).unwrap();
        symlink("other.json", &path).unwrap();
        let said = refusal(&manifest);
        assert!(said.contains("manifest.json must be a file of the plugin's own"), "{said}");
    }

    #[test]
    fn the_program_is_below_the_tree_and_the_manifest_of_bounded_length() {
        let said = Folder::read(plugin("../root/bin/it").path()).unwrap_err().to_string();
        assert!(said.contains("name a path below root/, without .."), "{said}");
        let large = plugin("bin/it");
        fs::write(large.path().join("manifest.json"), " ".repeat(70_000)).unwrap();
        let said = Folder::read(large.path()).unwrap_err().to_string();
        assert!(said.ends_with("has more than 65536 bytes"), "{said}");
    }
}
