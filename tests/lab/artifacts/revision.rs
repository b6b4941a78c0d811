//! Our own programs as they were at another commit: to be held against those of today.

use std::fs;
use std::path::{Path, PathBuf};

use super::command::Program;
use super::{ArtifactError, Ramdisk, cargo, workspace};
use crate::packages;

/// An agent and a coordinator that were built together.
#[derive(Debug, Clone)]
pub struct Pair {
    /// What they are called in tables: a commit, or that these are today's sources.
    pub name: String,
    /// The agent.
    pub agent: PathBuf,
    /// The coordinator.
    pub coordinator: PathBuf,
}

impl Pair {
    /// Those of these sources, as they are now.
    ///
    /// # Errors
    /// [`ArtifactError`].
    pub fn today() -> Result<Self, ArtifactError> {
        let (agent, coordinator) = cargo::pair(&workspace(), None)?;
        Ok(Self { name: "these sources".to_owned(), agent, coordinator })
    }
}

/// The sources of a commit, in a folder of the cache.
#[derive(Debug, Clone)]
pub struct Revision {
    commit: String,
    sources: PathBuf,
}

impl Revision {
    /// Takes the sources of `name` (a commit, a branch, `HEAD^`) out of this repository.
    ///
    /// # Errors
    /// [`ArtifactError`]: no repository, no such commit.
    pub fn of(name: &str) -> Result<Self, ArtifactError> {
        let git = |args: &[&str]| Program::new("git").folder(&workspace()).args(args).run();
        let commit = format!("{name}^{{commit}}");
        let commit = git(&["rev-parse", "--verify", "--end-of-options", &commit])?;
        let commit: String = commit.trim().chars().take(12).collect();
        let sources = folder().join(&commit);
        if !sources.exists() {
            super::say(&format!("taking the sources of {commit} out of the repository"));
            let partial = folder().join(format!("{commit}.partial"));
            // Left by a run that was stopped.
            fs::remove_dir_all(&partial).ok();
            fs::create_dir_all(&partial).map_err(ArtifactError::file(&partial))?;
            let archive = partial.join("sources.tar");
            let output = format!("--output={}", archive.display());
            git(&["archive", &output, &commit])?;
            Program::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&partial).run()?;
            fs::remove_file(&archive).map_err(ArtifactError::file(&archive))?;
            fs::rename(&partial, &sources).map_err(ArtifactError::file(&sources))?;
        }
        Ok(Self { commit, sources })
    }

    /// The first digits of the commit.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.commit
    }

    /// Its agent and coordinator, built for development.
    ///
    /// # Errors
    /// [`ArtifactError`].
    pub fn pair(&self) -> Result<Pair, ArtifactError> {
        let [agent, coordinator] = ["agent", "coordinator"].map(|name| self.kept(name));
        if !agent.exists() || !coordinator.exists() {
            super::say(&format!("building agent and coordinator of {}", self.commit));
            let built = cargo::pair(&self.sources, Some(&target()))?;
            // The folder of builds is shared by all commits, so that what they depend on is built once.
            keep(&built.0, &agent)?;
            keep(&built.1, &coordinator)?;
        }
        Ok(Pair { name: self.commit.clone(), agent, coordinator })
    }

    /// Its kernel and ramdisk, by its own `ramdisk/build`.
    ///
    /// # Errors
    /// [`ArtifactError`].
    pub fn ramdisk(&self) -> Result<Ramdisk, ArtifactError> {
        let out = self.kept("ramdisk");
        let made = Ramdisk {
            vmlinuz: out.join("vmlinuz"),
            initrd: out.join("initrd"),
            manifest: out.join("manifest.txt"),
        };
        if !made.initrd.exists() || !made.manifest.exists() {
            super::say(&format!("building the ramdisk of {}", self.commit));
            let agent = cargo::agent_in(&self.sources, Some(&target()))?;
            fs::create_dir_all(&out).map_err(ArtifactError::file(&out))?;
            Program::new(self.sources.join("ramdisk/build"))
                .arg("--out")
                .arg(&out)
                .arg("--agent")
                .arg(agent)
                .arg("--kernel-dir")
                .arg(packages::kernel()?)
                .run()?;
        }
        Ok(made)
    }

    fn kept(&self, name: &str) -> PathBuf {
        folder().join("built").join(&self.commit).join(name)
    }
}

/// Where other commits are kept.
fn folder() -> PathBuf {
    packages::cache_dir().join("revisions")
}

/// Where cargo builds them.
fn target() -> PathBuf {
    folder().join("target")
}

fn keep(from: &Path, to: &Path) -> Result<(), ArtifactError> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(ArtifactError::file(folder))?;
    }
    fs::copy(from, to).map(drop).map_err(ArtifactError::file(to))
}
