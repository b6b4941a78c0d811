//! The object form's documents as a FAT16 file system.

use uuid::Uuid;

use super::{ConfigDriveError, MAX_BYTES};
use crate::layout::{CONFIG_NAME, MIB};
use crate::vfat::{Content, Entry, Format};

/// Where OpenStack puts the documents; cloud-init takes the newest version it knows, old readers the dated one.
const FOLDERS: [&str; 2] = ["latest", "2012-08-10"];

/// Makes the file system. The same input gives the same bytes: the volume identifier is the node's.
pub(super) fn make(
    files: &[(&'static str, Vec<u8>)],
    sector_bytes: u32,
    node_uuid: Uuid,
) -> Result<Vec<u8>, ConfigDriveError> {
    let too_large = ConfigDriveError::TooLarge { limit: MAX_BYTES };
    let contents: u64 = files.iter().map(|(_, content)| content.len() as u64).sum();
    let contents = contents * FOLDERS.len() as u64;
    let Some(format) = fitting(contents, sector_bytes, node_uuid.as_fields().0) else {
        return Err(too_large);
    };
    let mut bytes = format.make(&[folder("openstack", folders(files))]).ok_or(too_large)?;
    bytes.resize(format.total, 0);
    Ok(bytes)
}

fn folders(files: &[(&'static str, Vec<u8>)]) -> Vec<Entry> {
    let file = |(name, content): &(&str, Vec<u8>)| Entry {
        name: (*name).to_owned(),
        content: Content::File(content.clone()),
    };
    FOLDERS.map(|name| folder(name, files.iter().map(file).collect())).into()
}

fn folder(name: &str, inside: Vec<Entry>) -> Entry {
    Entry { name: name.to_owned(), content: Content::Folder(inside) }
}

/// Room for `contents` bytes of files; `None` when that is more than a config drive may have.
///
/// FAT16 is defined by its number of clusters, 4085 to 65524. The cluster and the smallest total keep it there.
fn fitting(contents: u64, sector_bytes: u32, volume_id: u32) -> Option<Format<'static>> {
    let (sector, min_bytes) = if sector_bytes == 4096 { (4096, 20 * MIB) } else { (512, 8 * MIB) };
    // Tables, directories and half-empty clusters need far less than 1 MiB.
    let total = (contents + MIB).next_multiple_of(MIB).max(min_bytes);
    if total > MAX_BYTES {
        return None;
    }
    let cluster = if total > 32 * MIB { 2048 } else { 1024 }.max(sector);
    Some(Format {
        label: CONFIG_NAME,
        volume_id,
        sector,
        cluster,
        total: usize::try_from(total).ok()?,
    })
}
