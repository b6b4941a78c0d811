//! The plugin `firmware-fwupd` with the real fwupdtool, confined in its bundle: against fwupd's own test device, and against flash chips
//! that are files. `cargo lab test` runs this, as root: Debian's packages are downloaded for it, none is installed.
//!
//! fwupd's test device forgets its firmware when fwupdtool ends, so it can only show that the device's word decides. The chips are driven
//! by fwupd's plugin for flash (mtd): where fwupdtool looks for the kernel's list of chips it finds ours, whose nodes are the disks that
//! the plugin is given. What is flashed stays, and is read back from them by every later fwupdtool.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use lab::artifacts::{self, plugin::names_in};
use lab::host::Program;
use lab::packages;
use serde_json::{Value, json};
use tempfile::TempDir;

/// fwupd's test device.
const WEBCAM: &str = "b585990a-003e-5270-89d5-3705a17f9a43";
/// The chips' GUIDs: name-based (RFC 9562, version 5) from `MTD\NAME_lab-flash-a` and `-b`, as fwupd makes them.
const CHIPS: [(&str, &str); 2] =
    [("a", "7d9ff0cd-6e4d-5065-879d-ab41bb7dca84"), ("b", "011bf554-6354-5e9f-9f55-c040955da179")];
const CHIP_BYTES: usize = 64 << 10;

/// The bundle, the key that signed it, and what makes firmware for the chips.
struct Bench {
    dir: TempDir,
    agent: PathBuf,
    packages: PathBuf,
}

impl Bench {
    fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "run this as root: nothing can be confined");
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
        let plugin = sources.join("firmware-fwupd");
        let list = fs::read_to_string(plugin.join("packages.txt")).unwrap()
            + "coreutils usr/bin/env\nfwupd-tests\n";
        let packages = packages::unpacked("fwupd-test", names_in(&list)).unwrap();
        let bench = Self {
            dir: tempfile::tempdir().unwrap(),
            agent: artifacts::agent().unwrap(),
            packages,
        };
        let folder = bench.path("plugin");
        let root = folder.join("root");
        fs::create_dir_all(root.join("bin")).unwrap();
        let program = artifacts::plugin_program("firmware-fwupd").unwrap();
        fs::copy(program, root.join("bin/firmware-fwupd")).unwrap();
        fs::copy(plugin.join("shim.c"), folder.join("shim.c")).unwrap();
        fs::write(folder.join("packages.txt"), list).unwrap();
        let text = fs::read_to_string(plugin.join("manifest.json")).unwrap();
        let mut manifest: Value = serde_json::from_str(&text).unwrap();
        manifest["exec"] = json!(["usr/bin/env", "FWUPD_SYSFSDIR=/lab/sys", "bin/firmware-fwupd"]);
        fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
        bench.chips(&root);
        bench.baselines(&root.join("firmware"));
        bench.run(&bench.agent, &["plugin", "keygen", "--output", "author"]);
        let words = ["plugin", "--key", "author", "--output", "fwupd.plugin", "--packages"];
        let build = Program::new(sources.join("build")).dir(bench.dir.path()).args(words);
        build.arg(&bench.packages).arg("--agent").arg(&bench.agent).text().unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, program: &Path, words: &[&str]) -> String {
        Program::new(program).dir(self.dir.path()).args(words).text().unwrap()
    }

    /// fwupdtool of the packages, for what needs no device.
    fn tool(&self, words: &[&str]) -> String {
        let libraries = self.packages.join("usr/lib/x86_64-linux-gnu");
        let engine = fs::read_dir(&libraries).unwrap().flatten().map(|entry| entry.path());
        let engine =
            engine.into_iter().find(|path| path.join("libfwupdengine.so").exists()).unwrap();
        let path = [self.packages.join("lib/x86_64-linux-gnu"), libraries, engine]
            .map(|path| path.display().to_string());
        let loader = self.packages.join("lib64/ld-linux-x86-64.so.2");
        let program =
            Program::new(loader).dir(self.dir.path()).arg("--library-path").arg(path.join(":"));
        let folders = [
            "STATE_DIRECTORY",
            "CACHE_DIRECTORY",
            "LOCALCONF_DIRECTORY",
            "FWUPD_LOCKDIR",
            "FWUPD_SYSCONFDIR",
            "HOME",
        ];
        let work = self.path("work");
        let program = folders.iter().fold(program, |program, name| program.env(name, &work));
        program.arg(self.packages.join("usr/bin/fwupdtool")).args(words).text().unwrap()
    }

    /// What the kernel would say of two flash chips, and what fwupd is to know of them. The second starts its firmware at a restart.
    fn chips(&self, root: &Path) {
        let mut quirks = String::new();
        for (number, (name, _)) in CHIPS.iter().enumerate() {
            let chip = root.join(format!("lab/sys/devices/virtual/mtd/mtd{number}"));
            fs::create_dir_all(&chip).unwrap();
            for (file, text) in [
                ("name", format!("lab-flash-{name}")),
                // Writeable, and needs no erasing (MTD_WRITEABLE, MTD_NO_ERASE).
                ("flags", "0x1400".to_owned()),
                ("size", CHIP_BYTES.to_string()),
                ("erasesize", "0".to_owned()),
                (
                    "uevent",
                    format!("MAJOR=90\nMINOR={number}\nDEVNAME=file{number}\nDEVTYPE=mtd\n"),
                ),
            ] {
                fs::write(chip.join(file), text).unwrap();
            }
            let class = root.join("lab/sys/class/mtd");
            fs::create_dir_all(&class).unwrap();
            symlink("../../../../class/mtd", chip.join("subsystem")).unwrap();
            symlink(
                format!("../../devices/virtual/mtd/mtd{number}"),
                class.join(format!("mtd{number}")),
            )
            .unwrap();
            let restart =
                if *name == "a" { "~needs-reboot,unsigned-payload" } else { "unsigned-payload" };
            quirks += &format!(
                "[MTD\\NAME_lab-flash-{name}]\nName = Flash chip {name}\nVendorId = LAB:0001\n\
                 FirmwareGType = FuUswidFirmware\nVersionFormat = triplet\nFlags = {restart}\n"
            );
        }
        for (file, text) in [
            ("usr/share/fwupd/quirks.d/lab.quirk", quirks.as_str()),
            ("etc/fwupd/fwupd.conf", "[fwupd]\nTestDevices=true\n"),
        ] {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    /// Firmware of this version for the chips, as a file.
    fn firmware(&self, version: &str) -> String {
        let (source, file) = (format!("{version}.xml"), format!("{version}.bin"));
        let text = format!(
            "<firmware gtype=\"FuUswidFirmware\"><id>SBOM</id>\
             <firmware gtype=\"FuCoswidFirmware\"><version>{version}</version></firmware></firmware>"
        );
        fs::write(self.path(&source), text).unwrap();
        self.tool(&["firmware-build", &source, &file]);
        file
    }

    /// What a cabinet says of firmware for the chip `name`, as a file; one release for each version.
    fn about(&self, name: &str, guid: &str, versions: &[&str]) -> String {
        let release = |version: &&str| {
            let file = format!("{version}.bin");
            let sum = crate::image::sha256(&self.path(&file));
            format!(
                r#"<release version="{version}" date="2026-01-01"><checksum type="sha256" filename="{file}" target="content">{sum}</checksum></release>"#
            )
        };
        let releases: String = versions.iter().map(release).collect();
        let about = format!("{name}-{}.metainfo.xml", versions.join("-"));
        let text = format!(
            r#"<?xml version="1.0"?><component type="firmware"><id>test.lab.flash{name}</id><name>Flash chip {name}</name>
            <summary>Firmware of a chip</summary><provides><firmware type="flashed">{guid}</firmware></provides>
            <metadata_license>CC0-1.0</metadata_license><project_license>Apache-2.0</project_license>
            <custom><value key="LVFS::VersionFormat">triplet</value><value key="LVFS::UpdateProtocol">org.infradead.mtd</value></custom>
            <releases>{releases}</releases></component>"#
        );
        fs::write(self.path(&about), text).unwrap();
        about
    }

    /// Cabinets that have two versions for the first chip, and baselines that pin one of them.
    fn ambiguous(&self, folder: &Path) {
        let (name, guid) = CHIPS[0];
        let [old, new] = ["1.1.0", "2.0.0"].map(|version| self.about(name, guid, &[version]));
        let [first, second] = [["1.1.0", "2.0.0"], ["2.0.0", "1.1.0"]]
            .map(|versions| self.about(name, guid, &versions));
        for (cabinet, parts) in [
            ("components", vec![old.as_str(), &new]),
            ("pinned-first", vec![first.as_str()]),
            ("pinned-second", vec![second.as_str()]),
        ] {
            let (file, firmware) = (format!("{cabinet}.cab"), ["1.1.0.bin", "2.0.0.bin"]);
            self.tool(&[&["build-cabinet", &file], &firmware[..], &parts].concat());
            fs::copy(self.path(&file), folder.join(&file)).unwrap();
            let sha256 = crate::image::sha256(&self.path(&file));
            let pin = json!([{"plugin": "mtd", "guid": guid, "version": "1.1.0", "cabinet": file, "sha256": sha256}]);
            fs::write(folder.join(format!("{cabinet}.json")), pin.to_string()).unwrap();
        }
        // Right by its sha256, and no cabinet.
        fs::copy(self.path("1.1.0.bin"), folder.join("none.cab")).unwrap();
        let sha256 = crate::image::sha256(&self.path("1.1.0.bin"));
        let pin = json!([{"plugin": "mtd", "guid": guid, "version": "1.1.0", "cabinet": "none.cab", "sha256": sha256}]);
        fs::write(folder.join("no-cabinet.json"), pin.to_string()).unwrap();
    }

    fn baselines(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        let webcam = self.packages.join("usr/share/installed-tests/fwupd/fakedevice124.cab");
        fs::copy(webcam, folder.join("webcam.cab")).unwrap();
        for version in ["1.0.0", "2.0.0"] {
            self.firmware(version);
        }
        let file = self.firmware("1.1.0");
        let sum = crate::image::sha256;
        let mut flash = Vec::new();
        for (name, guid) in CHIPS {
            let about = self.about(name, guid, &["1.1.0"]);
            let cabinet = format!("{name}.cab");
            self.tool(&["build-cabinet", &cabinet, &file, &about]);
            fs::copy(self.path(&cabinet), folder.join(&cabinet)).unwrap();
            flash.push(json!({
                "plugin": "mtd", "guid": guid, "version": "1.1.0", "cabinet": cabinet, "sha256": sum(&self.path(&cabinet)),
                "optional": name == "b",
            }));
        }
        self.ambiguous(folder);
        let cabinet = folder.join("webcam.cab");
        let webcam = |version: &str, sha256: &str| json!([{"plugin": "test", "guid": WEBCAM, "version": version, "cabinet": "webcam.cab", "sha256": sha256}]);
        let right = sum(&cabinet);
        for (name, baseline) in [
            ("flash.json", json!(flash)),
            ("webcam.json", webcam("1.2.4", &right)),
            ("other-version.json", webcam("1.2.5", &right)),
            ("other-file.json", webcam("1.2.4", &"0".repeat(64))),
            ("older.json", webcam("1.2.1", &right)),
        ] {
            fs::write(folder.join(name), baseline.to_string()).unwrap();
        }
    }

    /// A chip that runs this version.
    fn chip(&self, name: &str, version: &str) -> PathBuf {
        let mut bytes = fs::read(self.path(&format!("{version}.bin"))).unwrap();
        bytes.resize(CHIP_BYTES, 0);
        let path = self.path(&format!("chip-{name}"));
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Runs the step, or plans it, with these chips; returns its result and its log.
    fn update(&self, baseline: &str, chips: &[&Path], more: &[&str]) -> (Value, String) {
        let args = json!({ "baseline": baseline }).to_string();
        let words = [
            "plugin",
            "run",
            "update_fwupd",
            "--json",
            "--bundle",
            "fwupd.plugin",
            "--trust",
            "author.pub",
            "--args",
        ];
        let disks = chips.iter().flat_map(|chip| ["--disk".to_owned(), chip.display().to_string()]);
        let program = Program::new(&self.agent)
            .dir(self.dir.path())
            .args(words)
            .arg(&args)
            .args(disks)
            .args(more);
        let output = program.output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        let value = serde_json::from_slice(&output.stdout);
        (value.unwrap_or_else(|error| panic!("{error}: {output:?}")), log)
    }
}

fn message(value: &Value) -> &str {
    value["message"].as_str().unwrap_or_else(|| panic!("{value}"))
}

/// What the evidence says of each device: before, after, fwupdtool's complaint.
fn versions(value: &Value) -> Vec<(&str, &str, Option<&str>)> {
    let devices = value["data"]["devices"].as_array().unwrap_or_else(|| panic!("{value}"));
    devices
        .iter()
        .map(|device| {
            (
                device["before"].as_str().unwrap(),
                device["after"].as_str().unwrap(),
                device["fwupdtool"].as_str(),
            )
        })
        .collect()
}

#[test]
#[ignore = "downloads Debian's fwupd: cargo lab test"]
fn devices_are_brought_to_the_baseline_and_their_own_word_decides() {
    let bench = Bench::new();
    println!("bundle: {} bytes", fs::metadata(bench.path("fwupd.plugin")).unwrap().len());
    flash_chips(&bench);
    test_device(&bench);
}

/// Chips that are files: firmware that stays.
fn flash_chips(bench: &Bench) {
    let (a, b) = (bench.chip("a", "1.0.0"), bench.chip("b", "1.0.0"));
    let (plan, _) = bench.update("flash.json", &[&a, &b], &["--plan"]);
    let plan = plan.to_string();
    for words in
        ["Flash chip a (", "): 1.0.0 to 1.1.0, from a.cab", "): 1.0.0 to 1.1.0, from b.cab"]
    {
        assert!(plan.contains(words), "{plan}");
    }
    println!("plan: {plan}");
    assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap(), "a plan changes nothing");

    // The first alone. fwupd does not look at the chip again and calls it a failure; a new fwupdtool reads 1.1.0 from it.
    let (done, log) = bench.update("flash.json", &[&a], &[]);
    println!("one chip: {done}");
    assert_eq!(done["outcome"], "changed", "{done} {log}");
    let complaint = "device version not updated on success, 1.1.0 != 1.0.0";
    assert_eq!(versions(&done), [("1.0.0", "1.1.0", Some(complaint))]);
    assert_eq!(done["data"]["absent"].as_array().unwrap().len(), 1);
    let flashed = fs::read(&a).unwrap();
    assert!(flashed.starts_with(&fs::read(bench.path("1.1.0.bin")).unwrap()));
    let (again, _) = bench.update("flash.json", &[&a], &[]);
    assert_eq!((&again["outcome"], fs::read(&a).unwrap()), (&json!("unchanged"), flashed));

    let (done, log) = bench.update("flash.json", &[&a, &b], &[]);
    println!("after a restart: {done}");
    assert!(log.contains("reboot 1 asked for (Flash chip b ("), "{log}");
    assert_eq!(done["outcome"], "changed", "{done} {log}");
    assert_eq!(versions(&done), [("1.1.0", "1.1.0", None), ("1.0.0", "1.1.0", None)]);

    refused_before_anything_is_flashed(bench);
    let newer = bench.chip("a", "2.0.0");
    let (refused, _) = bench.update("flash.json", &[&newer], &[]);
    println!("newer: {}", message(&refused));
    assert!(
        message(&refused).contains("it runs 2.0.0, which is newer than 1.1.0 of the baseline"),
        "{refused}"
    );
    let (refused, _) = bench.update("flash.json", &[], &[]);
    println!("absent: {}", message(&refused));
    assert!(message(&refused).contains(&format!("the machine has no {}", CHIPS[0].1)), "{refused}");
}

/// Cabinets that do not have the pinned version alone, and one that is none: the pinned version, or nothing.
fn refused_before_anything_is_flashed(bench: &Bench) {
    let chip = bench.chip("a", "1.0.0");
    let before = fs::read(&chip).unwrap();
    for (baseline, words, blame) in [
        ("components.json", "the cabinet components.cab has firmware for Flash chip a (", "order"),
        (
            "pinned-second.json",
            "the cabinet pinned-second.cab has no firmware of version 1.1.0 (it has: 2.0.0)",
            "order",
        ),
        (
            "no-cabinet.json",
            "/usr/bin/fwupdtool get-details /firmware/none.cab ended with exit status 1",
            "internal",
        ),
    ] {
        for more in [&["--plan"][..], &[]] {
            let (refused, log) = bench.update(baseline, &[&chip], more);
            println!("{baseline}: {refused}");
            assert!(message(&refused).contains(words), "{refused} {log}");
            assert_eq!(refused["blame"], blame, "{refused}");
            assert_eq!(fs::read(&chip).unwrap(), before, "{baseline}");
        }
    }
    // Of several releases of one component fwupdtool takes the first, and shows that one only.
    let (done, log) = bench.update("pinned-first.json", &[&chip], &[]);
    println!("pinned-first.json: {done}");
    assert_eq!(done["outcome"], "changed", "{done} {log}");
    let flashed = fs::read(&chip).unwrap();
    assert!(flashed.starts_with(&fs::read(bench.path("1.1.0.bin")).unwrap()));
}

/// fwupd's own device: it takes firmware, says how far it is, and has forgotten it in the next fwupdtool.
fn test_device(bench: &Bench) {
    let (plan, _) = bench.update("webcam.json", &[], &["--plan"]);
    println!("plan: {plan}");
    assert!(plan.to_string().contains("(08d460be): 1.2.2 to 1.2.4, from webcam.cab"), "{plan}");
    let (failed, log) = bench.update("webcam.json", &[], &[]);
    println!("test device: {}", message(&failed));
    let words = "(08d460be) says 1.2.2, and not 1.2.4 (fwupdtool had no complaint)";
    assert!(message(&failed).contains(words), "{failed} {log}");
    assert!(log.contains("100 of 100 Integrated Webcam"), "progress: {log}");
    for (baseline, words) in [
        ("other-version.json", "webcam.cab has no firmware of version 1.2.5 (it has: 1.2.4)"),
        ("other-file.json", "the baseline says \"0000"),
        ("older.json", "it runs 1.2.2, which is newer than 1.2.1 of the baseline"),
        ("none.json", "the bundle's baseline /firmware/none.json: No such file"),
    ] {
        let (refused, _) = bench.update(baseline, &[], &[]);
        println!("{baseline}: {}", message(&refused));
        assert!(message(&refused).contains(words), "{refused}");
    }
}
