//! Images made by QEMU's tools while the test runs.

use std::ffi::OsStr;
use std::path::PathBuf;

use tempfile::TempDir;

/// A folder of images; `None` (with a word why) where `qemu-img` is not installed.
pub(super) struct Workshop {
    folder: TempDir,
}

impl Workshop {
    pub(super) fn open() -> Option<Self> {
        let workshop = Self { folder: TempDir::new().unwrap() };
        if workshop.try_run("qemu-img", ["--version"]) {
            return Some(workshop);
        }
        println!("skipped: qemu-img is not installed (package qemu-utils)");
        None
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn put(&self, name: &str, content: &[u8]) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub(super) fn get(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Runs a tool in the folder; it must succeed.
    pub(super) fn run(&self, tool: &str, arguments: &str) {
        assert!(self.try_run(tool, arguments.split_whitespace()), "{tool} {arguments}");
    }

    /// `qemu-io` commands on an image.
    pub(super) fn io(&self, image: &str, commands: &[&str]) {
        let mut arguments = vec!["-f", "qcow2"];
        for command in commands {
            arguments.extend(["-c", command]);
        }
        arguments.push(image);
        assert!(self.try_run("qemu-io", arguments), "qemu-io {commands:?} {image}");
    }

    /// Whether QEMU can read all of an image.
    pub(super) fn accepts(&self, image: &str) -> bool {
        self.try_run("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", image, "oracle.raw"])
    }

    /// The guest bytes of an image by QEMU's own reading.
    pub(super) fn raw_of(&self, image: &str) -> Vec<u8> {
        self.run("qemu-img", &format!("convert -f qcow2 -O raw {image} oracle.raw"));
        self.get("oracle.raw")
    }

    #[expect(clippy::disallowed_methods, reason = "tests make their images with QEMU's tools")]
    fn try_run<S: AsRef<OsStr>>(&self, tool: &str, arguments: impl IntoIterator<Item = S>) -> bool {
        let mut command = std::process::Command::new(tool);
        let output = command.args(arguments).current_dir(self.folder.path()).output();
        output.is_ok_and(|output| {
            if !output.status.success() {
                println!("{tool}: {}", String::from_utf8_lossy(&output.stderr));
            }
            output.status.success()
        })
    }
}

/// Guest content with everything in it: a partition-table-like head, random bytes, text, written zeros, a busy end.
pub(super) fn mixed_content(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_be_bytes()[0]
    };
    let mut content = vec![0; bytes];
    for (block, chunk) in content.chunks_mut(37_000).enumerate() {
        match block % 5 {
            0 => chunk.fill_with(&mut random),
            1 => chunk
                .iter_mut()
                .zip(b"a line of text\n".iter().cycle())
                .for_each(|(to, from)| *to = *from),
            2 => chunk[..1000].fill_with(&mut random),
            _ => {}
        }
    }
    let end = content.len().saturating_sub(600);
    content[end..].fill_with(&mut random);
    content
}
