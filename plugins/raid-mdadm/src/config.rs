//! Ironic's `target_raid_config` for software RAID: what is asked for, and everything that is wrong with it. Pure.

use std::collections::HashSet;

use serde_json::Value;

/// RAID levels, by Ironic's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Stripe,
    Mirror,
    Parity,
    DoubleParity,
    StripedMirrors,
}

/// Each level: Ironic's names, mdadm's name, fewest members.
const LEVELS: [(Level, &[&str], &str, usize); 5] = [
    (Level::Stripe, &["0"], "0", 2),
    (Level::Mirror, &["1"], "1", 2),
    (Level::Parity, &["5"], "5", 3),
    (Level::DoubleParity, &["6"], "6", 4),
    (Level::StripedMirrors, &["1+0", "10"], "10", 2),
];

impl Level {
    fn parse(text: &str) -> Option<Self> {
        LEVELS.iter().find(|level| level.1.contains(&text)).map(|level| level.0)
    }

    /// As mdadm calls it.
    pub(crate) fn name(self) -> &'static str {
        LEVELS.iter().find(|level| level.0 == self).map_or("", |level| level.2)
    }

    /// Fewest members.
    pub(crate) fn fewest(self) -> usize {
        LEVELS.iter().find(|level| level.0 == self).map_or(2, |level| level.3)
    }
}

/// How large an array's part of each member disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    Gib(u64),
    /// What is left.
    Max,
}

/// One array.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LogicalDisk {
    pub(crate) size: Size,
    pub(crate) level: Level,
    pub(crate) name: Option<String>,
    pub(crate) root: bool,
    /// Device nodes; none: every disk.
    pub(crate) disks: Option<Vec<String>>,
    /// As it was asked for.
    pub(crate) asked: Value,
}

/// Reads a `target_raid_config`.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn parse(config: &Value) -> Result<Vec<LogicalDisk>, Vec<String>> {
    let Some(asked) = config.get("logical_disks").and_then(Value::as_array) else {
        return Err(vec!["it has no list logical_disks".to_owned()]);
    };
    let mut problems = Vec::new();
    let read = |(at, disk): (usize, &Value)| {
        let disk = logical_disk(disk);
        disk.map_err(|wrong| {
            problems.extend(wrong.into_iter().map(|wrong| format!("logical_disks[{at}]: {wrong}")));
        })
        .ok()
    };
    let disks: Vec<LogicalDisk> = asked.iter().enumerate().filter_map(read).collect();
    if !matches!(asked.len(), 1 | 2) {
        problems.push(format!("there are {} logical disks, software RAID has 1 or 2", asked.len()));
    }
    if disks.len() == asked.len() {
        problems.extend(together(&disks));
    }
    if problems.is_empty() { Ok(disks) } else { Err(problems) }
}

/// What is wrong with disks that are good one by one.
fn together(disks: &[LogicalDisk]) -> Vec<String> {
    let mut problems = Vec::new();
    if disks.first().is_some_and(|disk| disk.level != Level::Mirror) {
        problems.push("the first logical disk is not of raid_level 1; firmware must be able to read it from one member".to_owned());
    }
    if disks.iter().filter(|disk| disk.size == Size::Max).count() > 1 {
        problems.push("more than one size_gb is MAX".to_owned());
    }
    if disks.iter().filter(|disk| disk.root).count() > 1 {
        problems.push("more than one is_root_volume is true".to_owned());
    }
    let names: Vec<&String> = disks.iter().filter_map(|disk| disk.name.as_ref()).collect();
    if names.iter().collect::<HashSet<_>>().len() < names.len() {
        problems.push("two logical disks have the same volume_name".to_owned());
    }
    problems
}

fn logical_disk(asked: &Value) -> Result<LogicalDisk, Vec<String>> {
    let mut problems = Vec::new();
    let shown = |key: &str| asked.get(key).map_or_else(|| "missing".to_owned(), Value::to_string);
    if asked.get("controller").and_then(Value::as_str) != Some("software") {
        problems.push(format!("controller is {}, it must be \"software\"", shown("controller")));
    }
    let level = asked.get("raid_level").and_then(Value::as_str).and_then(Level::parse);
    if level.is_none() {
        problems.push(format!(
            "raid_level is {}, it must be one of \"0\", \"1\", \"5\", \"6\", \"1+0\"",
            shown("raid_level")
        ));
    }
    let size = match asked.get("size_gb") {
        Some(Value::String(text)) if text == "MAX" => Some(Size::Max),
        Some(number) => number.as_u64().filter(|gib| *gib > 0).map(Size::Gib),
        None => None,
    };
    if size.is_none() {
        problems.push(format!(
            "size_gb is {}, it must be a number of GiB or \"MAX\"",
            shown("size_gb")
        ));
    }
    let name = volume_name(asked).map_err(|wrong| problems.push(wrong)).ok().flatten();
    let root = match asked.get("is_root_volume") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(root)) => *root,
        Some(other) => {
            problems.push(format!("is_root_volume is {other}, it must be true or false"));
            false
        }
    };
    let disks = physical_disks(asked, level).map_err(|wrong| problems.push(wrong)).ok().flatten();
    match (size, level) {
        (Some(size), Some(level)) if problems.is_empty() => {
            Ok(LogicalDisk { size, level, name, root, disks, asked: asked.clone() })
        }
        _ => Err(problems),
    }
}

/// mdadm keeps 32 characters; others than these would need quoting somewhere.
fn volume_name(asked: &Value) -> Result<Option<String>, String> {
    let text = match asked.get("volume_name") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text,
        Some(other) => return Err(format!("volume_name is {other}, it must be text")),
    };
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=32).contains(&text.len()) && text.chars().all(good) && text != "esp" {
        return Ok(Some(text.clone()));
    }
    Err(format!(
        "volume_name is {text:?}: use 1 to 32 letters, digits, and . _ -; \"esp\" is taken"
    ))
}

/// The agent has put the names of the disks where the operator's hints were.
fn physical_disks(asked: &Value, level: Option<Level>) -> Result<Option<Vec<String>>, String> {
    let hints = match asked.get("physical_disks") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(hints)) => hints,
        Some(other) => {
            return Err(format!(
                "physical_disks is {other}, it must be a list of root device hints"
            ));
        }
    };
    let name = |hint: &Value| hint.get("name").and_then(Value::as_str).map(str::to_owned);
    let names: Option<Vec<String>> = hints.iter().map(name).collect();
    let names = names.ok_or("physical_disks has an entry that is not {\"name\": DEVICE}")?;
    let fewest = level.map_or(2, Level::fewest);
    if names.len() < fewest {
        return Err(format!(
            "physical_disks names {} disks, this raid_level needs {fewest}",
            names.len()
        ));
    }
    Ok(Some(names))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_good_configuration_is_read() {
        let config = json!({"logical_disks": [
            {"size_gb": 10, "raid_level": "1", "controller": "software", "volume_name": "root", "is_root_volume": true},
            {"size_gb": "MAX", "raid_level": "1+0", "controller": "software",
             "physical_disks": [{"name": "/dev/sda"}, {"name": "/dev/sdb"}]},
        ]});
        let disks = parse(&config).unwrap();
        assert_eq!(
            (disks[0].size, disks[0].level, disks[0].root),
            (Size::Gib(10), Level::Mirror, true)
        );
        assert_eq!(disks[1].level.name(), "10");
        assert_eq!(disks[1].disks.as_ref().unwrap().len(), 2);
    }

    #[test]
    fn every_rule_of_ironic_is_named_with_the_value_that_breaks_it() {
        let good = || json!({"size_gb": 10, "raid_level": "1", "controller": "software"});
        let with = |key: &str, value: Value| {
            let mut disk = good();
            disk[key] = value;
            disk
        };
        for (disks, words) in [
            (json!([]), "there are 0 logical disks"),
            (json!([good(), good(), good()]), "there are 3 logical disks"),
            (json!([with("controller", json!("megaraid"))]), "controller is \"megaraid\""),
            (json!([with("raid_level", json!("7"))]), "raid_level is \"7\""),
            (
                json!([with("raid_level", json!("5"))]),
                "the first logical disk is not of raid_level 1",
            ),
            (json!([with("size_gb", json!("10"))]), "size_gb is \"10\""),
            (json!([with("size_gb", json!(0))]), "size_gb is 0"),
            (json!([with("volume_name", json!("a b"))]), "volume_name is \"a b\""),
            (json!([with("volume_name", json!("esp"))]), "\"esp\" is taken"),
            (json!([with("is_root_volume", json!("yes"))]), "is_root_volume is \"yes\""),
            (
                json!([with("size_gb", json!("MAX")), with("size_gb", json!("MAX"))]),
                "more than one size_gb is MAX",
            ),
            (
                json!([with("volume_name", json!("a")), with("volume_name", json!("a"))]),
                "the same volume_name",
            ),
            (
                json!([with("is_root_volume", json!(true)), with("is_root_volume", json!(true))]),
                "more than one is_root_volume",
            ),
            (json!([with("physical_disks", json!([{"name": "/dev/sda"}]))]), "names 1 disks"),
            (
                json!([with("physical_disks", json!([{"size": "> 5"}, {"size": 5}]))]),
                "not {\"name\": DEVICE}",
            ),
        ] {
            let problems = parse(&json!({"logical_disks": disks})).unwrap_err().join("; ");
            assert!(problems.contains(words), "{words}: {problems}");
        }
        let two =
            json!({"logical_disks": [with("raid_level", json!("9")), with("size_gb", json!(-1))]});
        assert_eq!(parse(&two).unwrap_err().len(), 2, "all problems at once");
    }
}
