//! Build results, found again by the hash of everything they are made of.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use sha2::{Digest as _, Sha256};

use super::{ArtifactError, say};
use crate::packages::{Lock, cache_dir};

/// This many results of one kind are kept: a run may still use the one before the newest.
const KEPT: usize = 3;

/// The hash of a build's inputs.
#[derive(Debug, Clone)]
pub(super) struct Key(Sha256);

impl Key {
    pub(super) fn new() -> Self {
        Self(Sha256::new())
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        // With its length, so that no two lists of inputs look the same.
        self.0.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
        self.0.update(bytes);
    }

    /// Name and contents of a file.
    pub(super) fn add_file(&mut self, path: &Path) -> Result<(), ArtifactError> {
        let name = path.file_name().unwrap_or_default();
        self.add(name.as_encoded_bytes());
        self.add(&fs::read(path).map_err(ArtifactError::file(path))?);
        Ok(())
    }

    /// The names of what is in a folder; for a kernel, its version.
    pub(super) fn add_folder_names(&mut self, path: &Path) -> Result<(), ArtifactError> {
        let entries = fs::read_dir(path).map_err(ArtifactError::file(path))?;
        let mut names: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
        names.sort();
        names.iter().for_each(|name| self.add(name.as_encoded_bytes()));
        Ok(())
    }

    /// The first 16 hexadecimal digits: enough for a handful of results.
    fn name(self) -> String {
        self.0.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The results of one kind.
#[derive(Debug)]
pub(super) struct Store {
    kind: String,
    folder: PathBuf,
}

impl Store {
    pub(super) fn new(kind: &str) -> Self {
        Self::below(&cache_dir(), kind)
    }

    fn below(cache: &Path, kind: &str) -> Self {
        Self { kind: kind.to_owned(), folder: cache.join(kind) }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder with the result of `key`. Where there is none, `build` fills an empty folder, which becomes the result
    /// only when it succeeds. One process at a time builds.
    pub(super) fn get(
        &self,
        key: Key,
        build: impl FnOnce(&Path) -> Result<(), ArtifactError>,
    ) -> Result<PathBuf, ArtifactError> {
        let result = self.folder.join(key.name());
        if result.is_dir() {
            return Ok(result);
        }
        let _lock = Lock::take(&self.folder)?;
        if result.is_dir() {
            return Ok(result);
        }
        let started = Instant::now();
        say(&format!("building {}", self.kind));
        let partial = result.with_extension("partial");
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(ArtifactError::file(&partial))?;
        }
        fs::create_dir_all(&partial).map_err(ArtifactError::file(&partial))?;
        build(&partial)?;
        fs::rename(&partial, &result).map_err(ArtifactError::file(&result))?;
        self.forget_old()?;
        let (seconds, mib) = (started.elapsed().as_secs_f32(), size_of(&result) >> 20);
        say(&format!("built {} in {seconds:.0} s: {mib} MiB in {}", self.kind, result.display()));
        Ok(result)
    }

    /// Removes all but the newest results and what broken builds left.
    fn forget_old(&self) -> Result<(), ArtifactError> {
        let entries = fs::read_dir(&self.folder).map_err(ArtifactError::file(&self.folder))?;
        let mut results: Vec<(SystemTime, PathBuf)> = entries
            .filter_map(Result::ok)
            .filter(|entry| is_result(&entry.file_name().to_string_lossy()))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        results.sort();
        results.reverse();
        for (_, path) in results.into_iter().skip(KEPT) {
            fs::remove_dir_all(&path).map_err(ArtifactError::file(&path))?;
        }
        Ok(())
    }
}

/// Whether a folder is named as [`Key::name`] does, finished or not.
fn is_result(name: &str) -> bool {
    let stem = name.strip_suffix(".partial").unwrap_or(name);
    stem.len() == 16 && stem.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(input: &str) -> Key {
        let mut key = Key::new();
        key.add(input.as_bytes());
        key
    }

    #[test]
    fn a_result_is_built_once_and_again_when_an_input_changes() {
        let cache = tempfile::tempdir().unwrap();
        let store = Store::below(cache.path(), "thing");
        let mut builds = 0;
        for input in ["a", "a", "b", "a"] {
            let folder = store
                .get(key(input), |partial| {
                    builds += 1;
                    fs::write(partial.join("out"), input).map_err(ArtifactError::file(partial))
                })
                .unwrap();
            assert_eq!(fs::read_to_string(folder.join("out")).unwrap(), input);
        }
        assert_eq!(builds, 2);
    }

    #[test]
    fn a_build_that_fails_leaves_no_result() {
        let cache = tempfile::tempdir().unwrap();
        let store = Store::below(cache.path(), "thing");
        let failed = store.get(key("a"), |partial| {
            fs::write(partial.join("half"), "x").unwrap();
            Err(ArtifactError::NoProgram("x".to_owned()))
        });
        assert!(failed.is_err());
        let folder = store.get(key("a"), |_| Ok(())).unwrap();
        assert_eq!(fs::read_dir(folder).unwrap().count(), 0, "the half is gone");
    }

    #[test]
    fn only_the_newest_results_stay_and_foreign_folders_are_left_alone() {
        let cache = tempfile::tempdir().unwrap();
        let store = Store::below(cache.path(), "thing");
        fs::create_dir_all(store.folder().join("modules")).unwrap();
        for input in 0..6 {
            store.get(key(&input.to_string()), |_| Ok(())).unwrap();
        }
        let names = fs::read_dir(store.folder()).unwrap().map(|entry| entry.unwrap().file_name());
        // The results, the lock, and what is not ours.
        assert_eq!(names.count(), KEPT + 2);
        assert!(store.folder().join("modules").is_dir());
    }

    #[test]
    fn inputs_cannot_run_into_each_other() {
        let (mut one, mut two) = (key("ab"), key("a"));
        one.add(b"c");
        two.add(b"bc");
        assert_ne!(one.name(), two.name());
    }
}
