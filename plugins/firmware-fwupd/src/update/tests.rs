use std::cell::RefCell;
use std::collections::BTreeMap;

use super::*;
use crate::answer;

/// A fwupd whose devices take what they are given, unless they are told otherwise.
struct FakeFwupd {
    devices: RefCell<Vec<Device>>,
    /// What fwupd says of an installation on a device, and whether the device takes it.
    ends: BTreeMap<&'static str, (Left, bool)>,
    installed: RefCell<Vec<String>>,
    /// What every cabinet has.
    versions: Vec<&'static str>,
    /// Whether fwupdtool answers.
    broken: bool,
}

impl FakeFwupd {
    fn new(devices: &[(&'static str, &'static str)]) -> Self {
        let device = |(id, version): &(&str, &str)| json!({"Name": id, "DeviceId": id, "Guid": ["g"], "Plugin": "nvme", "Flags": ["updatable"], "Version": version});
        let text = json!({"Devices": devices.iter().map(device).collect::<Vec<_>>()}).to_string();
        let devices = RefCell::new(answer::devices(&text).unwrap());
        Self {
            devices,
            ends: BTreeMap::new(),
            installed: RefCell::default(),
            versions: vec!["2"],
            broken: false,
        }
    }

    fn ends(
        mut self,
        id: &'static str,
        complaint: Option<&str>,
        waits_for: Option<&'static str>,
        takes: bool,
    ) -> Self {
        let left = Left { complaint: complaint.map(str::to_owned), waits_for };
        self.ends.insert(id, (left, takes));
        self
    }
}

impl Fwupd for FakeFwupd {
    fn devices(&self, _: &[&str]) -> Result<Vec<Device>, ToolFailed> {
        Ok(self.devices.borrow().clone())
    }

    fn versions_in(&self, _: &Path, _: &Device) -> Result<Vec<String>, ToolFailed> {
        match self.broken {
            true => Err(ToolFailed("get-details ended with exit status 1".to_owned())),
            false => Ok(self.versions.iter().map(|version| (*version).to_owned()).collect()),
        }
    }

    fn compare(&self, device: &Device, version: &str) -> Result<Ordering, ToolFailed> {
        match self.broken {
            true => Err(ToolFailed("vercmp ended with exit status 1".to_owned())),
            false => Ok(device.version.as_str().cmp(version)),
        }
    }

    fn install(
        &self,
        device: &Device,
        cabinet: &Path,
        older: bool,
        progress: &mut (dyn FnMut(u64, &str) + Send),
    ) -> Result<Left, ToolFailed> {
        self.installed.borrow_mut().push(format!("{} {} {older}", device.id, cabinet.display()));
        for percent in [50, 0, 100] {
            progress(percent, "Writing");
        }
        let (left, takes) =
            self.ends.get(device.id.as_str()).cloned().unwrap_or((Left::default(), true));
        if takes {
            let mut devices = self.devices.borrow_mut();
            devices
                .iter_mut()
                .filter(|one| one.id == device.id)
                .for_each(|one| one.version = "2".to_owned());
        }
        Ok(left)
    }
}

fn entries(change: &Value) -> Vec<Entry> {
    let mut entry =
        json!({"plugin": "nvme", "guid": "g", "version": "2", "cabinet": "a.cab", "sha256": "00"});
    for (key, value) in change.as_object().unwrap() {
        entry[key] = value.clone();
    }
    serde_json::from_value(json!([entry])).unwrap()
}

fn run(fwupd: &FakeFwupd, entries: &[Entry]) -> (Result<End, String>, Vec<(u64, u64)>) {
    let mut bar = Vec::new();
    let words = |refusal: Refusal| match refusal {
        Refusal::Order(words) => words,
        Refusal::Tool(failed) => panic!("{failed:?}"),
    };
    let end = look(fwupd, entries).map_err(words).and_then(|standing| {
        update(fwupd, Path::new("/f"), &standing, &mut |done, total, _| bar.push((done, total)))
    });
    (end, bar)
}

#[test]
fn every_device_that_is_meant_gets_it_once_with_a_bar_that_only_grows() {
    let fwupd = FakeFwupd::new(&[("a", "1"), ("b", "2"), ("c", "1")]);
    let entries = entries(&json!({}));
    let plan: Vec<String> =
        look(&fwupd, &entries).unwrap().pinned.iter().map(Pinned::says).collect();
    assert_eq!(plan[0], "a (a): 1 to 2, from a.cab");
    let (end, bar) = run(&fwupd, &entries);
    let Ok(End::Reached { changed: true, evidence }) = end else { panic!("{end:?}") };
    assert_eq!(fwupd.installed.take(), ["a /f/a.cab false", "c /f/a.cab false"]);
    assert_eq!(bar, [(50, 200), (50, 200), (100, 200), (150, 200), (150, 200), (200, 200)]);
    let said: Vec<(&str, &str)> = evidence["devices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|device| (device["before"].as_str().unwrap(), device["after"].as_str().unwrap()))
        .collect();
    assert_eq!(said, [("1", "2"), ("2", "2"), ("1", "2")]);
    let (end, _) = run(&fwupd, &entries);
    assert!(matches!(end, Ok(End::Reached { changed: false, .. })), "{end:?}");
}

#[test]
fn what_is_against_the_baseline_is_said_before_anything_is_installed() {
    for (devices, change, expected) in [
        (
            vec![("a", "1")],
            json!({"guid": "other"}),
            Some("the machine has no other of fwupd's plugin nvme (its devices: g a)"),
        ),
        (vec![], json!({}), Some("its devices: none")),
        (vec![], json!({"optional": true}), None),
        (vec![("a", "3")], json!({}), Some("it runs 3, which is newer than 2 of the baseline")),
        (vec![("a", "3")], json!({"downgrade": true}), None),
    ] {
        let fwupd = FakeFwupd::new(&devices);
        let entries = entries(&change);
        match (look(&fwupd, &entries), expected) {
            (Err(Refusal::Order(words)), Some(expected)) => {
                assert!(words.contains(expected), "{words}");
            }
            (Ok(standing), None) => assert!(standing.pinned.len() + standing.absent.len() == 1),
            (other, expected) => panic!("{other:?} instead of {expected:?}"),
        }
        assert!(fwupd.installed.take().is_empty());
    }
    let twice = [entries(&json!({})), entries(&json!({"guid": null, "name": "a"}))].concat();
    let refusal = look(&FakeFwupd::new(&[("a", "1")]), &twice).unwrap_err();
    assert_eq!(refusal, Refusal::Order("a (a) is pinned twice".to_owned()));
    let locked = FakeFwupd::new(&[("a", "1")]);
    locked.devices.borrow_mut()[0].flags = vec!["locked".to_owned()];
    let refusal = look(&locked, &entries(&json!({}))).unwrap_err();
    assert!(matches!(refusal, Refusal::Order(words) if words.contains("fwupd cannot update it")));
}

#[test]
fn a_cabinet_that_has_not_the_pinned_version_alone_is_refused() {
    for (versions, expected) in [
        (vec!["2"], "the cabinet a.cab has no firmware of version 7 (it has: 2)"),
        (vec![], "the cabinet a.cab has no firmware of version 7 (it has: none)"),
        (
            vec!["6", "7", "8"],
            "the cabinet a.cab has firmware for a (a) of version 7, which is pinned, and of 6, 8: which of them fwupdtool would \
             install is not certain, so nothing was installed; build a cabinet that has 7 only",
        ),
        (vec!["7", "7"], ""),
    ] {
        let fwupd = FakeFwupd { versions, ..FakeFwupd::new(&[("a", "1")]) };
        let entries = entries(&json!({"version": "7"}));
        let standing = look(&fwupd, &entries).unwrap();
        let checked = check_cabinets(&fwupd, Path::new("/f"), &standing.pinned);
        let words = match checked {
            Ok(()) => String::new(),
            Err(Refusal::Order(words)) => words,
            Err(Refusal::Tool(failed)) => panic!("{failed:?}"),
        };
        assert_eq!(words, expected);
    }
}

#[test]
fn a_tool_that_fails_is_said_to_have_failed_and_the_order_is_not_blamed() {
    let entries = entries(&json!({}));
    let fwupd = FakeFwupd { broken: true, ..FakeFwupd::new(&[("a", "1")]) };
    let failed = |words: &str| Refusal::Tool(ToolFailed(words.to_owned()));
    assert_eq!(look(&fwupd, &entries).unwrap_err(), failed("vercmp ended with exit status 1"));
    let well = FakeFwupd::new(&[("a", "1")]);
    let standing = look(&well, &entries).unwrap();
    let refusal = check_cabinets(&fwupd, Path::new("/f"), &standing.pinned).unwrap_err();
    assert_eq!(refusal, failed("get-details ended with exit status 1"));
}

#[test]
fn the_device_decides_and_not_what_fwupd_says() {
    let entries = entries(&json!({}));
    let silent = FakeFwupd::new(&[("a", "1")]).ends("a", None, None, false);
    assert_eq!(
        run(&silent, &entries).0.unwrap_err(),
        "a (a) says 1, and not 2 (fwupdtool had no complaint)"
    );
    let failed = FakeFwupd::new(&[("a", "1")]).ends("a", Some("write failed"), None, false);
    assert_eq!(
        run(&failed, &entries).0.unwrap_err(),
        "a (a) says 1, and not 2 (fwupdtool said: write failed)"
    );
    let grumbles = FakeFwupd::new(&[("a", "1")]).ends("a", Some("not updated"), None, true);
    let Ok(End::Reached { changed: true, evidence }) = run(&grumbles, &entries).0 else { panic!() };
    assert_eq!(evidence["devices"][0]["fwupdtool"], "not updated");
}

#[test]
fn a_device_that_waits_is_judged_after_the_restart() {
    let entries = entries(&json!({}));
    for takes in [true, false] {
        let fwupd =
            FakeFwupd::new(&[("a", "1"), ("b", "2")]).ends("a", None, Some("a restart"), takes);
        let Ok(End::Restart { words, state }) = run(&fwupd, &entries).0 else { panic!() };
        assert_eq!(
            (words.as_str(), &state["before"]),
            ("a (a) waits for a restart", &json!({"a": "1"}))
        );
        match after_restart(&fwupd, &entries, &state) {
            Ok(End::Reached { changed: true, evidence }) if takes => {
                assert_eq!(evidence["devices"][0]["before"], "1");
                assert_eq!(evidence["devices"][0]["after"], "2");
            }
            Err(words) if !takes => {
                assert!(words.starts_with("a (a) says 1 after the restart, and not 2"), "{words}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(fwupd.installed.take().len(), 1, "nothing is installed again");
    }
    let gone = FakeFwupd::new(&[]);
    let state = json!({"before": {"a": "1"}});
    assert!(
        after_restart(&gone, &entries, &state)
            .unwrap_err()
            .contains("is not there after the restart")
    );
}

#[test]
fn a_device_that_is_dead_after_the_restart_is_missed_though_others_are_there_or_it_may_be_absent() {
    let state = json!({"before": {"a": "1", "b": "1"}});
    for (left, change) in [(vec![("a", "2")], json!({})), (vec![], json!({"optional": true}))] {
        let words = after_restart(&FakeFwupd::new(&left), &entries(&change), &state).unwrap_err();
        assert!(words.contains("the device b, which got firmware, is not there"), "{words}");
    }
}

#[test]
fn what_breaks_one_device_does_not_go_to_the_next() {
    let fwupd =
        FakeFwupd::new(&[("a", "1"), ("b", "1")]).ends("a", Some("write failed"), None, false);
    let words = run(&fwupd, &entries(&json!({}))).0.unwrap_err();
    assert!(words.contains("a (a) says 1, and not 2 (fwupdtool said: write failed)"), "{words}");
    assert_eq!(fwupd.installed.take(), ["a /f/a.cab false"]);
}
