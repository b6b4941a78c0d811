//! The `chassis_control` program of `ipmi_sim`: turns its words into changes of a machine's power and boot device.
//!
//! `lab chassis DIR get power boot` prints `power:1` and `boot:pxe`, a line each;
//! `lab chassis DIR set boot pxe power 1` changes them in order. It is called synchronously: the BMC answers when it returns.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, bail};

use crate::machine::{Boot, BootDevice, Machine};

/// One change asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Power(bool),
    Reset,
    SoftOff,
    Boot(BootDevice),
    Identify,
}

/// Carries out one call and returns what to print.
///
/// # Errors
///
/// Unknown words, or a machine that does not obey; `ipmi_sim` then answers the client with an error code.
pub fn run(dir: &Path, operation: &str, words: &[String]) -> anyhow::Result<String> {
    let machine = Machine::open(dir)?;
    match operation {
        "get" => get(&machine, words),
        "set" => {
            for change in changes(words)? {
                apply(&machine, change).with_context(|| format!("{change:?}"))?;
            }
            Ok(String::new())
        }
        other => bail!("unknown operation {other:?}; get or set"),
    }
}

fn get(machine: &Machine, words: &[String]) -> anyhow::Result<String> {
    let mut text = String::new();
    for word in words {
        match word.as_str() {
            "power" => writeln!(text, "power:{}", u8::from(machine.is_on()))?,
            "boot" => writeln!(text, "boot:{}", boot_word(machine.boot()?.device))?,
            other => bail!("unknown parameter {other:?}; power or boot"),
        }
    }
    Ok(text)
}

fn apply(machine: &Machine, change: Change) -> anyhow::Result<()> {
    match change {
        Change::Power(true) => machine.power_on(),
        Change::Power(false) => machine.power_off(),
        Change::Reset => machine.reset(),
        Change::SoftOff => machine.soft_off(),
        // ipmi_sim does not tell whether the device is to stay: it is for one boot.
        Change::Boot(device) => machine.set_boot(Boot { device, persistent: false }),
        Change::Identify => Ok(()),
    }
}

/// Reads `PARAMETER VALUE …`; `identify` has two values (seconds, force).
fn changes(words: &[String]) -> anyhow::Result<Vec<Change>> {
    let mut words = words.iter().map(String::as_str);
    let mut changes = Vec::new();
    while let Some(name) = words.next() {
        let value = words.next().with_context(|| format!("{name} has no value"))?;
        changes.push(match (name, value) {
            ("power", "1") => Change::Power(true),
            ("power", "0") => Change::Power(false),
            ("reset", _) => Change::Reset,
            ("shutdown", _) => Change::SoftOff,
            ("boot", device) => Change::Boot(boot_device(device)?),
            ("identify", _) => {
                words.next();
                Change::Identify
            }
            _ => bail!("unknown parameter {name:?} {value:?}"),
        });
    }
    Ok(changes)
}

const BOOT_WORDS: [(&str, BootDevice); 5] = [
    ("none", BootDevice::None),
    ("pxe", BootDevice::Pxe),
    ("default", BootDevice::Disk),
    ("cdrom", BootDevice::Cdrom),
    ("bios", BootDevice::Bios),
];

fn boot_device(word: &str) -> anyhow::Result<BootDevice> {
    let known = BOOT_WORDS.iter().find(|(known, _)| *known == word);
    known.map(|(_, device)| *device).with_context(|| format!("unknown boot device {word:?}"))
}

fn boot_word(device: BootDevice) -> &'static str {
    BOOT_WORDS.iter().find(|(_, known)| *known == device).map_or("none", |(word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn several_changes_are_read_in_order() {
        assert_eq!(
            changes(&words(
                "boot pxe identify 15 0 power 1 reset 1 shutdown 1 boot default power 0"
            ))
            .unwrap(),
            [
                Change::Boot(BootDevice::Pxe),
                Change::Identify,
                Change::Power(true),
                Change::Reset,
                Change::SoftOff,
                Change::Boot(BootDevice::Disk),
                Change::Power(false),
            ]
        );
    }

    #[test]
    fn unknown_words_are_refused_by_name() {
        for text in ["power", "power 2", "boot floppy", "teleport 1"] {
            let error = format!("{:#}", changes(&words(text)).unwrap_err());
            assert!(
                error.contains(text.split(' ').next_back().unwrap()) || error.contains(text),
                "{error}"
            );
        }
    }

    #[test]
    fn every_boot_word_survives_the_round_trip() {
        for (word, device) in BOOT_WORDS {
            assert_eq!(boot_word(boot_device(word).unwrap()), word);
            assert_eq!(boot_device(word).unwrap(), device);
        }
    }
}
