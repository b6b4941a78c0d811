//! A whole deploy onto a fake disk that remembers every write, and then the power cut after each of them.
//!
//! Between two flushes a real disk may keep any part of what it was sent, in any order: that is tried at random. Whatever is
//! left, firmware finds a partition table only on a disk whose image and config drive are complete.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use uuid::Uuid;

use super::disks::{MemoryDisk, OLD};
use super::servers::Server;
use super::{Silent, http, quick, request, sha256_hex};
use crate::configdrive::{self, ConfigDrive};
use crate::image::{Hold, Request, run};
use crate::layout::{self, Layout, testing::TestImage};
use crate::sys::disk::{BlockDevice, DiskError};

const MIB: u64 = 1 << 20;
const DISK: u64 = 80 * MIB;

/// One thing the disk was sent.
#[derive(Debug, Clone)]
enum Sent {
    Bytes(u64, Vec<u8>),
    Zeros(u64, u64),
    Flush,
}

/// A disk in memory that remembers all it was sent.
#[derive(Debug)]
struct Recorder {
    disk: MemoryDisk,
    sent: Mutex<Vec<Sent>>,
}

impl Recorder {
    fn remember(&self, sent: Sent) {
        self.sent.lock().unwrap().push(sent);
    }
}

impl BlockDevice for Recorder {
    fn path(&self) -> &Path {
        self.disk.path()
    }

    fn bytes(&self) -> u64 {
        self.disk.bytes()
    }

    fn sector_bytes(&self) -> u32 {
        self.disk.sector_bytes()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.disk.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.remember(Sent::Bytes(offset, bytes.to_vec()));
        self.disk.write_at(offset, bytes)
    }

    fn zero(&self, offset: u64, bytes: u64) -> Result<(), DiskError> {
        self.remember(Sent::Zeros(offset, bytes));
        self.disk.zero(offset, bytes)
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.remember(Sent::Flush);
        self.disk.flush()
    }
}

/// What a power cut may leave: a disk's content, and what of it must be there before it may boot.
struct Remains<'a> {
    content: Vec<u8>,
    image: &'a [u8],
    drive: &'a ConfigDrive,
    layout: &'a Layout,
}

impl Remains<'_> {
    fn apply(&mut self, sent: &Sent) {
        let place = |offset: u64, len: u64| {
            usize::try_from(offset).unwrap()..usize::try_from(offset + len).unwrap()
        };
        match sent {
            Sent::Bytes(offset, bytes) => {
                self.content[place(*offset, bytes.len() as u64)].copy_from_slice(bytes);
            }
            Sent::Zeros(offset, bytes) => self.content[place(*offset, *bytes)].fill(0),
            Sent::Flush => {}
        }
    }

    /// Anything in which a firmware, BIOS or UEFI, could see a partition table: a boot signature in LBA 0, or a GPT header in
    /// LBA 1 or in the last LBA (UEFI 2.10, 5.3.2).
    fn looks_bootable(&self) -> bool {
        let last = self.content.len() - 512;
        self.content[510..512] == [0x55, 0xaa]
            || self.content[512..].starts_with(b"EFI PART")
            || self.content[last..].starts_with(b"EFI PART")
    }

    fn is_complete(&self) -> bool {
        let mib = usize::try_from(MIB).unwrap();
        let range = self.layout.config.unwrap();
        let at = usize::try_from(range.offset).unwrap();
        let end = self.image.len() - mib;
        self.content[mib..end] == self.image[mib..end]
            && self.content[at..at + self.drive.bytes.len()] == self.drive.bytes
    }

    fn check(&self, told: &str) -> bool {
        let bootable = self.looks_bootable();
        assert!(!bootable || self.is_complete(), "{told}: bootable, and not complete");
        bootable
    }
}

/// A deploy with all its stages; what was sent to the disk, the layout, the config drive, and the boundaries of the stages.
async fn deploy(image: &TestImage) -> (Vec<Sent>, Layout, ConfigDrive) {
    let file = image.bytes.clone();
    let server = Server::good(file.clone(), true).await;
    let disk = Arc::new(Recorder {
        disk: MemoryDisk::new(usize::try_from(DISK).unwrap()),
        sent: Mutex::default(),
    });
    let request = Request { hold: Hold::BootArea, ..request(&server, &sha256_hex(&file)) };
    let device: Arc<dyn BlockDevice> = Arc::clone(&disk) as Arc<dyn BlockDevice>;
    let outcome = run::write(&request, device, Arc::new(Silent), &http(), &quick()).await.unwrap();
    let value = json!({"meta_data": {"hostname": "db01"}, "user_data": "#!/bin/sh\n"});
    let drive = configdrive::build(&value, "n", Uuid::nil(), 512, None).unwrap().unwrap();
    let held = outcome.held;
    let drive_bytes = Some(drive.bytes.len() as u64);
    let layout = layout::plan(
        &held.head,
        held.tail_offset,
        &held.tail,
        outcome.written.virtual_bytes,
        DISK,
        512,
        drive_bytes,
    )
    .unwrap();
    configdrive::write(&*disk, layout.config.unwrap(), &drive).unwrap();
    layout::commit(&*disk, &layout).unwrap();
    let sent = disk.sent.lock().unwrap().clone();
    (sent, layout, drive)
}

#[tokio::test]
async fn a_power_cut_after_any_write_never_leaves_a_fake_disk_that_boots_without_its_config_drive()
{
    for image in [TestImage::cloud(512, 8), TestImage::mbr(8 * MIB, &[(0x83, 2048, 12288)])] {
        let (sent, layout, drive) = deploy(&image).await;
        let with = |content: &[u8]| Remains {
            content: content.to_vec(),
            image: &image.bytes,
            drive: &drive,
            layout: &layout,
        };
        let mut random = StdRng::seed_from_u64(1);
        let (mut cuts, mut bootable) = (0, 0_usize);
        // What is on stable storage: everything up to the last flush.
        let mut stable = with(&vec![OLD; usize::try_from(DISK).unwrap()]);
        for epoch in sent.split_inclusive(|sent| matches!(sent, Sent::Flush)) {
            for number in 0..=epoch.len() {
                let mut cut = with(&stable.content);
                epoch[..number].iter().for_each(|sent| cut.apply(sent));
                bootable += usize::from(cut.check(&format!("{number} writes into an epoch")));
                cuts += 1;
            }
            for trial in 0..8 {
                let mut cut = with(&stable.content);
                for sent in epoch {
                    if random.random_bool(0.5) {
                        cut.apply(sent);
                    }
                }
                bootable += usize::from(cut.check(&format!("trial {trial} out of order")));
                cuts += 1;
            }
            epoch.iter().for_each(|sent| stable.apply(sent));
        }
        println!(
            "{}: {} operations, {cuts} power cuts, {bootable} left a partition table",
            layout.table,
            sent.len()
        );
        assert!(stable.looks_bootable() && stable.is_complete());
        assert!(bootable > 0 && cuts > sent.len());
    }
}
