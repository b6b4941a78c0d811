//! UEFI variables as files of efivarfs: four bytes of attributes, then the value
//! (kernel, `Documentation/filesystems/efivarfs.rst`).

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::option;

/// `EFI_GLOBAL_VARIABLE`.
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Non-volatile, boot service access, runtime access.
const ATTRIBUTES: [u8; 4] = 7u32.to_le_bytes();
/// Longest variable read, bytes.
const MAX_BYTES: u64 = 64 << 10;

/// A change of one variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    name: String,
    /// Attributes and value; `None` removes it.
    bytes: Option<Vec<u8>>,
}

impl Change {
    /// Sets `Boot####`.
    pub(super) fn entry(number: u16, option: &[u8]) -> Self {
        Self::set(entry_name(number), option)
    }

    /// Sets `BootOrder`.
    pub(super) fn order(order: &[u16]) -> Self {
        let value: Vec<u8> = order.iter().flat_map(|number| number.to_le_bytes()).collect();
        Self::set("BootOrder".to_owned(), &value)
    }

    /// Removes `Boot####`.
    pub(super) fn remove(number: u16) -> Self {
        Self { name: entry_name(number), bytes: None }
    }

    fn set(name: String, value: &[u8]) -> Self {
        Self { name, bytes: Some([&ATTRIBUTES, value].concat()) }
    }
}

fn entry_name(number: u16) -> String {
    format!("Boot{number:04X}")
}

/// The folder of variables.
#[derive(Debug)]
pub(super) struct Store {
    efi: PathBuf,
    folder: PathBuf,
}

impl Store {
    /// The variables below `root`.
    pub(super) fn new(root: &Path) -> Self {
        let efi = root.join("sys/firmware/efi");
        Self { folder: efi.join("efivars"), efi }
    }

    /// Numbers and descriptions of all boot entries, by number; why there are none to see otherwise.
    pub(super) fn entries(&self) -> Result<Vec<(u16, String)>, String> {
        let described = |(number, option): (u16, Vec<u8>)| {
            (number, option::description(&option).unwrap_or_default())
        };
        Ok(self.options()?.into_iter().map(described).collect())
    }

    /// Whether this machine was booted by UEFI firmware.
    pub(super) fn is_uefi(&self) -> bool {
        self.efi.exists()
    }

    /// Numbers and load options of all boot entries, by number; why there are none to see otherwise.
    pub(super) fn options(&self) -> Result<Vec<(u16, Vec<u8>)>, String> {
        if !self.is_uefi() {
            return Err("the machine was booted by BIOS firmware".to_owned());
        }
        let names: Vec<String> = fs::read_dir(&self.folder)
            .map_err(|error| format!("UEFI variables cannot be listed: {error}"))?
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        if names.is_empty() {
            return Err(
                "efivarfs is not mounted, or the firmware has no variables at run time".to_owned()
            );
        }
        let mut entries: Vec<(u16, Vec<u8>)> = names
            .iter()
            .filter_map(|name| {
                let digits = name.strip_prefix("Boot")?.strip_suffix(GLOBAL)?.strip_suffix('-')?;
                // BootNext, BootCurrent and the like are no entries.
                let number = u16::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 4)?;
                let value = self.read(&format!("Boot{digits}")).unwrap_or_default();
                Some((number, value.get(4..)?.to_vec()))
            })
            .collect();
        entries.sort_unstable();
        Ok(entries)
    }

    /// `BootOrder`; empty when there is none.
    pub(super) fn order(&self) -> Vec<u16> {
        let bytes = self.read("BootOrder").unwrap_or_default();
        let numbers = bytes.get(4..).unwrap_or_default().as_chunks::<2>().0;
        numbers.iter().map(|number| u16::from_le_bytes(*number)).collect()
    }

    /// Makes all changes in order and reads each back. A variable that already is as wanted is not written again: every
    /// write wears the firmware's flash.
    pub(super) fn apply(&self, changes: &[Change]) -> io::Result<()> {
        for change in changes {
            match &change.bytes {
                Some(bytes) if self.read(&change.name).as_deref() == Some(bytes) => {}
                Some(bytes) => {
                    fs::write(self.path(&change.name), bytes)?;
                    if self.read(&change.name).as_deref() != Some(bytes) {
                        return Err(io::Error::other(format!(
                            "{} reads back different",
                            change.name
                        )));
                    }
                }
                None => fs::remove_file(self.path(&change.name))?,
            }
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}-{GLOBAL}"))
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        fs::File::open(self.path(name)).ok()?.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }
}
