//! A small disk image with a GPT, made field by field, and what of it must be found on a disk.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use flate2::Crc;
use sha2::{Digest, Sha256};

const SECTOR: usize = 512;
/// Bytes of the partition entries.
const ENTRIES: usize = 128 * 128;
/// First sector of the only partition.
const FIRST: usize = 2048;
/// Type of a Linux file system, as its bytes stand on the disk.
const LINUX: [u8; 16] = [
    0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4,
];

/// A whole-disk image of `mib` MiB: one partition, filled with bytes that do not repeat.
pub(crate) fn gpt(mib: usize) -> Vec<u8> {
    let mut image = vec![0; mib << 20];
    let last = image.len() / SECTOR - 1;
    for (at, word) in image[FIRST * SECTOR..(last - 33) * SECTOR].chunks_mut(8).enumerate() {
        let mixed = (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word.copy_from_slice(&mixed.to_le_bytes());
    }
    // The protective MBR.
    image[446..462].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0]);
    image[458..462].copy_from_slice(&u32::try_from(last).unwrap().to_le_bytes());
    image[510..512].copy_from_slice(&[0x55, 0xaa]);

    let mut entries = vec![0; ENTRIES];
    entries[..16].copy_from_slice(&LINUX);
    entries[16..32].copy_from_slice(&[7; 16]);
    entries[32..40].copy_from_slice(&(FIRST as u64).to_le_bytes());
    entries[40..48].copy_from_slice(&(last as u64 - 34).to_le_bytes());
    let sectors = ENTRIES / SECTOR;
    for (own, other, table) in [(1, last, 2), (last, 1, last - sectors)] {
        image[table * SECTOR..table * SECTOR + ENTRIES].copy_from_slice(&entries);
        let header =
            header([own, other, 34, last - 34].map(|lba| lba as u64), table as u64, &entries);
        image[own * SECTOR..own * SECTOR + header.len()].copy_from_slice(&header);
    }
    image
}

/// UEFI 2.10, table 5.5. `lbas`: its own, the other header's, first and last usable.
fn header(lbas: [u64; 4], table: u64, entries: &[u8]) -> Vec<u8> {
    let mut header = b"EFI PART\0\0\x01\0\x5c\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    for lba in lbas {
        header.extend_from_slice(&lba.to_le_bytes());
    }
    header.extend_from_slice(&[9; 16]);
    header.extend_from_slice(&table.to_le_bytes());
    header.extend_from_slice(&128_u32.to_le_bytes());
    header.extend_from_slice(&128_u32.to_le_bytes());
    header.extend_from_slice(&crc(entries).to_le_bytes());
    let own = crc(&header);
    header[16..20].copy_from_slice(&own.to_le_bytes());
    header
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// SHA-256 of a file, hexadecimal.
pub(crate) fn sha256(file: &Path) -> String {
    let digest = Sha256::digest(std::fs::read(file).unwrap());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether the disk holds the content of the image's partition, byte for byte, and a partition table.
pub(crate) fn is_on(disk: &Path, image: &[u8]) -> bool {
    let content = FIRST * SECTOR..image.len() - 34 * SECTOR;
    let mut found = vec![0; content.len()];
    let file = File::open(disk).unwrap();
    file.read_exact_at(&mut found, content.start as u64).unwrap();
    found == image[content] && has_partition_table(disk)
}

/// Whether the bytes of the image at `offset` have reached the disk.
pub(crate) fn has_reached(disk: &Path, image: &[u8], offset: usize) -> bool {
    let mut found = [0; 4096];
    File::open(disk).unwrap().read_exact_at(&mut found, offset as u64).unwrap();
    found == image[offset..offset + found.len()]
}

/// Whether a disk has an MBR signature or a GPT header at either end.
pub(crate) fn has_partition_table(disk: &Path) -> bool {
    let (mut head, mut tail) = ([0; 2 * SECTOR], [0; SECTOR]);
    let file = File::open(disk).unwrap();
    file.read_exact_at(&mut head, 0).unwrap();
    file.read_exact_at(&mut tail, file.metadata().unwrap().len() - SECTOR as u64).unwrap();
    head[510..512] == [0x55, 0xaa] || &head[512..520] == b"EFI PART" || &tail[..8] == b"EFI PART"
}
