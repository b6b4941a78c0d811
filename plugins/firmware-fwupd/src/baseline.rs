//! The baseline: which device is to run which version, and from which cabinet it gets there. It is in the bundle, so who signs the
//! bundle signs it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::answer::Device;

/// Longest cabinet taken, bytes: the largest published are some 200 MiB, and a plugin's tree is in memory.
const CABINET_MAX: u64 = 512 << 20;

/// One pinned device. Unknown keys are refused: a misspelt pin must not be a missing one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// fwupd's plugin that drives the device: `nvme`, `scsi`, `mtd` ...
    pub(crate) plugin: String,
    /// One of the device's GUIDs, as `show_fwupd` prints them.
    pub(crate) guid: Option<String>,
    /// Or its name.
    pub(crate) name: Option<String>,
    /// The version it is to report.
    pub(crate) version: String,
    /// The cabinet's file, below the bundle's firmware folder.
    pub(crate) cabinet: String,
    /// The SHA-256 of that file, hexadecimal.
    pub(crate) sha256: String,
    /// Whether a machine may lack the device: one baseline for unequal machines.
    #[serde(default)]
    pub(crate) optional: bool,
    /// Whether a newer version on the device is replaced by the older one that is pinned.
    #[serde(default)]
    pub(crate) downgrade: bool,
}

impl Entry {
    /// Whether `device` is meant.
    pub(crate) fn is_for(&self, device: &Device) -> bool {
        self.plugin == device.plugin
            && self.guid.as_ref().is_none_or(|guid| device.guids.contains(guid))
            && self.name.as_ref().is_none_or(|name| *name == device.name)
    }

    /// The device in words.
    pub(crate) fn says(&self) -> String {
        let id = self.guid.as_ref().or(self.name.as_ref()).map_or("?", String::as_str);
        format!("{id} of fwupd's plugin {}", self.plugin)
    }

    /// What is wrong with the entry itself, and with its cabinet in `folder`.
    fn problem(&self, folder: &Path) -> Option<String> {
        if self.guid.is_some() == self.name.is_some() {
            return Some("give guid or name, one of the two".to_owned());
        }
        if self.plugin.is_empty() || self.plugin.contains(',') || self.plugin.starts_with('-') {
            return Some(format!(
                "plugin is {:?}: give the name of one of fwupd's plugins",
                self.plugin
            ));
        }
        if self.version.is_empty() {
            return Some(
                "version is empty: give the version that the device is to report".to_owned(),
            );
        }
        if !plain(&self.cabinet) {
            return Some(format!(
                "cabinet is {:?}: give the name of a file in {}",
                self.cabinet,
                folder.display()
            ));
        }
        let path = folder.join(&self.cabinet);
        match sha256(&path) {
            Err(error) => Some(format!("{}: {error}", path.display())),
            Ok(found) if found != self.sha256 => Some(format!(
                "{} has the sha256 {found}, the baseline says {:?}",
                path.display(),
                self.sha256
            )),
            Ok(_) => None,
        }
    }
}

/// The digest of a cabinet.
fn sha256(path: &Path) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut file = File::open(path)?.take(CABINET_MAX + 1);
    let (mut piece, mut read) = (vec![0; 1 << 20], 0);
    loop {
        let count = file.read(&mut piece)?;
        read += count as u64;
        match piece.get(..count) {
            None | Some([]) => break,
            Some(bytes) => digest.update(bytes),
        }
    }
    if read > CABINET_MAX {
        return Err(io::Error::other(format!("has more than {CABINET_MAX} bytes")));
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Whether this is the name of a file, and no path out of its folder.
fn plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains('/')
}

/// Reads the baseline `name` in `folder`; its cabinets are there and are those that it names.
///
/// # Errors
/// All that is wrong with it, by entry.
pub(crate) fn read(folder: &Path, name: &str) -> Result<Vec<Entry>, String> {
    if !plain(name) {
        return Err(format!(
            "baseline is {name:?}: give the name of a file in {}",
            folder.display()
        ));
    }
    let path = folder.join(name);
    let text = std::fs::read_to_string(&path)
        .map_err(|error| format!("the bundle's baseline {}: {error}", path.display()))?;
    let entries: Vec<Entry> = serde_json::from_str(&text)
        .map_err(|error| format!("the bundle's baseline {}: {error}", path.display()))?;
    if entries.is_empty() {
        return Err(format!("the bundle's baseline {} pins nothing", path.display()));
    }
    let wrong: Vec<String> = (1..)
        .zip(&entries)
        .filter_map(|(number, entry)| Some(format!("entry {number}: {}", entry.problem(folder)?)))
        .collect();
    match wrong.is_empty() {
        true => Ok(entries),
        false => Err(format!("the bundle's baseline: {}", wrong.join("; "))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read_with(baseline: &Value) -> Result<Vec<Entry>, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("baseline.json"), baseline.to_string()).unwrap();
        std::fs::write(folder.path().join("a.cab"), "firmware").unwrap();
        read(folder.path(), "baseline.json")
    }

    fn entry(change: &[(&str, Value)]) -> Value {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.cab");
        std::fs::write(&path, "firmware").unwrap();
        let mut entry = json!({
            "plugin": "nvme", "guid": "g", "version": "2", "cabinet": "a.cab", "sha256": sha256(&path).unwrap(),
        });
        for (key, value) in change {
            entry[*key] = value.clone();
        }
        entry
    }

    #[test]
    fn what_is_wrong_is_said_by_entry_field_and_value() {
        assert_eq!(read_with(&json!([entry(&[])])).unwrap().len(), 1);
        for (change, words) in [
            (("name", json!("both")), "give guid or name"),
            (("guid", Value::Null), "give guid or name"),
            (("plugin", json!("a,b")), "plugin is \"a,b\""),
            (("version", json!("")), "version is empty"),
            (("cabinet", json!("../a.cab")), "cabinet is \"../a.cab\""),
            (("cabinet", json!("b.cab")), "b.cab: No such file"),
            (("sha256", json!("0".repeat(64))), "the baseline says \"0000"),
            (("versoin", json!("3")), "unknown field `versoin`"),
        ] {
            let error = read_with(&json!([entry(&[]), entry(&[change])])).unwrap_err();
            assert!(error.contains(words), "{error}");
            assert!(error.contains("entry 2: ") || error.contains("unknown field"), "{error}");
        }
        assert!(read_with(&json!([])).unwrap_err().contains("pins nothing"));
        let outside = read(Path::new("/firmware"), "../etc/passwd").unwrap_err();
        assert!(outside.starts_with("baseline is \"../etc/passwd\""), "{outside}");
        assert!(
            read(Path::new("/no-such"), "a.json").unwrap_err().contains("/no-such/a.json: No such")
        );
    }
}
