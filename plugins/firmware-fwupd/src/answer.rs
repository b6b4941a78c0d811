//! What fwupdtool says, as it is printed. Only what is used is read; what a later version adds is passed over. Pure.

use std::cmp::Ordering;

use serde::Deserialize;

/// One device that fwupd found.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Device {
    /// Its name.
    #[serde(default)]
    pub(crate) name: String,
    /// fwupd's identifier of this one device.
    #[serde(rename = "DeviceId")]
    pub(crate) id: String,
    /// What cabinets are for.
    #[serde(rename = "Guid", default)]
    pub(crate) guids: Vec<String>,
    /// fwupd's plugin that drives it.
    #[serde(default)]
    pub(crate) plugin: String,
    /// Its flags.
    #[serde(default)]
    pub(crate) flags: Vec<String>,
    /// Why it cannot be updated now.
    #[serde(default)]
    pub(crate) problems: Vec<String>,
    /// The version it reports, as fwupd writes it.
    #[serde(default)]
    pub(crate) version: String,
    /// How its versions are written.
    #[serde(default)]
    pub(crate) version_format: String,
    /// How the last update ended (`FwupdUpdateState`), in the history only.
    #[serde(default)]
    update_state: u32,
}

/// It failed; for good or for a reason that may pass.
const FAILED: [u32; 2] = [3, 5];
/// It is there and starts after a restart.
const NEEDS_REBOOT: u32 = 4;

impl Device {
    /// The device in words.
    pub(crate) fn says(&self) -> String {
        let id = self.id.get(..8).unwrap_or(&self.id);
        format!("{} ({id})", self.name)
    }

    /// What the device waits for before it runs what it was given: of an entry of the history.
    pub(crate) fn waits_for(&self) -> Option<&'static str> {
        let has = |flag: &str| self.flags.iter().any(|known| known == flag);
        match () {
            () if has("needs-shutdown") => Some("a power cycle"),
            () if has("needs-activation") => Some("its activation"),
            () if has("needs-reboot") || self.update_state == NEEDS_REBOOT => Some("a restart"),
            () => None,
        }
    }

    /// Whether the last update failed: of an entry of the history.
    pub(crate) fn has_failed(&self) -> bool {
        FAILED.contains(&self.update_state)
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Answer {
    Devices {
        #[serde(rename = "Devices")]
        devices: Vec<Device>,
    },
    Error {
        #[serde(rename = "Error")]
        error: Fault,
    },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Fault {
    #[serde(default)]
    code: u32,
    message: String,
}

/// `FwupdError`, code: there is nothing to list.
const NOTHING_TO_DO: u32 = 9;

/// The devices of `get-devices` or `get-history`; none is an empty list.
///
/// # Errors
/// In fwupdtool's own words where it has some.
pub(crate) fn devices(text: &str) -> Result<Vec<Device>, String> {
    match serde_json::from_str(text) {
        Ok(Answer::Devices { devices }) => Ok(devices),
        Ok(Answer::Error { error }) if error.code == NOTHING_TO_DO => Ok(Vec::new()),
        Ok(Answer::Error { error }) => Err(error.message),
        Err(_) => Err(format!("its answer is not a list of devices: {:?}", start(text))),
    }
}

/// The versions that a cabinet has for one device, as `get-details` prints them: it has no JSON for a cabinet. Of a cabinet that has
/// firmware for several devices only what is printed below this one; where none of it can be told apart, all of it.
pub(crate) fn versions_for<'a>(text: &'a str, device: &Device) -> Vec<&'a str> {
    let parts = parts(text);
    let is_for = |part: &&Part<'_>| {
        part.names
            .iter()
            .any(|name| *name == device.id || device.guids.iter().any(|guid| guid == name))
    };
    let meant: Vec<&Part<'_>> = parts.iter().filter(is_for).collect();
    let all = if meant.is_empty() { parts.iter().collect() } else { meant };
    all.into_iter().flat_map(|part| part.versions.iter().copied()).collect()
}

/// One device of `get-details` with the firmware for it.
#[derive(Debug, Default)]
struct Part<'a> {
    /// Its identifier and its GUIDs.
    names: Vec<&'a str>,
    versions: Vec<&'a str>,
}

fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = vec![Part::default()];
    for line in text.lines() {
        let line = line.trim_matches(|c: char| c.is_whitespace() || "│├└─".contains(c));
        let (key, value) = line.split_once(':').unwrap_or(("", line));
        // What follows firmware and names a device is the next one.
        let next = matches!(key, "Device ID" | "GUID" | "GUIDs")
            && parts.last().is_some_and(|part| !part.versions.is_empty());
        if next {
            parts.push(Part::default());
        }
        let Some(part) = parts.last_mut() else { continue };
        if key == "New version" {
            part.versions.push(value.trim());
        } else if part.versions.is_empty() {
            // Several GUIDs stand in lines of their own, with what they were made from behind them.
            part.names.extend(value.split_whitespace().next());
        }
    }
    parts
}

/// How two versions stand, as `vercmp` prints it: `1.0.0 < 1.1.0`.
pub(crate) fn order(text: &str) -> Option<Ordering> {
    match text.split_whitespace().nth(1)? {
        "<" => Some(Ordering::Less),
        "==" => Some(Ordering::Equal),
        ">" => Some(Ordering::Greater),
        _ => None,
    }
}

/// What is happening and how far it is, percent: a line as `Writing…: 75%`.
pub(crate) fn progress(line: &str) -> Option<(&str, u64)> {
    let (what, percent) = line.trim().rsplit_once(": ")?;
    let percent = percent.strip_suffix('%')?.parse().ok().filter(|percent| *percent <= 100)?;
    Some((what.trim_end_matches('…'), percent))
}

/// The beginning of a text.
fn start(text: &str) -> String {
    text.trim().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_with_their_versions() {
        let found = devices(include_str!("../testdata/devices.json")).unwrap();
        let device = &found[0];
        assert_eq!((device.plugin.as_str(), device.version.as_str()), ("test", "1.2.2"));
        assert_eq!(device.guids, ["b585990a-003e-5270-89d5-3705a17f9a43"]);
        assert_eq!(device.says(), "Integrated Webcam™ (08d460be)");
        assert_eq!((device.waits_for(), device.has_failed()), (None, false));
    }

    #[test]
    fn none_is_an_empty_list_and_garbage_is_named() {
        assert_eq!(devices(include_str!("../testdata/none.json")), Ok(Vec::new()));
        let lost = include_str!("../testdata/not-found.json");
        assert!(devices(lost).unwrap_err().starts_with("failed to find any device providing"));
        for garbage in ["", "{}", "Segmentation fault", r#"{"Devices": 7}"#] {
            assert!(devices(garbage).unwrap_err().contains("not a list of devices"), "{garbage}");
        }
    }

    #[test]
    fn what_a_device_waits_for_is_in_the_history() {
        for (text, expected) in [
            (include_str!("../testdata/history-needs-reboot.json"), Some("a restart")),
            (include_str!("../testdata/history-needs-activation.json"), Some("its activation")),
            (include_str!("../testdata/history-done.json"), None),
        ] {
            let device = devices(text).unwrap().remove(0);
            assert_eq!((device.waits_for(), device.has_failed()), (expected, false));
        }
        let failed = devices(include_str!("../testdata/history-failed.json")).unwrap().remove(0);
        assert_eq!((failed.waits_for(), failed.has_failed()), (None, true));
    }

    #[test]
    fn of_a_cabinet_for_several_devices_only_the_firmware_of_one_counts() {
        let webcam = devices(include_str!("../testdata/devices.json")).unwrap().remove(0);
        let own = include_str!("../testdata/details.txt");
        let other = own
            .replace("1.2.4", "7")
            .replace("08d460be", "aaaaaaaa")
            .replace("b585990a", "aaaaaaaa");
        let two = own.replace("1.2.4", "1.2.3");
        for (text, expected) in [
            ([own, &other].concat(), vec!["1.2.4"]),
            ([&other, own].concat(), vec!["1.2.4"]),
            ([own, &two].concat(), vec!["1.2.4", "1.2.3"]),
            ([&two, &other, own].concat(), vec!["1.2.3", "1.2.4"]),
            // Nothing of it names the device: what else it has may be for it.
            (other.clone(), vec!["7"]),
        ] {
            assert_eq!(versions_for(&text, &webcam), expected, "{text}");
        }
    }

    #[test]
    fn versions_orders_and_progress_are_read_from_words() {
        let webcam = devices(include_str!("../testdata/devices.json")).unwrap().remove(0);
        assert_eq!(versions_for(include_str!("../testdata/details.txt"), &webcam), ["1.2.4"]);
        assert_eq!(versions_for("", &webcam), Vec::<&str>::new());
        for (text, expected) in [
            ("1.0.0 < 1.1.0\n", Some(Ordering::Less)),
            ("1.1.0 == 1.1.0\n", Some(Ordering::Equal)),
            ("1.2.0 > 1.1.0\n", Some(Ordering::Greater)),
            ("", None),
        ] {
            assert_eq!(order(text), expected, "{text}");
        }
        for (line, expected) in [
            ("Writing…: 75%", Some(("Writing", 75))),
            ("Restarting device…: 100%", Some(("Restarting device", 100))),
            ("Writing…: 175%", None),
            ("18:40:53.181 FuCabinet  processing release: 1.2.4", None),
        ] {
            assert_eq!(progress(line), expected, "{line}");
        }
    }
}
