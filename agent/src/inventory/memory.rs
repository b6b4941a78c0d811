//! Memory: what the kernel has, and what is plugged in.

use serde::Serialize;

use super::smbios::{self, Structure};
use super::tree::Tree;

/// Ironic's `memory`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Bytes the kernel manages.
    pub total: Option<u64>,
    /// MiB of memory modules, from SMBIOS.
    pub physical_mb: Option<u64>,
}

/// SMBIOS structure type: memory device (SMBIOS 3.7, 7.18).
pub(super) const MEMORY_DEVICE: u8 = 17;

/// Asks /proc/meminfo and the SMBIOS table.
pub(super) fn collect(tree: &Tree) -> Memory {
    let meminfo = tree.text("proc/meminfo").unwrap_or_default();
    let kib = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok());
    let table = smbios::table(tree);
    Memory {
        total: kib.and_then(|kib: u64| kib.checked_mul(1024)),
        physical_mb: Some(modules_mib(&table)).filter(|mib| *mib > 0),
    }
}

/// Sum of the memory modules in an SMBIOS table, MiB.
fn modules_mib(table: &[u8]) -> u64 {
    let modules = smbios::structures(table);
    let modules = modules.iter().filter(|structure| structure.kind == MEMORY_DEVICE);
    modules.map(module_mib).fold(0, u64::saturating_add)
}

/// Size of one module, MiB; 0 when the slot is empty or the size unknown.
pub(super) fn module_mib(module: &Structure<'_>) -> u64 {
    match module.word(0x0C).unwrap_or_default() {
        0 | 0xFFFF => 0,
        // The extended size has 31 bits of MiB.
        0x7FFF => u64::from(module.double(0x1C).unwrap_or_default() & 0x7FFF_FFFF),
        kib if kib & 0x8000 != 0 => u64::from(kib & 0x7FFF) / 1024,
        mib => u64::from(mib),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(size: u16, extended: u32) -> Vec<u8> {
        let mut structure = vec![0; 0x20];
        (structure[0], structure[1]) = (17, 0x20);
        structure[0x0C..0x0E].copy_from_slice(&size.to_le_bytes());
        structure[0x1C..0x20].copy_from_slice(&extended.to_le_bytes());
        structure.extend(b"DIMM 0\0Micron\0\0");
        structure
    }

    #[test]
    fn modules_of_every_encoding_are_summed() {
        let other = b"\x01\x04\x00\x00\0\0".to_vec();
        let table = [
            other,
            module(0, 0),
            module(0xFFFF, 0),
            module(16384, 0),
            module(0x7FFF, 65536),
            module(0x8000 | 2048, 0),
        ];
        assert_eq!(modules_mib(&table.concat()), 16384 + 65536 + 2);
    }

    #[test]
    fn truncated_tables_end_quietly() {
        let table = module(16384, 0);
        for length in 0..table.len() {
            assert!(modules_mib(&table[..length]) <= 16384);
        }
        assert_eq!(modules_mib(&[17, 0, 0, 0]), 0);
        assert_eq!(modules_mib(&[17, 3, 0, 0]), 0);
    }
}
