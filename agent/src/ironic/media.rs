//! Parameters on virtual media: with `boot_method=vmedia` a floppy or stick labelled `ir-vfd-dev` has a file `parameters.txt`
//! whose items win over the kernel command line.

use std::path::{Path, PathBuf};

use crate::boot::fat::{Fat, Node};
use crate::config::Parameters;
use crate::layout::Range;
use crate::report::chain;
use crate::sys::disk::{Access, BlockDevice, RealDisk};

/// The label of the medium (Ironic's), as FAT has it.
const LABEL: &str = "IR-VFD-DEV";
/// Longest file read, bytes.
const MAX: usize = 64 << 10;
/// A larger disk is no virtual medium (Ironic's agent: 4 GiB).
const MAX_DISK: u64 = 4 << 30;

/// Adds what a virtual medium of this machine says.
pub fn add(parameters: &mut Parameters) {
    if parameters.get("boot_method") != Some("vmedia") {
        return;
    }
    for path in candidates(Path::new("/sys/block")) {
        match read(&path) {
            Ok(Some(text)) => {
                tracing::info!("parameters from the virtual medium {}", path.display());
                parameters.merge(&text);
                return;
            }
            Ok(None) => {}
            Err(why) => tracing::warn!("{} is no virtual medium: {why}", path.display()),
        }
    }
    tracing::info!("no virtual medium has parameters: those of the kernel command line count");
}

/// Small USB disks and readers of optical media; never a partition, never another disk.
fn candidates(block: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(block).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let size = std::fs::read_to_string(entry.path().join("size")).unwrap_or_default();
            let bytes = size.trim().parse::<u64>().unwrap_or(0).saturating_mul(512);
            let real = entry.path().canonicalize().unwrap_or_default();
            let usb =
                real.components().any(|part| part.as_os_str().to_string_lossy().starts_with("usb"));
            let kind = name.starts_with("sr") || name.starts_with("fd") || usb;
            kind && (1..MAX_DISK).contains(&bytes)
        })
        .map(|entry| Path::new("/dev").join(entry.file_name()))
        .collect();
    found.sort();
    found
}

fn read(path: &Path) -> Result<Option<String>, String> {
    let disk = RealDisk::open(path, Access::Read).map_err(|error| chain(&error))?;
    Ok(parameters(&disk))
}

/// `parameters.txt` of the FAT file system that fills `disk`, where that has the label.
fn parameters(disk: &dyn BlockDevice) -> Option<String> {
    let fat = Fat::open(disk, Range { offset: 0, bytes: disk.bytes() })?;
    if !fat.label()?.eq_ignore_ascii_case(LABEL) {
        return None;
    }
    let root = fat.root()?;
    let is = |node: &&Node| !node.directory && node.name.eq_ignore_ascii_case("parameters.txt");
    let text = fat.read(root.iter().find(is)?, MAX)?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write as _};

    use super::*;
    use crate::layout::testing::FakeDisk;

    fn floppy(label: &[u8; 11]) -> FakeDisk {
        let mut volume = Cursor::new(vec![0; 1440 << 10]);
        let options = fatfs::FormatVolumeOptions::new().volume_label(*label);
        fatfs::format_volume(&mut volume, options).unwrap();
        let system = fatfs::FileSystem::new(&mut volume, fatfs::FsOptions::new()).unwrap();
        let mut file = system.root_dir().create_file("parameters.txt").unwrap();
        file.write_all(b"ipa-api-url=http://h:6385 ipa-agent-token=fake\n").unwrap();
        drop(file);
        system.unmount().unwrap();
        FakeDisk::of(volume.into_inner())
    }

    #[test]
    fn the_medium_with_ironics_label_wins_and_others_are_left_alone() {
        let text = parameters(&floppy(b"ir-vfd-dev ")).unwrap();
        let mut given = Parameters::parse("boot_method=vmedia ipa-api-url=http://old");
        given.merge(&text);
        assert_eq!(given.get("ipa-api-url"), Some("http://h:6385"));
        assert_eq!(given.get("ipa-agent-token"), Some("fake"));
        assert_eq!(parameters(&floppy(b"BACKUP     ")), None);
    }
}
