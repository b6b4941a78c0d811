//! Ironic's root device hints: one disk, or why none.
//!
//! All hints must match. Where several disks do, the first by name is taken, as Ironic's agent does, and the choice says so: a
//! deploy destroys it. Stricter than Ironic: a read-only disk is never taken, a removable one only when hints name it. Without
//! hints: the smallest disk of at least 4 GiB, ties by name.

mod expression;

use serde_json::{Map, Value};

use crate::inventory::Disk;
use expression::{Expression, HintValue};

/// Smallest disk taken without hints, bytes (Ironic's rule).
const MIN_BYTES: u64 = 4 << 30;

/// Why no disk was chosen.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootDeviceError {
    /// Hints are not an object.
    #[error("root device hints must be an object of hint names and expressions")]
    Shape,
    /// A hint Ironic does not know.
    #[error("unknown root device hint {name:?}; known are {}", KNOWN.map(|(name, _)| name).join(", "))]
    Unknown {
        /// Its name.
        name: String,
    },
    /// A hint whose expression makes no sense.
    #[error("root device hint {name} is {expression:?}: {reason}")]
    Expression {
        /// Its name.
        name: &'static str,
        /// As ordered.
        expression: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No disk is large enough.
    #[error(
        "no disk of at least 4 GiB to deploy to; add root device hints to choose among: {}", listed(.rejected)
    )]
    NoneSuitable {
        /// Every disk with the reason against it.
        rejected: Vec<String>,
    },
    /// No disk matches.
    #[error("no disk matches the root device hints: {}", listed(.rejected))]
    NoneMatches {
        /// Every disk with the first hint it failed.
        rejected: Vec<String>,
    },
}

/// The disk that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice<'a> {
    /// It.
    pub disk: &'a Disk,
    /// That others would have done as well, and by which rule this one was taken; none: it was the only one.
    pub warning: Option<String>,
}

/// How a hint is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Boolean,
}

/// Ironic's hints.
const KNOWN: [(&str, Kind); 12] = [
    ("size", Kind::Number),
    ("model", Kind::Text),
    ("wwn", Kind::Text),
    ("serial", Kind::Text),
    ("vendor", Kind::Text),
    ("wwn_with_extension", Kind::Text),
    ("wwn_vendor_extension", Kind::Text),
    ("name", Kind::Text),
    ("rotational", Kind::Boolean),
    ("hctl", Kind::Text),
    ("by_path", Kind::Text),
    ("tran", Kind::Text),
];

/// Chooses the disk to deploy to. `hints`: null, absent or empty for none.
///
/// # Errors
/// [`RootDeviceError`]
pub fn select<'a>(hints: &Value, disks: &'a [Disk]) -> Result<Choice<'a>, RootDeviceError> {
    match hints {
        Value::Null => smallest(disks),
        Value::Object(hints) if hints.is_empty() => smallest(disks),
        Value::Object(hints) => by_hints(&parse(hints)?, disks),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(RootDeviceError::Shape)
        }
    }
}

/// The disks that match `hints`, whatever else may be wrong with them (`skip_block_devices`).
///
/// # Errors
/// [`RootDeviceError`]: what are no hints, or hints that are not known; an empty object matches nothing.
pub fn matching<'a>(hints: &Value, disks: &'a [Disk]) -> Result<Vec<&'a Disk>, RootDeviceError> {
    let Value::Object(hints) = hints else { return Err(RootDeviceError::Shape) };
    let hints = parse(hints)?;
    if hints.is_empty() {
        return Err(RootDeviceError::Shape);
    }
    let matches = |disk: &&Disk| hints.iter().all(|hint| hint.failure(disk).is_none());
    Ok(disks.iter().filter(matches).collect())
}

/// The smallest disk that is large enough.
fn smallest(disks: &[Disk]) -> Result<Choice<'_>, RootDeviceError> {
    let suitable = || disks.iter().filter(|disk| unsuitable(disk).is_none());
    let disk = suitable().min_by_key(|disk| (disk.size, &disk.name));
    let disk = disk.ok_or_else(|| RootDeviceError::NoneSuitable {
        rejected: disks
            .iter()
            .map(|disk| format!("{} {}", disk.name, unsuitable(disk).unwrap_or_default()))
            .collect(),
    })?;
    let equals: Vec<&Disk> = suitable().filter(|other| other.size == disk.size).collect();
    Ok(Choice { disk, warning: warning("no root device hints are set", disk, &equals) })
}

/// What is said of a choice among several disks.
fn warning(rule: &str, chosen: &Disk, equals: &[&Disk]) -> Option<String> {
    if equals.len() < 2 {
        return None;
    }
    let names: Vec<&str> = equals.iter().map(|disk| disk.name.as_str()).collect();
    Some(format!(
        "{rule} and {} disks would do ({}): {} was taken because it is the first by name, and names can change from boot to \
         boot; set a root device hint such as serial or wwn",
        names.len(),
        names.join(", "),
        chosen.name
    ))
}

/// What speaks against a disk when there are no hints.
fn unsuitable(disk: &Disk) -> Option<String> {
    if disk.read_only {
        return Some("is read-only".to_owned());
    }
    if disk.removable {
        return Some("is removable".to_owned());
    }
    (disk.size < MIN_BYTES).then(|| format!("has {} bytes", disk.size))
}

/// The first disk by name that matches all hints.
fn by_hints<'a>(hints: &[Hint], disks: &'a [Disk]) -> Result<Choice<'a>, RootDeviceError> {
    let failed = |disk: &Disk| {
        if disk.read_only {
            return Some("is read-only".to_owned());
        }
        hints.iter().find_map(|hint| hint.failure(disk))
    };
    let matching: Vec<&Disk> = disks.iter().filter(|disk| failed(disk).is_none()).collect();
    let disk = matching.iter().copied().min_by_key(|disk| &disk.name);
    let disk = disk.ok_or_else(|| RootDeviceError::NoneMatches {
        rejected: disks
            .iter()
            .map(|disk| format!("{} {}", disk.name, failed(disk).unwrap_or_default()))
            .collect(),
    })?;
    Ok(Choice { disk, warning: warning("the root device hints are not exact", disk, &matching) })
}

/// One hint, parsed.
#[derive(Debug)]
struct Hint {
    name: &'static str,
    kind: Kind,
    expression: Expression,
}

/// Parses all hints; a null hint is none.
fn parse(hints: &Map<String, Value>) -> Result<Vec<Hint>, RootDeviceError> {
    let given = hints.iter().filter(|(_, value)| !value.is_null());
    given
        .map(|(given, value)| {
            let known = KNOWN.into_iter().find(|(name, _)| name == given);
            let (name, kind) =
                known.ok_or_else(|| RootDeviceError::Unknown { name: given.clone() })?;
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let expression = match kind {
                Kind::Text => Expression::text(&text),
                Kind::Number => Expression::number(&text),
                Kind::Boolean => Expression::boolean(&text),
            };
            let expression = expression.map_err(|reason| RootDeviceError::Expression {
                name,
                expression: text,
                reason,
            })?;
            Ok(Hint { name, kind, expression })
        })
        .collect()
}

impl Hint {
    /// What the disk has instead, when it does not match.
    fn failure(&self, disk: &Disk) -> Option<String> {
        let values = self.values(disk);
        if values.iter().any(|value| self.expression.matches(value)) {
            return None;
        }
        let shown: Vec<String> = values.iter().map(HintValue::to_string).collect();
        let shown = if shown.is_empty() { "none".to_owned() } else { shown.join(" or ") };
        Some(format!("has {} {shown}, wanted {}", self.name, self.expression))
    }

    /// What the disk shows for this hint; one match among several values is enough.
    #[expect(
        clippy::cast_precision_loss,
        reason = "sizes are compared as Ironic does, in floating GiB"
    )]
    fn values(&self, disk: &Disk) -> Vec<HintValue> {
        if self.kind == Kind::Boolean {
            return vec![HintValue::Boolean(disk.rotational)];
        }
        if self.kind == Kind::Number {
            return vec![HintValue::Number(disk.size as f64 / f64::from(1 << 30))];
        }
        if self.name == "serial" {
            let all = disk.serial.iter().chain(&disk.other_serials);
            return all.map(|serial| HintValue::Text(serial.to_lowercase())).collect();
        }
        let fields: [Option<&String>; 2] = match self.name {
            "model" => [disk.model.as_ref(), None],
            "wwn" => [disk.wwn.as_ref(), disk.wwn_with_extension.as_ref()],
            "vendor" => [disk.vendor.as_ref(), None],
            "wwn_with_extension" => [disk.wwn_with_extension.as_ref(), None],
            "wwn_vendor_extension" => [disk.wwn_vendor_extension.as_ref(), None],
            "hctl" => [disk.hctl.as_ref(), None],
            "by_path" => [disk.by_path.as_ref(), None],
            "tran" => [disk.tran.as_ref(), None],
            _ => [Some(&disk.name), None],
        };
        let mut values: Vec<HintValue> = Vec::new();
        for value in fields.into_iter().flatten().map(|text| HintValue::Text(text.to_lowercase())) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values
    }
}

/// Disks with reasons, or that there are none.
fn listed(rejected: &[String]) -> String {
    if rejected.is_empty() { "the machine has no disks".to_owned() } else { rejected.join("; ") }
}

#[cfg(test)]
mod tests;
