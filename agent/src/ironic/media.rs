//! Parameters on virtual media: with `boot_method=vmedia` a floppy or stick labelled `ir-vfd-dev`, or one that calls itself virtual
//! media, has a file `parameters.txt` whose items win over the kernel command line.

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
    let block = Path::new("/sys/block");
    let all = candidates(block);
    let labelled = all.iter().map(|path| (path, Some(LABEL)));
    // The label comes first, as in Ironic's agent.
    let virtual_ones = all.iter().filter(|path| is_virtual(block, path)).map(|path| (path, None));
    for (path, label) in labelled.chain(virtual_ones) {
        match read(path, label) {
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

/// Whether the device's model, as a BMC gives it to the machine, says that it is virtual media.
fn is_virtual(block: &Path, path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    let model = std::fs::read_to_string(block.join(name).join("device/model")).unwrap_or_default();
    model.to_lowercase().contains("virtual media")
}

fn read(path: &Path, label: Option<&str>) -> Result<Option<String>, String> {
    let disk = RealDisk::open(path, Access::Read).map_err(|error| chain(&error))?;
    Ok(parameters(&disk, label))
}

/// `parameters.txt` of the FAT file system that fills `disk`, where that has the label; without one, whatever its label is.
fn parameters(disk: &dyn BlockDevice, label: Option<&str>) -> Option<String> {
    let fat = Fat::open(disk, Range { offset: 0, bytes: disk.bytes() })?;
    if let Some(label) = label
        && !fat.label()?.eq_ignore_ascii_case(label)
    {
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
        let text = parameters(&floppy(b"ir-vfd-dev "), Some(LABEL)).unwrap();
        let mut given = Parameters::parse("boot_method=vmedia ipa-api-url=http://old");
        given.merge(&text);
        assert_eq!(given.get("ipa-api-url"), Some("http://h:6385"));
        assert_eq!(given.get("ipa-agent-token"), Some("fake"));
        assert_eq!(parameters(&floppy(b"BACKUP     "), Some(LABEL)), None);
        assert!(parameters(&floppy(b"BACKUP     "), None).is_some(), "its model said enough");
    }

    #[test]
    fn virtual_media_are_known_by_the_model_that_the_bmc_gives_them() {
        let block = tempfile::tempdir().unwrap();
        for (name, model) in [("sda", "Virtual Media 1.0\n"), ("sdb", "DataTraveler\n")] {
            std::fs::create_dir_all(block.path().join(name).join("device")).unwrap();
            std::fs::write(block.path().join(name).join("device/model"), model).unwrap();
        }
        let is_virtual = |path| is_virtual(block.path(), Path::new(path));
        assert!(is_virtual("/dev/sda") && !is_virtual("/dev/sdb") && !is_virtual("/dev/sdc"));
    }
}
