//! Finding the members of arrays and starting them.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::Value;

use super::label::{LABEL_BYTES, Label, places};
use super::missing::missing;
use super::{Array, Arrays, Member, Named, Remains, named};
use crate::report::chain;
use crate::sys::disk::{Access, BlockDevice, RealDisk};
use crate::sys::ioctl::md;
use crate::sys::{Effect, System};

/// Number of md's block devices (Linux `Documentation/admin-guide/devices.txt`).
const MAJOR: u64 = 9;
/// Highest number tried for an array.
const LAST: u64 = 127;
/// Prefixes of block devices that are no members.
const NO_MEMBERS: [&str; 7] = ["md", "loop", "ram", "zram", "sr", "fd", "nbd"];

/// Why the arrays of a node do not run.
#[derive(Debug, thiserror::Error)]
pub enum RaidError {
    /// The record was not made by our step.
    #[error(
        "the node's raid_config has a software array without uuid: it cannot be told which one is meant"
    )]
    NoUuid,
    /// No label with the UUID.
    #[error(
        "the node's raid_config has the array {uuid}, and no disk of this machine has its label"
    )]
    Missing {
        /// The array.
        uuid: String,
    },
    /// Not all members.
    #[error("the array {uuid} ({name}) has {found} of its {wanted} members: {nodes}")]
    Degraded {
        /// The array.
        uuid: String,
        /// Its name.
        name: String,
        /// Members found or running.
        found: usize,
        /// Members it should have.
        wanted: u32,
        /// Those found.
        nodes: String,
    },
    /// The kernel did not start it.
    #[error("starting the array {uuid}: {what}")]
    Start {
        /// The array.
        uuid: String,
        /// What was attempted.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Not the ramdisk.
    #[error("arrays are started in the ramdisk only; recorded, not done")]
    Sandbox,
}

/// One member found.
#[derive(Debug, Clone)]
struct Found {
    member: Member,
    label: Label,
    /// Number of its block device.
    number: (u32, u32),
    /// The array that holds it already.
    holder: Option<String>,
}

/// Starts the arrays that `config`, a node's `raid_config`, names; none where it names none. Running ones are left as they are.
///
/// # Errors
/// [`RaidError`]: every array must be there with all of its members.
pub fn assemble(system: &System, config: &Value) -> Result<Option<Arrays>, RaidError> {
    let Some(named) = named(config)? else { return Ok(None) };
    if !system.may(Effect::StartArrays { uuids: named.arrays.clone() }) {
        return Err(RaidError::Sandbox);
    }
    let found = members(system.root());
    let mut arrays = Vec::new();
    for uuid in named.arrays.iter().chain(&named.esp) {
        arrays.push(array(system.root(), uuid, &found)?);
    }
    let esp = named.esp.as_ref().and_then(|_| arrays.pop());
    let root = (named.root < arrays.len()).then(|| arrays.swap_remove(named.root));
    let root = root.ok_or(RaidError::NoUuid)?;
    Ok(Some(Arrays { root, esp }))
}

/// What of the arrays that `config` names is here, whether they can be started or not; nothing is started. None where it names
/// none, and on a developer's machine. `serial` gives a disk's serial number.
#[must_use]
pub fn remains(
    system: &System,
    config: &Value,
    serial: impl Fn(&Path) -> Option<String>,
) -> Option<Remains> {
    let named = named(config).ok().flatten()?;
    let root = named.arrays.get(named.root)?;
    if !system.may(Effect::ClearMembers { uuids: named.arrays.clone() }) {
        return None;
    }
    let found = members(system.root());
    let of = |uuid: &String| found.get(uuid).map(Vec::as_slice).unwrap_or_default();
    let (members, esp) = (of(root), named.esp.as_ref().map(of).unwrap_or_default());
    Some(Remains { missing: not_here(&named, members, esp, &serial), ..of_arrays(members, esp) })
}

/// The members that are not among those found, of the root array and of the mirror of EFI system partitions.
fn not_here(
    named: &Named,
    root: &[Found],
    esp: &[Found],
    serial: &impl Fn(&Path) -> Option<String>,
) -> Vec<(String, String)> {
    let of = |uuid: &String, recorded: &[(String, String)], found: &[Found]| {
        let here = |Found { member, .. }: &Found| {
            let node = member.node.display().to_string();
            (node, serial(&member.disk).unwrap_or_default())
        };
        let here: Vec<_> = found.iter().map(here).collect();
        let labelled = found.iter().map(|found| found.label.members).max().unwrap_or(0);
        missing(uuid, recorded, labelled, &here)
    };
    let root = named.arrays.get(named.root).map(|uuid| of(uuid, &named.members, root));
    let esp = named.esp.as_ref().map(|uuid| of(uuid, &[], esp));
    root.into_iter().chain(esp).flatten().collect()
}

fn of_arrays(root: &[Found], esp: &[Found]) -> Remains {
    let members = |found: &[Found]| found.iter().map(|found| found.member.clone()).collect();
    let start = |found: &Found| Some((found.member.node.clone(), found.label.begins?));
    Remains {
        root: members(root),
        esp: members(esp),
        starts: root.iter().filter_map(start).collect(),
        missing: Vec::new(),
    }
}

/// Every label of every disk and partition, by UUID.
fn members(root: &Path) -> BTreeMap<String, Vec<Found>> {
    let mut found: BTreeMap<String, Vec<Found>> = BTreeMap::new();
    let folder = root.join("sys/class/block");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    for name in names.iter().filter(|name| !NO_MEMBERS.iter().any(|no| name.starts_with(no))) {
        match member(&folder, name) {
            Ok(Some(member)) => found.entry(member.label.uuid.clone()).or_default().push(member),
            Ok(None) => {}
            Err(error) => tracing::debug!("{name}: no label of an array to be read: {error}"),
        }
    }
    found
}

fn member(folder: &Path, name: &str) -> io::Result<Option<Found>> {
    let own = folder.join(name).canonicalize()?;
    let node = |name: &str| Path::new("/dev").join(name.replace('!', "/"));
    let disk = RealDisk::open(node(name), Access::Read).map_err(io::Error::other)?;
    let mut bytes = vec![0; LABEL_BYTES];
    for (minor, offset) in places(disk.bytes()) {
        disk.read_at(offset, &mut bytes).map_err(io::Error::other)?;
        let Some(label) = Label::parse(&bytes, minor, offset) else { continue };
        let text = std::fs::read_to_string(own.join("dev"))?;
        let (major, minor) = text.trim().split_once(':').unwrap_or_default();
        let number =
            (major.parse().map_err(io::Error::other)?, minor.parse().map_err(io::Error::other)?);
        let whole = match own.join("partition").exists() {
            true => own
                .parent()
                .and_then(Path::file_name)
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            false => name.to_owned(),
        };
        let mut holders = std::fs::read_dir(own.join("holders")).into_iter().flatten().flatten();
        let holder = holders.next().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let member = Member { node: node(name), disk: node(&whole) };
        return Ok(Some(Found { member, label, number, holder }));
    }
    Ok(None)
}

fn array(root: &Path, uuid: &str, all: &BTreeMap<String, Vec<Found>>) -> Result<Array, RaidError> {
    let missing = || RaidError::Missing { uuid: uuid.to_owned() };
    let found = all.get(uuid).ok_or_else(missing)?;
    let label = found.first().map(|found| found.label.clone()).ok_or_else(missing)?;
    let nodes: Vec<String> =
        found.iter().map(|found| found.member.node.display().to_string()).collect();
    let degraded = |running: usize| RaidError::Degraded {
        uuid: uuid.to_owned(),
        name: label.name.clone(),
        found: running,
        wanted: label.members,
        nodes: nodes.join(", "),
    };
    if found.len() != usize::try_from(label.members).unwrap_or(usize::MAX) {
        return Err(degraded(found.len()));
    }
    let name = match found.iter().find_map(|found| found.holder.clone()) {
        Some(holder) => holder,
        None => start(root, uuid, &label, found)?,
    };
    let lost = std::fs::read_to_string(root.join(format!("sys/block/{name}/md/degraded")));
    let lost: usize = lost.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    if lost > 0 {
        return Err(degraded(found.len().saturating_sub(lost)));
    }
    tracing::info!("the array {uuid} ({}) runs as /dev/{name}: {}", label.name, nodes.join(", "));
    let members = found.iter().map(|found| found.member.clone()).collect();
    Ok(Array { uuid: uuid.to_owned(), device: Path::new("/dev").join(name), members })
}

/// Starts an array as the kernel does it for every array with a label: the version, the members, run.
fn start(root: &Path, uuid: &str, label: &Label, found: &[Found]) -> Result<String, RaidError> {
    let failed = |what: String| {
        move |source: io::Error| RaidError::Start { uuid: uuid.to_owned(), what, source }
    };
    let number = free(root).ok_or_else(|| {
        failed("finding a number".to_owned())(io::Error::other("all array numbers are in use"))
    })?;
    let name = format!("md{number}");
    let node = Path::new("/dev").join(&name);
    if !node.exists() {
        // The kernel makes the array, and loads md, when its node is opened.
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        mknod(&node, SFlag::S_IFBLK, mode, makedev(MAJOR, number))
            .map_err(io::Error::from)
            .map_err(failed(format!("making {}", node.display())))?;
    }
    let open = || OpenOptions::new().read(true).write(true).open(&node);
    let device = open().map_err(failed(format!("opening {}", node.display())))?;
    md::set_version(&device, label.minor).map_err(failed(format!("naming the label of {name}")))?;
    let begun = || -> Result<(), RaidError> {
        for Found { member, number, .. } in found {
            md::add(&device, *number)
                .map_err(failed(format!("adding {} to {name}", member.node.display())))?;
        }
        md::run(&device).map_err(failed(format!("running {name}")))
    };
    begun().inspect_err(|error| {
        if let Err(stop) = md::stop(&device) {
            tracing::warn!("{}; and {name} cannot be stopped: {stop}", chain(error));
        }
    })?;
    Ok(name)
}

/// The first number whose array is not there, or is empty.
fn free(root: &Path) -> Option<u64> {
    (0..=LAST).find(|number| {
        let state = root.join(format!("sys/block/md{number}/md/array_state"));
        std::fs::read_to_string(state).map_or(true, |state| state.trim() == "clear")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(node: &str, members: u32, holder: Option<&str>) -> Found {
        let (uuid, name, begins) = ("u".to_owned(), "root".to_owned(), Some(4096));
        let label = Label { uuid, name, members, minor: 2, begins };
        let member = Member { node: node.into(), disk: "/dev/sda".into() };
        Found { member, label, number: (8, 1), holder: holder.map(str::to_owned) }
    }

    #[test]
    fn an_array_must_be_there_with_all_of_its_members() {
        let root = tempfile::tempdir().unwrap();
        let mut all = BTreeMap::new();
        assert!(matches!(array(root.path(), "u", &all), Err(RaidError::Missing { .. })));
        all.insert("u".to_owned(), vec![found("/dev/sda2", 2, Some("md5"))]);
        let error = array(root.path(), "u", &all).unwrap_err().to_string();
        assert_eq!(error, "the array u (root) has 1 of its 2 members: /dev/sda2");
        all.insert(
            "u".to_owned(),
            vec![found("/dev/sda2", 2, Some("md5")), found("/dev/sdb2", 2, None)],
        );
        assert_eq!(array(root.path(), "u", &all).unwrap().device, Path::new("/dev/md5"));
        let state = root.path().join("sys/block/md5/md");
        std::fs::create_dir_all(&state).unwrap();
        std::fs::write(state.join("degraded"), "1\n").unwrap();
        let error = array(root.path(), "u", &all).unwrap_err();
        assert!(matches!(error, RaidError::Degraded { found: 1, .. }), "{error}");
    }

    #[test]
    fn a_developers_machine_starts_no_array() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let system = System::sandbox(Path::new("/"), &[file.path().to_path_buf()]).unwrap();
        assert_eq!(assemble(&system, &json!({})).unwrap(), None);
        let config = json!({"logical_disks": [{"controller": "software", "uuid": "u"}]});
        assert!(matches!(assemble(&system, &config), Err(RaidError::Sandbox)));
        assert_eq!(system.recorded(), [Effect::StartArrays { uuids: vec!["u".to_owned()] }]);
        assert_eq!(remains(&system, &config, |_| None), None);
        assert_eq!(system.recorded()[1..], [Effect::ClearMembers { uuids: vec!["u".to_owned()] }]);
    }

    #[test]
    fn what_is_left_of_an_array_shows_where_its_start_is() {
        let mut second = found("/dev/sdb2", 3, None);
        second.label.begins = None;
        let esp = [found("/dev/sda1", 3, None)];
        let Remains { root, esp, starts, .. } =
            of_arrays(&[found("/dev/sda2", 3, None), second], &esp);
        let nodes = |members: &[Member]| -> Vec<String> {
            members.iter().map(|member| member.node.display().to_string()).collect()
        };
        assert_eq!(nodes(&root), ["/dev/sda2", "/dev/sdb2"]);
        assert_eq!(nodes(&esp), ["/dev/sda1"]);
        assert_eq!(starts, [("/dev/sda2".into(), 4096)]);
    }

    #[test]
    fn members_that_are_not_here_are_listed_by_record_and_labels() {
        let array = json!({"controller": "software", "uuid": "u", "members": ["/dev/sda2", "/dev/sdb2"],
            "member_serials": ["A", "B"]});
        let config = json!({"logical_disks": [array], "esp": {"uuid": "e"}});
        let named = named(&config).unwrap().unwrap();
        let serial = |disk: &Path| (disk == Path::new("/dev/sda")).then(|| "A".to_owned());
        let names = |root: &[Found], esp: &[Found]| -> Vec<String> {
            not_here(&named, root, esp, &serial).into_iter().map(|(name, _)| name).collect()
        };
        let (root, esp) = (found("/dev/sda2", 2, None), found("/dev/sda1", 2, None));
        assert_eq!(
            names(std::slice::from_ref(&root), std::slice::from_ref(&esp)),
            ["/dev/sdb2", "1 of the 2 members of the array e"]
        );
        assert_eq!(names(&[], &[]), ["/dev/sda2", "/dev/sdb2", "all members of the array e"]);
        let whole = [root, found("/dev/sdb2", 2, None)];
        assert_eq!(names(&whole, &[esp.clone(), esp]), [""; 0]);
    }

    #[test]
    fn numbers_in_use_are_passed_over() {
        let root = tempfile::tempdir().unwrap();
        for (number, state) in [(0, "active"), (1, "clear")] {
            let folder = root.path().join(format!("sys/block/md{number}/md"));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("array_state"), format!("{state}\n")).unwrap();
        }
        assert_eq!(free(root.path()), Some(1));
    }
}
