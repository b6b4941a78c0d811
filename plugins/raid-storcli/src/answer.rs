//! The vendor's JSON, as `/call show all J` prints it. Only what is used is read; what it adds later is passed over. Pure.

use serde::Deserialize;
use serde_json::{Value, json};

/// The whole answer.
#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(rename = "Controllers")]
    controllers: Vec<Controller>,
}

#[derive(Debug, Deserialize)]
struct Controller {
    #[serde(rename = "Command Status")]
    status: Status,
    #[serde(rename = "Response Data")]
    data: Option<Data>,
}

#[derive(Debug, Deserialize)]
struct Status {
    #[serde(rename = "Status")]
    status: String,
    #[serde(rename = "Description", default)]
    description: String,
}

#[derive(Debug, Default, Deserialize)]
struct Data {
    #[serde(rename = "Basics", default)]
    basics: Basics,
    #[serde(rename = "Version", default)]
    version: Version,
    #[serde(rename = "VD LIST", default)]
    volumes: Vec<Volume>,
    #[serde(rename = "PD LIST", default)]
    drives: Vec<Drive>,
}

#[derive(Debug, Default, Deserialize)]
struct Basics {
    #[serde(rename = "Controller", default)]
    number: u32,
    #[serde(rename = "Model", default)]
    model: String,
    #[serde(rename = "Serial Number", default)]
    serial: String,
}

#[derive(Debug, Default, Deserialize)]
struct Version {
    #[serde(rename = "Firmware Version", default)]
    firmware: String,
}

#[derive(Debug, Deserialize)]
struct Volume {
    #[serde(rename = "DG/VD")]
    id: String,
    #[serde(rename = "TYPE")]
    level: String,
    #[serde(rename = "State")]
    state: String,
    #[serde(rename = "Size")]
    size: String,
    #[serde(rename = "Name", default)]
    name: String,
}

#[derive(Debug, Deserialize)]
struct Drive {
    #[serde(rename = "EID:Slt")]
    place: String,
    #[serde(rename = "State")]
    state: String,
    /// A number, or `-`.
    #[serde(rename = "DG")]
    group: Value,
    #[serde(rename = "Size")]
    size: String,
    #[serde(rename = "Model", default)]
    model: String,
}

/// Bytes of a size as the tool writes it: `446.625 GB`, by powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = text.trim().split_once(' ')?;
    let power =
        ["B", "KB", "MB", "GB", "TB", "PB"].iter().position(|known| *known == unit.trim())?;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let unit = 1024_u64.checked_pow(u32::try_from(power).ok()?)?;
    let thousandths: u64 = format!("{part:0<3}").get(..3)?.parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(unit / 1000 * thousandths)
}

/// Ironic's name of a level: `RAID10` is `1+0`.
fn level(text: &str) -> String {
    match text.strip_prefix("RAID").unwrap_or(text) {
        "10" => "1+0".to_owned(),
        "50" => "5+0".to_owned(),
        "60" => "6+0".to_owned(),
        other => other.to_owned(),
    }
}

/// What the machine's controllers have, with Ironic's words where it has some.
///
/// # Errors
/// Why the answer cannot be used, in the tool's own words where it has some.
pub(crate) fn read(text: &str) -> Result<Value, String> {
    let answer: Answer = serde_json::from_str(text)
        .map_err(|error| format!("the tool's answer is not its JSON: {error}"))?;
    let mut controllers = Vec::new();
    for controller in answer.controllers {
        if controller.status.status != "Success" {
            return Err(format!(
                "the tool says: {}: {}",
                controller.status.status, controller.status.description
            ));
        }
        let Data { basics, version, volumes, drives } = controller.data.unwrap_or_default();
        let volumes = volumes.iter().map(|volume| {
            json!({
                "id": volume.id, "raid_level": level(&volume.level), "state": volume.state, "healthy": volume.state == "Optl",
                "bytes": bytes(&volume.size), "volume_name": volume.name,
            })
        });
        let drives = drives.iter().map(|drive| {
            json!({
                "place": drive.place, "state": drive.state, "group": drive.group.as_u64(), "bytes": bytes(&drive.size),
                "model": drive.model.trim(),
            })
        });
        controllers.push(json!({
            "controller": basics.number, "model": basics.model, "serial": basics.serial, "firmware": version.firmware,
            "logical_disks": volumes.collect::<Vec<_>>(), "physical_disks": drives.collect::<Vec<_>>(),
        }));
    }
    Ok(json!({ "controllers": controllers }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_volumes_and_drives_are_read() {
        let found = read(include_str!("../testdata/two-volumes.json")).unwrap();
        let controller = &found["controllers"][0];
        assert_eq!(
            (&controller["serial"], &controller["firmware"]),
            (&json!("SV00000001"), &json!("4.680.00-8563"))
        );
        let volumes = controller["logical_disks"].as_array().unwrap();
        assert_eq!(
            (&volumes[0]["raid_level"], &volumes[0]["healthy"]),
            (&json!("1"), &json!(true))
        );
        assert_eq!((&volumes[1]["state"], &volumes[1]["healthy"]), (&json!("Dgrd"), &json!(false)));
        let drives = controller["physical_disks"].as_array().unwrap();
        assert_eq!((&drives[0]["model"], &drives[0]["group"]), (&json!("MZ7LH480HAHQ"), &json!(0)));
        assert_eq!(drives[2]["group"], Value::Null);
    }

    #[test]
    fn a_failure_is_told_in_the_tools_words_and_garbage_is_named() {
        let words = read(include_str!("../testdata/error.json")).unwrap_err();
        assert_eq!(words, "the tool says: Failure: No Controller found");
        for garbage in ["", "{}", "Segmentation fault", r#"{"Controllers": 7}"#] {
            assert!(read(garbage).unwrap_err().contains("not its JSON"), "{garbage}");
        }
    }

    #[test]
    fn sizes_and_levels_are_the_tools() {
        for (text, expected) in [
            ("446.625 GB", Some((446 << 30) + ((1 << 30) / 1000 * 625))),
            ("4 KB", Some(4096)),
            ("7.276 TB", Some((7 << 40) + ((1_u64 << 40) / 1000 * 276))),
            ("512B", None),
            ("x GB", None),
            ("99999999999 PB", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
        assert_eq!((level("RAID10"), level("RAID6")), ("1+0".to_owned(), "6".to_owned()));
    }
}
