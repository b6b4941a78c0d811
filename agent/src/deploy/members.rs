//! Booting from an array: firmware reads disks and no arrays, so what starts the system goes to every member as well.
//!
//! UEFI: the image's EFI system partition moves, byte for byte, to the mirror of the members' own ones (metadata 1.0: each
//! member shows the firmware a plain file system, and the deployed system keeps them equal). The original is emptied,
//! so that no two file systems have the same name. BIOS: the boot code of LBA 0 and the BIOS boot partition go to the same place
//! of every member. All of it is read back from each member as the firmware reads it; any one of them can be gone at a boot.
//!
//! It happens before the commit, so what the image's first and last MiB hold comes from the layout, and is taken away again
//! ([`super::give_up()`]) where the deploy fails after it.

mod starters;

use std::path::Path;

use ironwright_api::{Blame, Failure, Mirrored};
use sha2::{Digest as _, Sha256};

use crate::boot::{self, Outcome, Plan};
use crate::layout::bytes::hex;
use crate::layout::{Layout, Partition, Range};
use crate::raid::Arrays;
use crate::report::chain;
use crate::sys::disk::{Access, BlockDevice, DiskError, RealDisk};
use crate::sys::{Effect, System, partitions};

pub(super) use starters::starters;

/// Bytes copied at a time.
const PIECE: u64 = 1 << 20;
/// Length of the boot code in LBA 0, bytes; the partition table follows.
const BOOT_CODE: usize = 440;
/// Zeroed of an EFI system partition that moved, bytes: its name is in the first sector.
const NAME: u64 = 4096;

/// Why a member does not start the system.
#[derive(Debug, thiserror::Error)]
pub(super) enum MirrorError {
    #[error("{what}")]
    Unfit { what: String },
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(
        "{} reads back other bytes than were written: sha256 {found}, and not {expected}",
        device
    )]
    Differs { device: String, found: String, expected: String },
}

impl MirrorError {
    fn unfit(what: impl Into<String>) -> Self {
        Self::Unfit { what: what.into() }
    }

    pub(super) fn failure(&self) -> Failure {
        let (blame, remedy) = match self {
            Self::Unfit { .. } => (
                Blame::Order,
                "deploy an image that boots from an array, or build the arrays anew for this machine",
            ),
            Self::Disk(_) | Self::Differs { .. } => {
                (Blame::Hardware, "check the members of the array, and replace what is broken")
            }
        };
        Failure { step: String::new(), message: chain(self), remedy: remedy.to_owned(), blame }
    }
}

/// Looks whether a system can be started from the members on this machine, whatever the image; before anything is changed.
pub(super) fn fits_machine(arrays: &Arrays, uefi: bool) -> Result<(), MirrorError> {
    if uefi {
        return esp_array(arrays).map(drop);
    }
    for disk in disks(arrays) {
        let disk = open(disk, Access::Read)?;
        if !table(&disk)?.entries.iter().any(|entry| entry.bios) {
            return Err(MirrorError::unfit(format!(
                "the machine boots by BIOS, and {}, a member of its arrays, has no BIOS boot partition",
                disk.path().display()
            )));
        }
    }
    Ok(())
}

/// Looks whether an image with this table can be started from the members; before anything is committed.
pub(super) fn check(arrays: &Arrays, layout: &Layout, uefi: bool) -> Result<(), MirrorError> {
    if uefi {
        let esp = esp_of(layout)?;
        let target = open(esp_array(arrays)?, Access::Read)?;
        return fits_esp(esp.range, target.bytes());
    }
    let bios = bios_of(layout)?;
    for disk in disks(arrays) {
        let disk = open(disk, Access::Read)?;
        fits_bios(bios, &table(&disk)?, &disk)?;
    }
    Ok(())
}

/// Brings the boot parts of the array's system to every member: the proof, and what is left for the commit.
pub(super) fn mirror(
    arrays: &Arrays,
    layout: &Layout,
    root: &dyn BlockDevice,
    uefi: bool,
) -> Result<(Mirrored, Layout), MirrorError> {
    check(arrays, layout, uefi)?;
    if uefi {
        let target = open(esp_array(arrays)?, Access::Write)?;
        let members = arrays.esp.iter().flat_map(|esp| &esp.members);
        let members: Vec<RealDisk> =
            members.map(|member| open(&member.node, Access::Read)).collect::<Result<_, _>>()?;
        let members: Vec<&dyn BlockDevice> =
            members.iter().map(|disk| disk as &dyn BlockDevice).collect();
        return move_esp(root, layout, &target, &members);
    }
    let members: Vec<RealDisk> =
        disks(arrays).map(|disk| open(disk, Access::WriteBeside)).collect::<Result<_, _>>()?;
    let members: Vec<&dyn BlockDevice> =
        members.iter().map(|disk| disk as &dyn BlockDevice).collect();
    copy_bios(root, layout, &members).map(|proof| (proof, layout.clone()))
}

/// Tells the firmware of every member, the first one to be tried first.
pub(super) fn tell_firmware(system: &System, arrays: &Arrays) -> Outcome {
    let mut written = Vec::new();
    let esps: Vec<_> = arrays.esp.iter().flat_map(|esp| &esp.members).collect();
    for (at, member) in esps.iter().enumerate().rev() {
        let planned = open(&member.disk, Access::Read).and_then(|disk| {
            let label = format!(" (RAID, part{})", at + 1);
            Ok(boot::plan_labelled(system.root(), &disk, &table(&disk)?, &label))
        });
        let plan = match planned {
            Ok(plan) => plan,
            Err(error) => return Outcome::None(chain(&error)),
        };
        if let Plan::Entry(entry) = &plan
            && !system.may(Effect::BootEntry { label: entry.to_string() })
        {
            return Outcome::None("recorded only: this is not the ramdisk".to_owned());
        }
        match boot::perform(system.root(), &plan) {
            Outcome::Written(entry) => written.insert(0, entry),
            none @ Outcome::None(_) => return none,
        }
    }
    Outcome::Written(written.join("; "))
}

fn esp_array(arrays: &Arrays) -> Result<&Path, MirrorError> {
    let none = || {
        MirrorError::unfit(
            "the machine boots by UEFI, and its arrays were built without EFI system partitions",
        )
    };
    arrays.esp.as_ref().map(|esp| esp.device.as_path()).ok_or_else(none)
}

/// The disks of the root array's members.
fn disks(arrays: &Arrays) -> impl Iterator<Item = &Path> {
    arrays.root.members.iter().map(|member| member.disk.as_path())
}

fn esp_of(layout: &Layout) -> Result<&Partition, MirrorError> {
    let none = || {
        MirrorError::unfit("the machine boots by UEFI, and the image has no EFI system partition")
    };
    layout.entries.iter().find(|entry| entry.esp).ok_or_else(none)
}

fn bios_of(layout: &Layout) -> Result<Range, MirrorError> {
    let bios = layout.entries.iter().find(|entry| entry.bios).map(|entry| entry.range);
    bios.ok_or_else(|| {
        MirrorError::unfit(format!(
            "the machine boots by BIOS, and the image ({}) has no BIOS boot partition that could be copied to the array's members",
            layout.table
        ))
    })
}

fn open(path: &Path, access: Access) -> Result<RealDisk, MirrorError> {
    Ok(RealDisk::open(path, access)?)
}

fn table(disk: &RealDisk) -> Result<Layout, MirrorError> {
    let layout = partitions::table(disk)?;
    layout.map_err(|error| {
        MirrorError::unfit(format!(
            "{}, a member, has no good partition table: {}",
            disk.path().display(),
            chain(&error)
        ))
    })
}

fn fits_esp(esp: Range, room: u64) -> Result<(), MirrorError> {
    if esp.bytes <= room {
        return Ok(());
    }
    Err(MirrorError::unfit(format!(
        "the image's EFI system partition has {} MiB, the members' have {}",
        esp.bytes >> 20,
        room >> 20
    )))
}

/// Boot loaders find their parts by sector numbers: the place must be the same.
fn fits_bios(bios: Range, member: &Layout, disk: &dyn BlockDevice) -> Result<(), MirrorError> {
    let room = member.entries.iter().find(|entry| entry.bios).map(|entry| entry.range);
    let fits = room.is_some_and(|room| room.offset == bios.offset && room.bytes >= bios.bytes);
    if fits {
        return Ok(());
    }
    let room = room.map_or_else(
        || "none".to_owned(),
        |room| format!("{} bytes at {}", room.bytes, room.offset),
    );
    Err(MirrorError::unfit(format!(
        "the image's BIOS boot partition has {} bytes at {}; {} has room for {room}",
        bios.bytes,
        bios.offset,
        disk.path().display()
    )))
}

/// Moves the ESP of `root` to `target`, whose members are read back. The original is left without a name, and so is what the
/// commit would write of it.
fn move_esp(
    root: &dyn BlockDevice,
    layout: &Layout,
    target: &dyn BlockDevice,
    members: &[&dyn BlockDevice],
) -> Result<(Mirrored, Layout), MirrorError> {
    let esp = esp_of(layout)?.range;
    let expected = copy((root, layout), esp, target, 0)?;
    for member in members {
        same(*member, Range { offset: 0, bytes: esp.bytes }, &expected)?;
    }
    let name = Range { bytes: NAME.min(esp.bytes), ..esp };
    root.zero(name.offset, name.bytes)?;
    root.flush()?;
    let mut left = layout.clone();
    left.blank(name);
    Ok((mirrored("efi_system_partition", esp.bytes, expected, members), left))
}

/// Copies boot code and BIOS boot partition of `root` to the same places of `members`, which keep their own tables.
fn copy_bios(
    root: &dyn BlockDevice,
    layout: &Layout,
    members: &[&dyn BlockDevice],
) -> Result<Mirrored, MirrorError> {
    let bios = bios_of(layout)?;
    let code = layout.head.get(..BOOT_CODE).unwrap_or_default();
    let mut expected = String::new();
    for member in members {
        expected = copy((root, layout), bios, *member, bios.offset)?;
        let mut sector = vec![0; member.sector_bytes() as usize];
        member.read_at(0, &mut sector)?;
        sector.splice(..BOOT_CODE, code.iter().copied());
        member.write_at(0, &sector)?;
        member.flush()?;
        same(*member, bios, &expected)?;
        let mut found = vec![0; BOOT_CODE];
        member.read_at(0, &mut found)?;
        if found != code {
            let (found, expected) = (hex(&Sha256::digest(&found)), hex(&Sha256::digest(code)));
            return Err(MirrorError::Differs {
                device: member.path().display().to_string(),
                found,
                expected,
            });
        }
    }
    Ok(mirrored("bios_boot_partition", bios.bytes, expected, members))
}

fn mirrored(what: &str, bytes: u64, sha256: String, members: &[&dyn BlockDevice]) -> Mirrored {
    let devices = members.iter().map(|member| member.path().display().to_string()).collect();
    Mirrored { what: what.to_owned(), bytes, sha256, devices }
}

/// The pieces of a range: offset in it, and length.
fn pieces(range: Range) -> impl Iterator<Item = (u64, usize)> {
    let starts = (0..range.bytes).step_by(usize::try_from(PIECE).unwrap_or(1));
    starts.map(move |at| (at, usize::try_from(PIECE.min(range.bytes - at)).unwrap_or(0)))
}

/// Copies what `range` of an uncommitted disk will hold, and returns the digest.
fn copy(
    (from, layout): (&dyn BlockDevice, &Layout),
    range: Range,
    to: &dyn BlockDevice,
    at: u64,
) -> Result<String, MirrorError> {
    let (mut digest, mut buffer) = (Sha256::new(), Vec::new());
    for (offset, length) in pieces(range) {
        buffer.resize(length, 0);
        layout.read_ahead(from, range.offset + offset, &mut buffer)?;
        digest.update(&buffer);
        to.write_at(at + offset, &buffer)?;
    }
    to.flush()?;
    Ok(hex(&digest.finalize()))
}

fn sha256(disk: &dyn BlockDevice, range: Range) -> Result<String, MirrorError> {
    let (mut digest, mut buffer) = (Sha256::new(), Vec::new());
    for (offset, length) in pieces(range) {
        buffer.resize(length, 0);
        disk.read_at(range.offset + offset, &mut buffer)?;
        digest.update(&buffer);
    }
    Ok(hex(&digest.finalize()))
}

fn same(disk: &dyn BlockDevice, range: Range, expected: &str) -> Result<(), MirrorError> {
    let found = sha256(disk, range)?;
    if found == expected {
        return Ok(());
    }
    let device = disk.path().display().to_string();
    Err(MirrorError::Differs { device, found, expected: expected.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::layout::MIB;
    use crate::layout::testing::{BIOS, ESP, FakeDisk, LINUX, TestImage};
    use crate::raid::{Array, Member};
    use crate::sys::partitions;

    /// A disk with an image of a BIOS boot partition, an ESP and a root.
    fn root() -> (FakeDisk, Layout) {
        let sectors = |mib: u64| mib * 2048;
        let parts = [
            (BIOS, sectors(1), sectors(2) - 1, "bios"),
            (ESP, sectors(2), sectors(4) - 1, "esp"),
            (LINUX, sectors(4), sectors(6) - 1, "root"),
        ];
        let mut image = TestImage::gpt(512, 8 * MIB, &parts);
        image.bytes[..BOOT_CODE].fill(0xb0);
        let disk = FakeDisk::new(8 * MIB, 512);
        disk.write_at(0, &image.bytes).unwrap();
        let layout = partitions::table(&disk).unwrap().unwrap();
        (disk, layout)
    }

    /// A member: a BIOS boot partition of `mib` MiB, and the array's.
    pub(super) fn member(mib: u64) -> FakeDisk {
        let sectors = |mib: u64| mib * 2048;
        let parts = [
            (BIOS, sectors(1), sectors(1 + mib) - 1, "bios"),
            (LINUX, sectors(9), sectors(14) - 1, "raid"),
        ];
        let disk = FakeDisk::new(16 * MIB, 512);
        disk.write_at(0, &TestImage::gpt(512, 16 * MIB, &parts).bytes).unwrap();
        disk
    }

    #[test]
    fn boot_code_and_loader_reach_every_member_and_its_own_table_stays() {
        let (root, layout) = root();
        let members = [member(7), member(7)];
        let before = members[0].contents();
        let devices: Vec<&dyn BlockDevice> =
            members.iter().map(|disk| disk as &dyn BlockDevice).collect();
        let proof = copy_bios(&root, &layout, &devices).unwrap();
        assert_eq!((proof.bytes, proof.devices.len()), (MIB, 2));
        for member in &members {
            let after = member.contents();
            assert!(after[..BOOT_CODE].iter().all(|byte| *byte == 0xb0));
            assert_eq!(after[1 << 20..2 << 20], root.contents()[1 << 20..2 << 20]);
            assert_eq!(after[BOOT_CODE..1 << 20], before[BOOT_CODE..1 << 20]);
            assert_eq!(after[2 << 20..], before[2 << 20..]);
            assert!(partitions::table(member).unwrap().is_ok());
        }
        let mut liar = member(7);
        liar.flip_at = Some(MIB + 5);
        let error = copy_bios(&root, &layout, &[&liar]).unwrap_err();
        assert!(matches!(error, MirrorError::Differs { .. }), "{error}");
    }

    #[test]
    fn the_esp_moves_before_the_commit_and_is_read_back_from_each_member() {
        let (root, layout) = root();
        let content = root.contents()[2 << 20..4 << 20].to_vec();
        // A mirror: both members are what is written to it.
        let target = FakeDisk::new(3 * MIB, 512);
        let (proof, left) = move_esp(&root, &layout, &target, &[&target, &target]).unwrap();
        assert_eq!(target.contents()[..2 << 20], content);
        assert_eq!((proof.sha256, proof.devices.len()), (hex(&Sha256::digest(&content)), 2));
        crate::layout::commit(&root, &left).unwrap();
        let after = root.contents();
        assert!(after[2 << 20..(2 << 20) + 4096].iter().all(|byte| *byte == 0), "two of one name");
        assert_eq!(after[(2 << 20) + 4096..4 << 20], content[4096..]);

        let (root, _) = self::root();
        let stale = FakeDisk::new(3 * MIB, 512);
        let error = move_esp(&root, &layout, &target, &[&target, &stale]).unwrap_err();
        assert!(matches!(error, MirrorError::Differs { .. }), "{error}");
        assert!(root.contents()[2 << 20] != 0, "the original is kept until all members have it");
    }

    #[test]
    fn a_machine_that_cannot_start_from_its_arrays_is_told_before_anything_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, disk: &FakeDisk| {
            let path = folder.path().join(name);
            std::fs::write(&path, disk.contents()).unwrap();
            path
        };
        // Built under UEFI: its members have an EFI system partition, and no place for a BIOS loader.
        let parts = [(ESP, 2048, 4095, "esp"), (LINUX, 4096, 8191, "raid")];
        let uefi = FakeDisk::new(16 * MIB, 512);
        uefi.write_at(0, &TestImage::gpt(512, 16 * MIB, &parts).bytes).unwrap();
        let arrays = |disk: PathBuf, esp: bool| {
            let members = vec![Member { node: disk.join("2"), disk }];
            let root = Array { uuid: String::new(), device: "/dev/md0".into(), members };
            Arrays { esp: esp.then(|| root.clone()), root }
        };
        let (bios, uefi) = (file("bios", &member(7)), file("uefi", &uefi));
        fits_machine(&arrays(bios.clone(), false), false).unwrap();
        fits_machine(&arrays(uefi.clone(), true), true).unwrap();
        let words = fits_machine(&arrays(bios, false), true).unwrap_err().to_string();
        assert!(words.contains("built without EFI system partitions"), "{words}");
        let words = fits_machine(&arrays(uefi, true), false).unwrap_err().to_string();
        assert!(words.contains("uefi, a member of its arrays, has no BIOS boot"), "{words}");
    }

    #[test]
    fn what_cannot_start_from_a_member_is_named() {
        let (_, layout) = root();
        let bios = bios_of(&layout).unwrap();
        let small = Range { bytes: 8 * MIB, ..bios };
        let disk = member(7);
        let table = partitions::table(&disk).unwrap().unwrap();
        fits_bios(bios, &table, &disk).unwrap();
        let words = fits_bios(small, &table, &disk).unwrap_err().to_string();
        assert!(words.contains("8388608 bytes at 1048576"), "{words}");
        fits_esp(Range { offset: 0, bytes: MIB }, MIB).unwrap();
        assert!(fits_esp(Range { offset: 0, bytes: 2 * MIB }, MIB).is_err());
        let mut without = layout;
        without.entries.retain(|entry| !entry.bios && !entry.esp);
        assert!(bios_of(&without).unwrap_err().to_string().contains("no BIOS boot partition"));
        assert!(esp_of(&without).unwrap_err().to_string().contains("no EFI system partition"));
    }
}
