//! Which file on an EFI system partition starts the system.

use crate::layout::Partition;
use crate::sys::disk::BlockDevice;

use super::fat::{Fat, Node};

/// Label of an entry for the removable-media path.
const LABEL: &str = "Ironwright";
/// Longest label or file name taken from a CSV file, characters.
const MAX_CHARS: usize = 64;
/// Longest CSV file read, bytes.
const MAX_CSV_BYTES: usize = 64 << 10;

/// Architecture in the names of loaders (UEFI 2.10, 3.5.1.1).
const SUFFIX: &str = if cfg!(target_arch = "aarch64") { "AA64" } else { "X64" };

/// A loader and what to call it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Loader {
    /// With backslashes, from the root of the partition.
    pub(super) path: String,
    /// For the firmware's menu.
    pub(super) label: String,
}

/// Finds the loader: what a distribution's `BOOTX64.CSV` names (as shim's fallback does), else `\EFI\BOOT\BOOTX64.EFI`.
pub(super) fn find(disk: &dyn BlockDevice, esp: &Partition) -> Result<Loader, String> {
    let number = esp.number;
    let fat = Fat::open(disk, esp.range).ok_or_else(|| {
        format!("partition {number}, the EFI system partition, has no FAT file system")
    })?;
    let efi = fat.root().and_then(|root| child(&fat, &root, "EFI")).unwrap_or_default();
    let mut folders: Vec<&Node> = efi.iter().filter(|node| node.directory).collect();
    folders.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(loader) = folders.iter().find_map(|folder| from_csv(&fat, folder)) {
        return Ok(loader);
    }
    let name = format!("BOOT{SUFFIX}.EFI");
    let boot = child(&fat, &efi, "BOOT").unwrap_or_default();
    if boot.iter().any(|node| !node.directory && node.name.eq_ignore_ascii_case(&name)) {
        return Ok(Loader { path: format!("\\EFI\\BOOT\\{name}"), label: LABEL.to_owned() });
    }
    Err(format!(
        "partition {number}, the EFI system partition, has neither a BOOT{SUFFIX}.CSV nor \\EFI\\BOOT\\{name}"
    ))
}

/// The contents of the folder `name` among `nodes`.
fn child(fat: &Fat<'_>, nodes: &[Node], name: &str) -> Option<Vec<Node>> {
    let is = |node: &&Node| node.directory && node.name.eq_ignore_ascii_case(name);
    fat.list(nodes.iter().find(is)?)
}

/// What the CSV file in a folder of `\EFI` names, when that file is there.
fn from_csv(fat: &Fat<'_>, folder: &Node) -> Option<Loader> {
    let nodes = fat.list(folder)?;
    let file = |name: &str| {
        nodes.iter().find(|node| !node.directory && node.name.eq_ignore_ascii_case(name))
    };
    let csv = file(&format!("BOOT{SUFFIX}.CSV")).or_else(|| file("BOOT.CSV"))?;
    let (name, label) = parse_csv(&fat.read(csv, MAX_CSV_BYTES)?)?;
    let loader = file(&name)?;
    Some(Loader { path: format!("\\EFI\\{}\\{}", folder.name, loader.name), label })
}

/// First line of a CSV file in UTF-16LE: file name, label, options, description.
fn parse_csv(bytes: &[u8]) -> Option<(String, String)> {
    let units: Vec<u16> =
        bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    let text = String::from_utf16_lossy(&units);
    let line = text.trim_start_matches('\u{FEFF}').lines().next()?;
    let mut fields = line.split(',').map(str::trim);
    let (name, label) = (fields.next()?, fields.next()?);
    let usable = |text: &str| {
        !text.is_empty()
            && text.chars().count() <= MAX_CHARS
            && !text.chars().any(|c| c.is_control() || matches!(c, '\\' | '/'))
    };
    (usable(name) && usable(label)).then(|| (name.to_owned(), label.to_owned()))
}
