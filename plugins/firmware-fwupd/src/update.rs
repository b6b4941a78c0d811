//! Bringing a machine's devices to the baseline: what is checked before, the installation, and what the devices say afterwards.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::answer::Device;
use crate::baseline::Entry;

/// fwupdtool itself failed: what it was asked, how it ended, its last lines. It says nothing of what was ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ToolFailed(pub(crate) String);

impl From<ToolFailed> for String {
    fn from(failed: ToolFailed) -> Self {
        failed.0
    }
}

/// Why nothing is begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// What was ordered does not fit this machine, or the bundle.
    Order(String),
    /// Whether it fits could not be found out.
    Tool(ToolFailed),
}

impl From<ToolFailed> for Refusal {
    fn from(failed: ToolFailed) -> Self {
        Self::Tool(failed)
    }
}

/// What is asked of fwupd.
pub(crate) trait Fwupd {
    /// The devices that these of its plugins find, all plugins where none is named. Each time they are asked anew.
    fn devices(&self, plugins: &[&str]) -> Result<Vec<Device>, ToolFailed>;
    /// The versions that are in a cabinet for this device.
    fn versions_in(&self, cabinet: &Path, device: &Device) -> Result<Vec<String>, ToolFailed>;
    /// How the device's version stands to another.
    fn compare(&self, device: &Device, version: &str) -> Result<Ordering, ToolFailed>;
    /// Installs what the cabinet has for the device.
    fn install(
        &self,
        device: &Device,
        cabinet: &Path,
        older: bool,
        progress: &mut (dyn FnMut(u64, &str) + Send),
    ) -> Result<Left, ToolFailed>;
}

/// What fwupd says of an installation. It is not what decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// What it complains of.
    pub(crate) complaint: Option<String>,
    /// What the device waits for before it runs what it was given.
    pub(crate) waits_for: Option<&'static str>,
}

/// A device of this machine that is pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pinned<'a> {
    /// As it was found.
    pub(crate) device: Device,
    /// Its pin.
    pub(crate) entry: &'a Entry,
    /// Whether it is to be installed on.
    pub(crate) due: bool,
    /// Whether what is installed is older than what it runs.
    older: bool,
}

impl Pinned<'_> {
    /// What would be done, with the version now and the version wanted.
    pub(crate) fn says(&self) -> String {
        let Self { device, entry, .. } = self;
        let older = if self.older { ", an older one" } else { "" };
        format!(
            "{}: {} to {}{older}, from {}",
            device.says(),
            device.version,
            entry.version,
            entry.cabinet
        )
    }

    /// Evidence of one device: `before` and `after` as it said them itself.
    fn evidence(&self, before: &str, after: &str, complaint: Option<&str>) -> Value {
        let Self { device, entry, .. } = self;
        json!({
            "name": device.name, "device": device.id, "plugin": device.plugin, "guids": device.guids,
            "before": before, "after": after, "wanted": entry.version,
            "cabinet": entry.cabinet, "sha256": entry.sha256, "fwupdtool": complaint,
        })
    }
}

/// How this machine stands to the baseline.
#[derive(Debug, Default)]
pub(crate) struct Standing<'a> {
    /// Its pinned devices.
    pub(crate) pinned: Vec<Pinned<'a>>,
    /// What is pinned, may be absent, and is.
    pub(crate) absent: Vec<String>,
}

/// How an update ended.
#[derive(Debug, PartialEq)]
pub(crate) enum End {
    /// Every device says the version that is wanted.
    Reached { changed: bool, evidence: Value },
    /// These wait for something, and the step goes on then with this state.
    Restart { words: String, state: Value },
}

/// Looks at the machine; changes nothing.
///
/// # Errors
/// Everything that is against the baseline; or that fwupdtool failed.
pub(crate) fn look<'a>(fwupd: &dyn Fwupd, entries: &'a [Entry]) -> Result<Standing<'a>, Refusal> {
    let devices = fwupd.devices(&plugins(entries))?;
    let (mut standing, mut wrong) = (Standing::default(), Vec::new());
    for entry in entries {
        let mut meant = devices.iter().filter(|device| entry.is_for(device)).peekable();
        match (meant.peek(), entry.optional) {
            (None, true) => standing.absent.push(entry.says()),
            (None, false) => wrong.push(format!(
                "the machine has no {} (its devices: {})",
                entry.says(),
                list(&devices)
            )),
            (Some(_), _) => {}
        }
        for device in meant {
            if standing.pinned.iter().any(|other| other.device.id == device.id) {
                wrong.push(format!("{} is pinned twice", device.says()));
                continue;
            }
            match judge(fwupd, device, entry) {
                Ok(pinned) => standing.pinned.push(pinned),
                Err(Refusal::Order(words)) => wrong.push(format!("{}: {words}", device.says())),
                Err(failed @ Refusal::Tool(_)) => return Err(failed),
            }
        }
    }
    if wrong.is_empty() { Ok(standing) } else { Err(Refusal::Order(wrong.join("; "))) }
}

fn judge<'a>(fwupd: &dyn Fwupd, device: &Device, entry: &'a Entry) -> Result<Pinned<'a>, Refusal> {
    let of = |due, older| Pinned { device: device.clone(), entry, due, older };
    if device.version == entry.version {
        return Ok(of(false, false));
    }
    let older = match fwupd.compare(device, &entry.version)? {
        Ordering::Equal => return Ok(of(false, false)),
        Ordering::Less => false,
        Ordering::Greater if entry.downgrade => true,
        Ordering::Greater => {
            return Err(Refusal::Order(format!(
                "it runs {}, which is newer than {} of the baseline: pin the newer one, or set downgrade",
                device.version, entry.version
            )));
        }
    };
    if !device.flags.iter().any(|flag| flag == "updatable") {
        let why = if device.problems.is_empty() {
            "no reason given".to_owned()
        } else {
            device.problems.join(", ")
        };
        let words = format!("it runs {} and fwupd cannot update it ({why})", device.version);
        return Err(Refusal::Order(words));
    }
    Ok(of(true, older))
}

/// Whether the cabinets of what is due have the versions that are pinned and no others; changes nothing. Of several components for
/// a device fwupdtool chooses, and has no option that names one; of a component's releases it takes, and shows, the first.
///
/// # Errors
/// What a cabinet has instead, or besides; or that fwupdtool failed.
pub(crate) fn check_cabinets(
    fwupd: &dyn Fwupd,
    folder: &Path,
    pinned: &[Pinned<'_>],
) -> Result<(), Refusal> {
    for Pinned { entry, device, .. } in pinned.iter().filter(|pinned| pinned.due) {
        let found = fwupd.versions_in(&folder.join(&entry.cabinet), device)?;
        let (cabinet, wanted) = (&entry.cabinet, &entry.version);
        if !found.contains(wanted) {
            let has = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
            return Err(Refusal::Order(format!(
                "the cabinet {cabinet} has no firmware of version {wanted} (it has: {has})"
            )));
        }
        let others: BTreeSet<&str> =
            found.iter().filter(|version| *version != wanted).map(String::as_str).collect();
        if !others.is_empty() {
            let others = others.into_iter().collect::<Vec<_>>().join(", ");
            return Err(Refusal::Order(format!(
                "the cabinet {cabinet} has firmware for {} of version {wanted}, which is pinned, and of {others}: which of them \
                 fwupdtool would install is not certain, so nothing was installed; build a cabinet that has {wanted} only",
                device.says()
            )));
        }
    }
    Ok(())
}

/// Installs what is due, and asks the devices anew.
///
/// # Errors
/// What a device says instead, with fwupd's words.
pub(crate) fn update(
    fwupd: &dyn Fwupd,
    folder: &Path,
    standing: &Standing<'_>,
    progress: &mut (dyn FnMut(u64, u64, &str) + Send),
) -> Result<End, String> {
    let due: Vec<&Pinned<'_>> = standing.pinned.iter().filter(|pinned| pinned.due).collect();
    let total = 100 * due.len() as u64;
    let (mut complaints, mut waits) = (Map::new(), Vec::new());
    for (number, pinned) in (0..).zip(&due) {
        let Pinned { device, entry, older, .. } = pinned;
        let mut furthest = 0;
        // fwupd counts each part of its work anew; a bar only grows.
        let mut bar = |percent: u64, what: &str| {
            furthest = percent.max(furthest);
            progress(number * 100 + furthest, total, &format!("{}: {what}", device.says()));
        };
        let left = fwupd.install(device, &folder.join(&entry.cabinet), *older, &mut bar)?;
        waits.extend(
            left.waits_for.as_ref().map(|what| format!("{} waits for {what}", device.says())),
        );
        if let Some(words) = left.complaint {
            complaints.insert(device.id.clone(), json!(words));
            // What broke one device would break its brothers.
            if left.waits_for.is_none() && !says(fwupd, device, &entry.version)? {
                break;
            }
        }
    }
    if !waits.is_empty() {
        let before: Map<String, Value> = due
            .iter()
            .map(|pinned| (pinned.device.id.clone(), json!(pinned.device.version)))
            .collect();
        let state = json!({"before": before, "complaints": complaints});
        return Ok(End::Restart { words: waits.join("; "), state });
    }
    confirm(fwupd, standing, &Map::new(), &complaints, "")
}

/// Whether a device, asked anew, says this version.
fn says(fwupd: &dyn Fwupd, device: &Device, version: &str) -> Result<bool, ToolFailed> {
    let now = fwupd.devices(&[&device.plugin])?;
    now.iter().find(|found| found.id == device.id).map_or(Ok(false), |found| {
        Ok(found.version == version || fwupd.compare(found, version)? == Ordering::Equal)
    })
}

/// Looks after the restart that [`End::Restart`] asked for. What is not reached now is not tried again.
///
/// # Errors
/// What a device says instead.
pub(crate) fn after_restart(
    fwupd: &dyn Fwupd,
    entries: &[Entry],
    state: &Value,
) -> Result<End, String> {
    let part = |key: &str| state.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
    let devices = fwupd.devices(&plugins(entries))?;
    let mut standing = Standing::default();
    let mut wrong = Vec::new();
    for entry in entries {
        let meant: Vec<&Device> = devices.iter().filter(|device| entry.is_for(device)).collect();
        match (meant.is_empty(), entry.optional) {
            (true, true) => standing.absent.push(entry.says()),
            (true, false) => wrong.push(format!("{} is not there after the restart", entry.says())),
            (false, _) => {}
        }
        let of =
            |device: &Device| Pinned { device: device.clone(), entry, due: false, older: false };
        standing.pinned.extend(meant.into_iter().map(of));
    }
    let before = part("before");
    // Not only what the entries ask for: one of two equal devices may be dead, or one that may be absent.
    let gone = before.keys().filter(|id| !devices.iter().any(|device| device.id == **id));
    wrong.extend(
        gone.map(|id| {
            format!("the device {id}, which got firmware, is not there after the restart")
        }),
    );
    if !wrong.is_empty() {
        return Err(wrong.join("; "));
    }
    confirm(fwupd, &standing, &before, &part("complaints"), " after the restart")
}

/// The one judge of success: what each device, asked anew, says of itself.
fn confirm(
    fwupd: &dyn Fwupd,
    standing: &Standing<'_>,
    before: &Map<String, Value>,
    complaints: &Map<String, Value>,
    when: &str,
) -> Result<End, String> {
    let plugins: BTreeSet<&str> =
        standing.pinned.iter().map(|pinned| pinned.device.plugin.as_str()).collect();
    let now = match plugins.is_empty() {
        true => Vec::new(),
        false => fwupd.devices(&plugins.into_iter().collect::<Vec<_>>())?,
    };
    let (mut evidence, mut wrong) = (Vec::new(), Vec::new());
    for pinned in &standing.pinned {
        let Pinned { device, entry, .. } = pinned;
        let complaint = complaints.get(&device.id).and_then(Value::as_str);
        let said = complaint.map_or("fwupdtool had no complaint".to_owned(), |words| {
            format!("fwupdtool said: {words}")
        });
        let Some(found) = now.iter().find(|found| found.id == device.id) else {
            wrong.push(format!("{} is no longer there{when} ({said})", device.says()));
            continue;
        };
        if found.version != entry.version
            && fwupd.compare(found, &entry.version)? != Ordering::Equal
        {
            wrong.push(format!(
                "{} says {}{when}, and not {} ({said})",
                device.says(),
                found.version,
                entry.version
            ));
        }
        let was = before.get(&device.id).and_then(Value::as_str).unwrap_or(&device.version);
        evidence.push(pinned.evidence(was, &found.version, complaint));
    }
    if !wrong.is_empty() {
        return Err(wrong.join("; "));
    }
    let changed = !before.is_empty() || standing.pinned.iter().any(|pinned| pinned.due);
    Ok(End::Reached { changed, evidence: json!({"devices": evidence, "absent": standing.absent}) })
}

/// fwupd's plugins that the baseline needs: no other one touches the machine.
fn plugins(entries: &[Entry]) -> Vec<&str> {
    let plugins: BTreeSet<&str> = entries.iter().map(|entry| entry.plugin.as_str()).collect();
    plugins.into_iter().collect()
}

fn list(devices: &[Device]) -> String {
    if devices.is_empty() {
        return "none".to_owned();
    }
    let one = |device: &Device| {
        format!("{} {}", device.guids.first().map_or("?", String::as_str), device.name)
    };
    devices.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
