//! The devices that a running plugin sees, kept as the machine's are: only those that its manifest declares.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, symlink};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, major, makedev, minor, mknod};

use super::super::device::{Node, present};
use super::Live;

/// Number of md's block devices (Linux `Documentation/admin-guide/devices.txt`).
const MD_MAJOR: u64 = 9;

/// What is in a plugin's `/dev`.
#[derive(Debug)]
pub(super) struct Shown {
    dev: PathBuf,
    live: Live,
    now: BTreeMap<PathBuf, (bool, u64)>,
}

impl Shown {
    /// Nothing yet.
    pub(super) fn new(dev: PathBuf, live: Live) -> Self {
        Self { dev, live, now: BTreeMap::new() }
    }

    /// Makes what came, takes away what went, replaces what has another number.
    pub(super) fn look(&mut self) -> io::Result<()> {
        let mut wanted: BTreeMap<PathBuf, (bool, u64)> = self.arrays().collect();
        let there = present(&self.live.patterns, &self.live.withheld);
        wanted.extend(there.into_iter().map(|(name, node)| (name, kind_and_number(node))));
        let gone: Vec<PathBuf> = self
            .now
            .iter()
            .filter(|(name, node)| wanted.get(*name) != Some(node))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            self.take_away(&name)?;
        }
        for (name, node) in wanted {
            if !self.now.contains_key(&name) {
                self.make(name, node)?;
            }
        }
        Ok(())
    }

    /// Arrays that are declared one by one are there before they are: the kernel makes an array when its node is opened.
    fn arrays(&self) -> impl Iterator<Item = (PathBuf, (bool, u64))> {
        let declared = self.live.patterns.iter().filter_map(|pattern| {
            let number = pattern.strip_prefix("/dev/md")?.parse::<u64>().ok()?;
            Some((PathBuf::from(format!("md{number}")), (true, makedev(MD_MAJOR, number))))
        });
        declared.collect::<Vec<_>>().into_iter()
    }

    fn make(&mut self, name: PathBuf, (block, number): (bool, u64)) -> io::Result<()> {
        let path = self.dev.join(&name);
        if let Some(parent) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        let kind = if block { SFlag::S_IFBLK } else { SFlag::S_IFCHR };
        mknod(&path, kind, Mode::from_bits_truncate(0o600), number)?;
        if block {
            // mdadm opens devices by their numbers.
            let by_number = self.by_number(number);
            fs::create_dir_all(self.dev.join("block"))?;
            fs::remove_file(&by_number).ok();
            symlink(Path::new("..").join(&name), by_number)?;
        }
        self.now.insert(name, (block, number));
        Ok(())
    }

    fn take_away(&mut self, name: &Path) -> io::Result<()> {
        if let Some((true, number)) = self.now.remove(name) {
            fs::remove_file(self.by_number(number)).ok();
        }
        fs::remove_file(self.dev.join(name))
    }

    fn by_number(&self, number: u64) -> PathBuf {
        self.dev.join(format!("block/{}:{}", major(number), minor(number)))
    }
}

fn kind_and_number(node: Node) -> (bool, u64) {
    (node.kind.is_block_device(), node.number)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn declared_devices_and_arrays_are_shown_and_others_are_not() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("needs root for device nodes: not run");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let patterns = ["/dev/nul*", "/dev/md0", "/dev/md*"].map(str::to_owned).to_vec();
        let mut shown = Shown::new(dir.path().to_owned(), Live { patterns, withheld: Vec::new() });
        for _ in 0..2 {
            shown.look().unwrap();
            let number = |name: &str| fs::metadata(dir.path().join(name)).map(|meta| meta.rdev());
            assert_eq!(number("null").unwrap(), makedev(1, 3));
            assert_eq!(number("block/9:0").unwrap(), makedev(9, 0));
            assert!(number("zero").is_err() && number("md1").is_err());
        }
        shown.live.patterns = vec!["/dev/full".to_owned()];
        shown.look().unwrap();
        assert!(!dir.path().join("md0").exists() && !dir.path().join("block/9:0").exists());
        assert!(dir.path().join("full").exists());
    }
}
