//! The step `clean_uefi_nvram`: boot entries of systems that were on the machine go, those of firmware and network stay.

use ironwright_api::{Blame, Failure};
use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::efivars::{Change, Store};
use super::option;
use crate::sys::{Effect, System};

/// What goes when nothing is named: entries of disks, of shim and of GRUB (Ironic's own list).
const USUAL: [&str; 3] = [r"^HD\(", r"shim.*\.efi", r"grub.*\.efi"];
/// Most patterns taken, and most bytes that one may take compiled.
const MAX_PATTERNS: usize = 64;
const MAX_COMPILED: usize = 1 << 20;

/// What the step would do.
///
/// # Errors
/// The [`Failure`] to report: patterns that are none, or firmware whose entries cannot be read.
pub fn sentences(system: &System, args: &Value) -> Result<Vec<String>, Failure> {
    let patterns = patterns(args)?;
    let store = Store::new(system.root());
    if !store.is_uefi() {
        return Ok(vec!["nothing: the machine was booted by BIOS firmware".to_owned()]);
    }
    let found = matching(&store, &patterns)?;
    let mut sentences: Vec<String> = found
        .iter()
        .map(|(number, path)| format!("boot entry Boot{number:04X} ({path}) goes"))
        .collect();
    if sentences.is_empty() {
        sentences.push("nothing: no boot entry matches".to_owned());
    }
    Ok(sentences)
}

/// Removes the matching entries, and reads back that they are gone.
///
/// # Errors
/// The [`Failure`] to report.
pub fn clean(system: &System, args: &Value) -> Result<(), Failure> {
    let patterns = patterns(args)?;
    let store = Store::new(system.root());
    if !store.is_uefi() {
        return Ok(());
    }
    let numbers: Vec<u16> =
        matching(&store, &patterns)?.into_iter().map(|(number, _)| number).collect();
    if numbers.is_empty() || !system.may(Effect::RemoveBootEntries { numbers: numbers.clone() }) {
        return Ok(());
    }
    let order: Vec<u16> =
        store.order().into_iter().filter(|number| !numbers.contains(number)).collect();
    let mut changes = vec![Change::order(&order)];
    changes.extend(numbers.iter().map(|number| Change::remove(*number)));
    store.apply(&changes).map_err(|error| firmware(&format!("it took no change: {error}")))?;
    match matching(&store, &patterns)?.first() {
        None => Ok(()),
        Some((number, _)) => Err(firmware(&format!("Boot{number:04X} is still there"))),
    }
}

fn matching(store: &Store, patterns: &[Regex]) -> Result<Vec<(u16, String)>, Failure> {
    let options = store.options().map_err(|why| firmware(&why))?;
    let shown = options
        .into_iter()
        .map(|(number, entry)| (number, option::shown_path(&entry).unwrap_or_default()));
    Ok(shown.filter(|(_, path)| patterns.iter().any(|one| one.is_match(path))).collect())
}

fn patterns(args: &Value) -> Result<Vec<Regex>, Failure> {
    let given: Vec<&str> = match args["match_patterns"].as_array() {
        Some(patterns) => patterns.iter().map(|one| one.as_str().unwrap_or("")).collect(),
        None => USUAL.to_vec(),
    };
    let refuse = |why: String| Failure {
        step: String::new(),
        message: format!("nothing was changed: match_patterns: {why}"),
        remedy: "correct match_patterns, a list of regular expressions".to_owned(),
        blame: Blame::Order,
    };
    if given.is_empty() || given.len() > MAX_PATTERNS || given.contains(&"") {
        return Err(refuse(format!("1 to {MAX_PATTERNS} texts, none of them empty")));
    }
    let compile = |text: &&str| {
        RegexBuilder::new(text).case_insensitive(true).size_limit(MAX_COMPILED).build()
    };
    given.iter().map(compile).collect::<Result<_, _>>().map_err(|error| refuse(error.to_string()))
}

fn firmware(why: &str) -> Failure {
    Failure {
        step: String::new(),
        message: format!("the firmware's boot entries: {why}"),
        remedy: "clear the boot entries in the firmware's setup, or leave this step out".to_owned(),
        blame: Blame::Hardware,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::option::{Format, HardDrive, build, device_path};
    use super::*;

    const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

    fn firmware_with(folder: &std::path::Path) -> System {
        let efivars = folder.join("sys/firmware/efi/efivars");
        std::fs::create_dir_all(&efivars).unwrap();
        let drive = HardDrive {
            number: 1,
            first_lba: 2048,
            lbas: 4096,
            signature: [7; 16],
            format: Format::Gpt,
        };
        let disk = build("debian", &device_path(&drive, r"\EFI\debian\shimx64.efi"));
        let network = build("PXE", &[3, 11, 4, 0, 0x7F, 0xFF, 4, 0]);
        for (name, option) in [("Boot0000", network), ("Boot0001", disk)] {
            let variable = [&[7, 0, 0, 0][..], &option].concat();
            std::fs::write(efivars.join(format!("{name}-{GLOBAL}")), variable).unwrap();
        }
        let disk = folder.join("disk");
        std::fs::write(&disk, b"").unwrap();
        System::sandbox(folder, &[disk]).unwrap()
    }

    #[test]
    fn entries_of_disks_go_and_those_of_the_network_stay_and_a_sandbox_only_records() {
        let folder = tempfile::tempdir().unwrap();
        let system = firmware_with(folder.path());
        let said = sentences(&system, &Value::Null).unwrap();
        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("boot entry Boot0001 (HD(1,GPT,"), "{said:?}");
        clean(&system, &Value::Null).unwrap();
        assert_eq!(system.recorded(), [Effect::RemoveBootEntries { numbers: vec![1] }]);
        let asked = json!({"match_patterns": ["^path\\(3,11\\)"]});
        assert!(sentences(&system, &asked).unwrap()[0].starts_with("boot entry Boot0000"));
    }

    #[test]
    fn patterns_that_are_none_are_refused_before_anything_changes() {
        let folder = tempfile::tempdir().unwrap();
        let system = firmware_with(folder.path());
        for patterns in [json!([]), json!([""]), json!(["("]), json!([3]), json!(["a{9999}{9999}"])]
        {
            let failure = clean(&system, &json!({"match_patterns": patterns})).unwrap_err();
            assert!(failure.message.contains("nothing was changed: match_patterns"), "{failure:?}");
        }
        assert!(system.recorded().is_empty());
    }
}
