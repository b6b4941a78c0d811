//! What a confined fake can and cannot do. Tested where this runs as root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ironwright_agent::plugin::{Confinement, Folder, Plugin, Scratch, Watch};
use serde_json::{Value, json};

use super::{Bench, message, result, root};

/// The shell and these programs with their libraries, into the plugin's tree.
fn bring(plugin: &Path, programs: &[&str]) {
    for program in programs {
        let from = ["/bin", "/usr/bin"]
            .map(|dir| Path::new(dir).join(program))
            .into_iter()
            .find(|path| path.exists())
            .unwrap();
        let to = plugin.join("root/bin").join(program);
        fs::copy(&from, to).unwrap();
        let listed = Command::new("ldd").arg(&from).output().unwrap();
        for library in String::from_utf8_lossy(&listed.stdout)
            .split_whitespace()
            .filter(|word| word.starts_with('/'))
        {
            let to = plugin.join("root").join(library.trim_start_matches('/'));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(library, to).unwrap();
        }
    }
}

/// Runs `script` confined; none where this is not root.
fn confined(bench: &Bench, script: &str) -> Option<(Option<i32>, Value)> {
    if !root() {
        eprintln!("skipped: not root, so nothing can be confined");
        return None;
    }
    let plugin = bench.plugin(&json!({"devices": ["/dev/sd*"]}), script);
    bring(&plugin, &["sh", "dd", "mknod", "sleep", "setsid"]);
    Some(bench.run_bundle(&bench.bundle(&plugin), &[]))
}

#[test]
fn a_confined_fake_writes_the_disk_it_was_given_and_nothing_else() {
    let bench = Bench::new();
    let secret = bench.path("secret");
    fs::write(&secret, b"secret").unwrap();
    let script = format!(
        r#"bad=
        for path in {secret} /bin/sh /dev/new /proc/sysrq-trigger /sys/kernel/uevent_seqnum; do
            ( echo x > $path ) 2>/dev/null && bad="$bad $path"
        done
        [ -e {secret} ] && bad="$bad sees-the-host"
        mknod /tmp/null c 1 3 2>/dev/null && bad="$bad mknod"
        while read -r key value; do case $key in CapEff:) capabilities=$value ;; esac; done < /proc/self/status
        for node in /dev/*; do case $node in /dev/null|/dev/zero|/dev/full|/dev/*random|/dev/file0) ;; *) bad="$bad $node" ;; esac; done
        for entry in /sys/class/net/*; do case $entry in */lo|*'*') ;; *) bad="$bad $entry" ;; esac; done
        dd if=/dev/zero of=$IRONWRIGHT_DEVICES bs=512 count=1 conv=notrunc 2>/dev/null || bad="$bad own-disk"
        dd if=/dev/zero of=/tmp/flood bs=1M count=100 2>/dev/null && bad="$bad flood"
        echo "{{\"type\":\"result\",\"outcome\":\"changed\",\"message\":\"bad:$bad $IRONWRIGHT_DEVICES $$ $capabilities\"}}""#,
        secret = secret.display()
    );
    let Some((code, value)) = confined(&bench, &script) else { return };
    assert_eq!((code, message(&value)), (Some(0), "bad: /dev/file0 1 000000000022402f"), "{value}");
    assert_eq!(fs::read(&secret).unwrap(), b"secret");
    let disk = fs::read(bench.disk()).unwrap();
    assert!(
        disk[..512].iter().all(|byte| *byte == 0) && disk[512..].iter().all(|byte| *byte == 0x5a)
    );
}

#[test]
fn a_confined_fake_cannot_leave_a_process_behind_in_a_session_of_its_own() {
    let bench = Bench::new();
    let script = format!("setsid sleep 61.25 & {}", result("changed"));
    let Some((code, value)) = confined(&bench, &script) else { return };
    assert_eq!(code, Some(0), "{value}");
    let named = |path: PathBuf| {
        fs::read(path.join("cmdline")).is_ok_and(|line| line == b"sleep\x0061.25\0")
    };
    let left = fs::read_dir("/proc").unwrap().flatten().filter(|entry| named(entry.path())).count();
    assert_eq!(left, 0);
}

#[test]
fn a_confined_fake_that_forks_for_ever_is_stopped_by_its_limit_of_processes() {
    let bench = Bench::new();
    let script = "n=0; while [ $n -lt 5000 ]; do sleep 61.75 & n=$((n + 1)); done; sleep 9";
    let Some((code, value)) = confined(&bench, script) else { return };
    if message(&value).contains("took longer than") {
        eprintln!("skipped: this machine gives no control group: {value}");
        return;
    }
    assert_eq!(code, Some(1), "{value}");
    assert!(message(&value).contains("Cannot fork"), "{value}");
    let named = |path: PathBuf| {
        fs::read(path.join("cmdline")).is_ok_and(|line| line == b"sleep\x0061.75\0")
    };
    let left = fs::read_dir("/proc").unwrap().flatten().filter(|entry| named(entry.path())).count();
    assert_eq!(left, 0);
}

#[test]
fn a_confined_fake_that_hangs_is_killed_and_one_without_its_interpreter_is_named() {
    let bench = Bench::new();
    let Some((_, value)) = confined(&bench, "sleep 60") else { return };
    assert!(message(&value).contains("run took longer than 2 s"), "{value}");
    let bench = Bench::new();
    let bundle = bench.bundle(&bench.plugin(&json!({}), ""));
    let (code, value) = bench.run_bundle(&bundle, &[]);
    assert_eq!(code, Some(1));
    assert!(message(&value).contains("is its interpreter in the tree?"), "{value}");
    let remedy = "check that the program and its interpreter are in the plugin's tree";
    assert_eq!(value["remedy"], remedy, "{value}");
}

/// Watches nothing.
struct Nobody;

impl Watch for Nobody {
    fn progress(&self, _: &ironwright_plugin::Progress) {}

    fn cancelled(&self) -> bool {
        false
    }
}

#[test]
fn what_a_step_costs_beside_its_fakes_own_work_is_printed() {
    let bench = Bench::new();
    let dir = bench.plugin(&json!({}), &result("unchanged"));
    bring(&dir, &["sh"]);
    let mut ways = vec![("as a developer's own program", Confinement::None)];
    let scratch = Scratch::make().unwrap();
    if root() {
        let launcher = PathBuf::from(env!("CARGO_BIN_EXE_ironwright-agent"));
        ways.push(("confined", Confinement::Tree { launcher, mount: scratch.mount() }));
    }
    for (way, confinement) in ways {
        let folder = Folder::read(&dir).unwrap();
        let plugin = Plugin { folder, confinement, devices: Vec::new(), live: None };
        let step = || {
            let began = Instant::now();
            plugin.plan("fake_step", &Value::Null, &Nobody).unwrap();
            plugin.run("fake_step", &Value::Null, Value::Null, 0, &Nobody).unwrap();
            began.elapsed()
        };
        let mut times: Vec<Duration> = (0..9).map(|_| step()).collect();
        times.sort();
        let unlimited = plugin.unlimited();
        println!("{way}: {unlimited:?}");
        if way != "confined" {
            assert!(unlimited.unwrap().starts_with("the plugin was not confined"));
        } else if let Some(words) = unlimited {
            // Version 1 of control groups, or a container without any.
            assert!(words.contains("memory w") && words.contains("not limited"), "{words}");
        }
        println!("plan and run {way}: {:.0} ms (median of 9)", times[4].as_secs_f64() * 1e3);
        assert!(times[4] < Duration::from_secs(2), "{times:?}");
    }
}
