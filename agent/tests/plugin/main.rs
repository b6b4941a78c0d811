//! Plugins as real processes: the examples, their bundles, and fakes that do everything wrong.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests start programs and stop at the first surprise"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

mod confined;
mod misbehaving;

/// A folder with a plugin, keys, a bundle, a file that plays a disk.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        fs::write(bench.disk(), [0x5a; 4096]).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn disk(&self) -> PathBuf {
        self.path("disk")
    }

    /// A fake plugin in shell with one step, `fake_step`, whose `run` is `script`.
    fn plugin(&self, change: &Value, script: &str) -> PathBuf {
        let dir = self.path("plugin");
        fs::create_dir_all(dir.join("root/bin")).unwrap();
        let step = json!({"name": "fake_step", "interface": "deploy", "safety": "read_only"});
        let mut manifest = json!({
            "name": "fake", "version": "1.0.0", "protocol": 1, "exec": ["bin/fake"], "steps": [step], "limits": {"seconds": 2},
        });
        manifest.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        fs::write(dir.join("manifest.json"), manifest.to_string()).unwrap();
        let program = dir.join("root/bin/fake");
        let script = format!(
            "#!/bin/sh\nread -r request\n[ \"$IRONWRIGHT_OP\" = plan ] && {{ echo '{{\"type\":\"plan\",\"actions\":[]}}'; exit; }}\n{script}\n"
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        dir
    }

    fn agent(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_ironwright-agent"))
            .args(args)
            .env("TMPDIR", self.dir.path())
            .output()
            .unwrap()
    }

    fn run(&self, plugin: &Path, step: &str) -> (Option<i32>, Value) {
        let (disk, plugin) = (self.disk(), plugin.display().to_string());
        let disk = disk.display().to_string();
        object(&self.agent(&["plugin", "run", step, "--json", "--dir", &plugin, "--disk", &disk]))
    }

    /// Makes a key and a bundle signed with it.
    fn bundle(&self, plugin: &Path) -> PathBuf {
        let (key, out) = (self.path("key"), self.path("it.plugin"));
        let words = |path: &Path| path.display().to_string();
        let made = self.agent(&["plugin", "keygen", "-o", &words(&key)]);
        assert!(made.status.success(), "{made:?}");
        let made = self.agent(&[
            "plugin",
            "bundle",
            &words(plugin),
            "--key",
            &words(&key),
            "-o",
            &words(&out),
        ]);
        assert!(made.status.success(), "{made:?}");
        out
    }

    fn run_bundle(&self, bundle: &Path, more: &[&str]) -> (Option<i32>, Value) {
        let (bundle, trust, disk) =
            (bundle.display().to_string(), self.path("key.pub"), self.disk());
        let (trust, disk) = (trust.display().to_string(), disk.display().to_string());
        let words = [
            "plugin",
            "run",
            "fake_step",
            "--json",
            "--bundle",
            &bundle,
            "--trust",
            &trust,
            "--disk",
            &disk,
        ];
        object(&self.agent(&[&words, more].concat()))
    }
}

fn object(output: &Output) -> (Option<i32>, Value) {
    let value = serde_json::from_slice(&output.stdout);
    (output.status.code(), value.unwrap_or_else(|error| panic!("{error}: {output:?}")))
}

fn message(value: &Value) -> &str {
    value["message"].as_str().unwrap()
}

/// A script that says this outcome.
fn result(outcome: &str) -> String {
    format!(r#"echo '{{"type":"result","outcome":"{outcome}","message":"said"}}'"#)
}

fn root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn the_examples_in_shell_and_python_check_clear_a_sector_once_and_sign() {
    for language in ["shell", "python"] {
        let bench = Bench::new();
        let plugin =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/examples").join(language);
        let checked = bench.agent(&["plugin", "check", &plugin.display().to_string()]);
        assert!(checked.status.success(), "{checked:?}");
        let log = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(log.contains("which is not in root/"), "{log}");
        let (code, value) = bench.run(&plugin, "clear_first_sector");
        assert_eq!((code, &value["outcome"]), (Some(0), &json!("changed")), "{language}: {value}");
        let disk = fs::read(bench.disk()).unwrap();
        assert!(
            disk[..512].iter().all(|byte| *byte == 0)
                && disk[512..].iter().all(|byte| *byte == 0x5a)
        );
        let (code, value) = bench.run(&plugin, "deploy.clear_first_sector");
        assert_eq!(
            (code, &value["outcome"]),
            (Some(0), &json!("unchanged")),
            "{language}: {value}"
        );
        bench.bundle(&plugin);
        // What cannot be read is not empty.
        fs::write(bench.disk(), [0; 100]).unwrap();
        let (code, value) = bench.run(&plugin, "clear_first_sector");
        assert_eq!((code, &value["blame"]), (Some(1), &json!("hardware")), "{language}: {value}");
        assert!(message(&value).contains("cannot be read"), "{language}: {value}");
        assert!(value["remedy"].as_str().unwrap().contains("cable"), "{language}: {value}");
    }
}

#[test]
fn the_example_to_copy_reads_the_file_that_it_is_given_and_says_what_did_not_confine_it() {
    let bench = Bench::new();
    let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/examples/checksum");
    let (code, value) = bench.run(&plugin, "checksum_disks");
    assert_eq!((code, message(&value)), (Some(0), "1 disks were read"), "{value}");
    let warning = value["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("the plugin was not confined"), "{value}");
}

#[test]
fn changed_forged_foreign_and_cut_bundles_are_refused_and_their_fake_never_runs() {
    let bench = Bench::new();
    let ran = bench.path("ran");
    let bundle = bench.bundle(&bench.plugin(&json!({}), &format!("touch {}", ran.display())));
    let good = fs::read(&bundle).unwrap();
    let end = good.iter().position(|byte| *byte == b'\n').unwrap();
    let header: Value = serde_json::from_slice(&good[..end]).unwrap();
    let with = |key: &str, value: Value| {
        let mut header = header.clone();
        header[key] = value;
        [header.to_string().as_bytes(), &good[end..]].concat()
    };
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let other = "A".repeat(86) + "==";
    for (name, bytes, expected) in [
        ("flipped bit", flipped, "its header says"),
        ("wrong signature", with("signature", json!(other)), "signature is not by the key"),
        (
            "unknown key",
            with("key_id", json!("0123456789abcdef")),
            "0123456789abcdef, which is not trusted here",
        ),
        ("newer format", with("format", json!(2)), "has format 2, this agent reads format 1"),
        ("cut", good[..good.len() - 1].to_vec(), "promises"),
        ("no bundle", b"#!/bin/sh\nexit\n".to_vec(), "not a plugin bundle"),
    ] {
        fs::write(&bundle, bytes).unwrap();
        let (code, value) = bench.run_bundle(&bundle, &[]);
        assert_eq!(code, Some(1), "{name}: {value}");
        assert!(message(&value).contains(expected), "{name}: {value}");
    }
    fs::write(&bundle, good).unwrap();
    let (_, value) = bench.run_bundle(&bundle, &["--sha256", &"0".repeat(64)]);
    assert!(message(&value).contains("the order says 0000"), "{value}");
    assert!(!ran.exists());
}
