//! QEMU's tools in a folder of their own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Seconds a tool may take; a hostile image may make it loop.
const LIMIT_S: &str = "60";

/// What QEMU makes of an image.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The guest bytes.
    Accepted(Vec<u8>),
    /// A disk of so many bytes, more than [`MAX_GUEST_BYTES`]: nobody compares it.
    Huge(u64),
    /// What it said.
    Refused(String),
}

/// Largest disk that is compared, bytes.
pub(crate) const MAX_GUEST_BYTES: u64 = 64 << 20;

/// A folder that QEMU's tools work in.
#[derive(Debug)]
pub(crate) struct Workshop {
    folder: TempDir,
}

impl Workshop {
    /// `None` (with a word why) where `qemu-img` is not installed.
    pub(crate) fn open() -> Option<Self> {
        let shop = Self::new();
        if shop.tool("qemu-img", ["--version"]).is_ok() {
            return Some(shop);
        }
        println!("skipped: qemu-img is not installed (package qemu-utils)");
        None
    }

    /// In memory where there is such a folder: QEMU's tools flush what they make.
    pub(crate) fn new() -> Self {
        let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new());
        Self { folder: folder.unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn put(&self, name: &str, content: &[u8]) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn get(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// `qemu-img` with words; it must succeed.
    pub(crate) fn img(&self, words: &str) {
        if let Err(error) = self.tool("qemu-img", words.split_whitespace()) {
            panic!("qemu-img {words}: {error}");
        }
    }

    /// `qemu-io` commands on `image.qcow2`; all must succeed.
    pub(crate) fn io(&self, commands: &[String]) {
        let mut words = vec!["-f", "qcow2"];
        for command in commands {
            words.extend(["-c", command]);
        }
        words.push("image.qcow2");
        if let Err(error) = self.tool("qemu-io", words) {
            panic!("qemu-io {commands:?}: {error}");
        }
    }

    /// What `qemu-img convert` makes of `image`.
    pub(crate) fn convert(&self, image: &[u8]) -> Verdict {
        self.put("judged.qcow2", image);
        let result = self.tool(
            "qemu-img",
            ["convert", "-f", "qcow2", "-O", "raw", "judged.qcow2", "oracle.raw"],
        );
        let raw = self.path("oracle.raw");
        let verdict = match result {
            Err(error) => Verdict::Refused(error),
            Ok(()) => match length(&raw) {
                bytes if bytes > MAX_GUEST_BYTES => Verdict::Huge(bytes),
                _ => Verdict::Accepted(std::fs::read(&raw).unwrap()),
            },
        };
        std::fs::remove_file(&raw).ok();
        verdict
    }

    /// Runs a tool in the folder; its words when it fails.
    #[expect(clippy::disallowed_methods, reason = "the corpus is made with QEMU's tools")]
    fn tool<S: AsRef<OsStr>>(
        &self,
        name: &str,
        words: impl IntoIterator<Item = S>,
    ) -> Result<(), String> {
        let mut command = std::process::Command::new("timeout");
        command.args([LIMIT_S, name]).args(words).current_dir(self.folder.path());
        let output = command.output().map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        // A tool that hangs is no verdict.
        assert_ne!(output.status.code(), Some(124), "{name} took more than {LIMIT_S} s");
        let words = String::from_utf8_lossy(&output.stderr);
        Err(format!("{} ({})", words.trim(), output.status))
    }
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}
