//! Software RAID without mdadm: the arrays that a node's `raid_config` names are recognised by the labels of their members and
//! started through the kernel's own calls. Building them is a plugin's (`plugins/raid-mdadm`).
//!
//! Nothing else on the disks is started: an array that a tenant left is a tenant's data, and is erased with the disks.

mod assemble;
pub mod label;
mod missing;

use std::path::PathBuf;

use ironwright_api::{Blame, Failure};
use serde_json::Value;

pub use assemble::{RaidError, assemble, remains};

use crate::sys::disk::{Access, BlockDevice, RealDisk, first_non_zero};

/// Bytes at the start of an array that are looked at: one chunk, as mdadm makes them, so that all of it is on one member. Every file
/// system shows in it, also those that begin with nothing (btrfs' superblock is at 64 KiB), and a deploy writes nothing there before
/// its commit.
const START_BYTES: usize = 512 << 10;

/// The arrays of a node, running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrays {
    /// The one that the operating system goes to.
    pub root: Array,
    /// The mirror of the members' EFI system partitions.
    pub esp: Option<Array>,
}

/// One running array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    /// Its UUID, as mdadm writes it.
    pub uuid: String,
    /// Device node.
    pub device: PathBuf,
    /// All of its members.
    pub members: Vec<Member>,
}

/// A member of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Device node: a partition, or a whole disk.
    pub node: PathBuf,
    /// The whole disk it is on.
    pub disk: PathBuf,
}

/// What of a node's arrays is here, whether they run or not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remains {
    /// Members of the array that the operating system goes to.
    pub root: Vec<Member>,
    /// Members of the mirror of EFI system partitions.
    pub esp: Vec<Member>,
    /// Where the first bytes of the root array are: device node of a member, and offset on it, bytes.
    pub starts: Vec<(PathBuf, u64)>,
    /// Members that are not here, or whose label cannot be read: what is known of each, and why it is listed.
    pub missing: Vec<(String, String)>,
}

impl Remains {
    /// Whether the root array is as a deploy leaves it until its commit: with nothing where partition tables, boot code and file
    /// systems begin. `None` where that cannot be read from any member.
    #[must_use]
    pub fn is_blank(&self) -> Option<bool> {
        let mut answer = None;
        for (device, offset) in &self.starts {
            let mut start = vec![0; START_BYTES];
            let disk = RealDisk::open(device, Access::Read);
            match disk.and_then(|disk| disk.read_at(*offset, &mut start)) {
                Ok(()) if first_non_zero(&start).is_some() => return Some(false),
                Ok(()) => answer = Some(true),
                Err(error) => tracing::warn!("{}", crate::report::chain(&error)),
            }
        }
        answer
    }
}

/// What a node's `raid_config` names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    /// UUIDs of the arrays, in order.
    arrays: Vec<String>,
    /// Which of them is the root volume.
    root: usize,
    /// Members that the root volume was built of: device node, and serial number of the disk; each empty where it is not recorded.
    members: Vec<(String, String)>,
    /// UUID of the mirror of EFI system partitions.
    esp: Option<String>,
}

/// Whether a `raid_config` names software arrays.
#[must_use]
pub fn has_arrays(config: &Value) -> bool {
    !matches!(named(config), Ok(None))
}

/// The arrays of a `raid_config`; none where it has no software RAID. The root volume is the one that says so, else the first.
fn named(config: &Value) -> Result<Option<Named>, RaidError> {
    let disks = config.get("logical_disks").and_then(Value::as_array);
    let software =
        |disk: &&Value| disk.get("controller").and_then(Value::as_str) == Some("software");
    let disks: Vec<&Value> = disks.into_iter().flatten().filter(software).collect();
    if disks.is_empty() {
        return Ok(None);
    }
    let uuid = |disk: &&Value| disk.get("uuid").and_then(Value::as_str).map(str::to_owned);
    let arrays: Option<Vec<String>> = disks.iter().map(uuid).collect();
    let arrays = arrays.ok_or(RaidError::NoUuid)?;
    let is_root = |disk: &&Value| disk.get("is_root_volume").and_then(Value::as_bool) == Some(true);
    let root = disks.iter().position(is_root).unwrap_or(0);
    let members = disks.get(root).map(|disk| recorded(disk)).unwrap_or_default();
    let esp = config.get("esp").and_then(|esp| esp.get("uuid")).and_then(Value::as_str);
    Ok(Some(Named { arrays, root, members, esp: esp.map(str::to_owned) }))
}

/// `members` and `member_serials` of an array.
fn recorded(disk: &Value) -> Vec<(String, String)> {
    let list = |key: &str| disk.get(key).and_then(Value::as_array).into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let serials = list("member_serials").map(text).chain(std::iter::repeat(String::new()));
    list("members").map(text).zip(serials).collect()
}

impl RaidError {
    /// To be reported; nothing was changed.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure {
            step: String::new(),
            message: format!("nothing was changed: {}", crate::report::chain(self)),
            remedy: "check the disks; build the arrays again with the clean step raid.create_configuration, or remove them with \
                     raid.delete_configuration"
                .to_owned(),
            blame: Blame::Hardware,
        }
    }
}

/// Puts the names of disks where a RAID configuration has hints for them: each entry of `physical_disks` becomes
/// `{"name": DEVICE}` of the first disk that it matches and that no entry before it took, as in Ironic. `matching` gives the
/// names that hints match.
///
/// # Errors
/// What is wrong with a hint.
pub fn with_disks_named(
    config: &Value,
    matching: impl Fn(&Value) -> Result<Vec<String>, String>,
) -> Result<Value, String> {
    let mut config = config.clone();
    let disks = config.get_mut("logical_disks").and_then(Value::as_array_mut);
    for disk in disks.into_iter().flatten() {
        let Some(hints) = disk.get_mut("physical_disks").and_then(Value::as_array_mut) else {
            continue;
        };
        let mut taken: Vec<String> = Vec::new();
        for hint in hints {
            let found = matching(hint)?.into_iter().find(|name| !taken.contains(name));
            let name = found
                .ok_or_else(|| format!("physical_disks: no disk is left that matches {hint}"))?;
            *hint = serde_json::json!({ "name": name });
            taken.push(name);
        }
    }
    Ok(config)
}

/// Gives each array of a configuration that a plugin built the serial numbers of its `members`' disks (`member_serials`, empty where
/// there is none): device names change between boots. A plugin's own are kept where the machine does not know better: they may have
/// come with what was asked for.
pub fn add_serials(config: &mut Value, serial: impl Fn(&str) -> Option<String>) {
    let disks = config.get_mut("logical_disks").and_then(Value::as_array_mut);
    for disk in disks.into_iter().flatten().filter_map(Value::as_object_mut) {
        let Some(members) = disk.get("members").and_then(Value::as_array) else { continue };
        let own = |at: usize| disk.get("member_serials")?.get(at)?.as_str().map(str::to_owned);
        let known = |member: &Value| member.as_str().and_then(&serial).filter(|s| !s.is_empty());
        let of = |(at, member)| known(member).or_else(|| own(at)).unwrap_or_default();
        let serials: Vec<String> = members.iter().enumerate().map(of).collect();
        disk.insert("member_serials".to_owned(), serde_json::json!(serials));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_root_volume_is_the_one_that_says_so_else_the_first() {
        let disk = |uuid: &str, root: bool| json!({"controller": "software", "uuid": uuid, "is_root_volume": root});
        for (config, expected) in [
            (json!({}), None),
            (json!({"logical_disks": []}), None),
            (json!({"logical_disks": [{"controller": "hardware", "size_gb": 5}]}), None),
            (json!({"logical_disks": [disk("a", false), disk("b", false)]}), Some(0)),
            (json!({"logical_disks": [disk("a", false), disk("b", true)]}), Some(1)),
        ] {
            let found = named(&config).unwrap();
            assert_eq!(found.map(|named| named.root), expected, "{config}");
        }
        let config = json!({"logical_disks": [disk("a", false)], "esp": {"uuid": "e"}});
        assert_eq!(named(&config).unwrap().unwrap().esp.as_deref(), Some("e"));
        let config = json!({"logical_disks": [{"controller": "software"}]});
        assert!(matches!(named(&config), Err(RaidError::NoUuid)));
        let mut second = disk("b", true);
        second["members"] = json!(["/dev/sda2", 5, "/dev/sdc2"]);
        second["member_serials"] = json!(["A", "B"]);
        let config = json!({"logical_disks": [disk("a", false), second]});
        let members = [("/dev/sda2", "A"), ("", "B"), ("/dev/sdc2", "")];
        let members = members.map(|(node, serial)| (node.to_owned(), serial.to_owned()));
        assert_eq!(named(&config).unwrap().unwrap().members, members);
    }

    #[test]
    fn members_get_the_serial_numbers_of_their_disks() {
        let serial = |member: &str| (member == "/dev/sda2").then(|| "ONE".to_owned());
        let array = json!({"members": ["/dev/sda2", "/dev/sdb2", 5]});
        let mut config = json!({"logical_disks": [array, {"size_gb": 5}, "x"]});
        add_serials(&mut config, serial);
        assert_eq!(config["logical_disks"][0]["member_serials"], json!(["ONE", "", ""]));
        assert_eq!(config["logical_disks"][1], json!({"size_gb": 5}));
        let own = json!({"members": ["/dev/sda2", "/dev/sdb2"], "member_serials": ["OLD", "OWN"]});
        let mut config = json!({"logical_disks": [own]});
        add_serials(&mut config, serial);
        assert_eq!(config["logical_disks"][0]["member_serials"], json!(["ONE", "OWN"]));
        let mut none = json!({"deleted": []});
        add_serials(&mut none, serial);
        assert_eq!(none, json!({"deleted": []}));
    }

    #[test]
    fn each_hint_takes_a_disk_of_its_own() {
        let matching = |hint: &Value| match hint.get("size") {
            Some(_) => Ok(vec!["/dev/sda".to_owned(), "/dev/sdb".to_owned()]),
            None => Err(format!("unknown hint {hint}")),
        };
        let hint = json!({"size": ">= 10"});
        let config = |hints: Value| json!({"logical_disks": [{"size_gb": 5, "physical_disks": hints}, {"size_gb": 7}]});
        let found = with_disks_named(&config(json!([hint, hint])), matching).unwrap();
        let names = json!([{"name": "/dev/sda"}, {"name": "/dev/sdb"}]);
        assert_eq!(found["logical_disks"][0]["physical_disks"], names);
        assert_eq!(found["logical_disks"][1], json!({"size_gb": 7}));
        let short = with_disks_named(&config(json!([hint, hint, hint])), matching).unwrap_err();
        assert!(short.contains("no disk is left that matches"), "{short}");
        assert!(with_disks_named(&config(json!([{"x": 1}])), matching).is_err());
        assert_eq!(with_disks_named(&json!({}), matching).unwrap(), json!({}));
    }
}
