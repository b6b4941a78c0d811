//! Plugins as real processes: the examples, and one that does everything wrong. Confinement is tested where this runs as root.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests start programs and stop at the first surprise"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use ironwright_agent::plugin::{Confinement, Folder, Plugin, Scratch, Watch};
use serde_json::{Value, json};
use tempfile::TempDir;

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
fn a_fakes_control_characters_do_not_reach_the_terminal() {
    let bench = Bench::new();
    let says = |line: &str| format!("printf '%s\\n' '{line}'");
    let progress = r#"{"type":"progress","message":"a\u001b[31mb"}"#;
    let changed = r#"{"type":"result","outcome":"changed","message":"c\u001b[2Jd\ne"}"#;
    let plugin = bench.plugin(&json!({}), &format!("{}; {}", says(progress), says(changed)));
    let plugin = plugin.display().to_string();
    let output = bench.agent(&["plugin", "run", "fake_step", "--dir", &plugin]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "changed: c\\u{1b}[2Jd\\ne\n");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(log.contains(r"a\u{1b}[31mb"), "{log:?}");
    let failed = r#"{"type":"result","outcome":"failed","message":"f\u001bg","remedy":"h\u0007i"}"#;
    for script in [says(failed), says(r#"{"type":"\u001bc"}"#)] {
        bench.plugin(&json!({}), &script);
        let output = bench.agent(&["plugin", "run", "fake_step", "--dir", &plugin]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains(['\u{1b}', '\u{7}']) && said.contains(r"\u{1b}"), "{said:?}");
    }
}

#[test]
fn a_fake_that_fails_without_a_remedy_gets_a_plain_one() {
    for (who, blame, remedy) in [
        ("order", "order", "correct the order"),
        ("hardware", "hardware", "check the hardware"),
        ("plugin", "internal", "ask the plugin's author"),
    ] {
        let bench = Bench::new();
        let line = format!(r#"echo '{{"type":"result","outcome":"failed","who":"{who}"}}'"#);
        let (_, value) = bench.run(&bench.plugin(&json!({}), &line), "fake_step");
        assert_eq!(value["blame"], blame, "{value}");
        assert!(value["remedy"].as_str().unwrap().starts_with(remedy), "{value}");
    }
}

#[test]
fn a_fake_whose_interpreter_is_not_found_has_a_remedy_and_bundling_it_warns() {
    let bench = Bench::new();
    let plugin = bench.plugin(&json!({}), "exit 127");
    let (_, value) = bench.run(&plugin, "fake_step");
    assert!(value["remedy"].as_str().unwrap().contains("its interpreter"), "{value}");
    let (key, out) =
        (bench.path("key").display().to_string(), bench.path("it").display().to_string());
    bench.agent(&["plugin", "keygen", "-o", &key]);
    let plugin = plugin.display().to_string();
    let made = bench.agent(&["plugin", "bundle", &plugin, "--key", &key, "-o", &out]);
    let log = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(made.status.success() && log.contains("/bin/sh, which is not in root/"), "{made:?}");
}

#[test]
fn a_fake_that_misbehaves_is_ended_and_the_failure_says_how() {
    let endless = "while :; do echo '{\"type\":\"progress\"}'; done";
    let long = "head -c 100000 /dev/zero | tr '\\0' x; echo; sleep 9";
    let cases = [
        ("hangs", "sleep 60".to_owned(), "run took longer than 2 s"),
        ("floods lines", endless.to_owned(), "more than 10000 lines"),
        ("floods one line", long.to_owned(), "line 1 of its output is longer than 65536 bytes"),
        (
            "crashes",
            "echo 'no such thing' >&2; kill -SEGV $$".to_owned(),
            "killed by signal 11; last words: \"no such thing\"",
        ),
        (
            "ends silently",
            "exit 3".to_owned(),
            "gave no answer to run and ended with exit status 3",
        ),
        (
            "prints garbage",
            "echo 'Hello there'; sleep 9".to_owned(),
            "line 1 of its output is not a line of protocol 1: \"Hello there\"",
        ),
        (
            "answers otherwise",
            "echo '{\"type\":\"plan\",\"actions\":[]}'".to_owned(),
            "answered run with a line of type plan",
        ),
        (
            "contradicts itself",
            format!("{}; exit 4", result("changed")),
            "it said result, but ended with exit status 4",
        ),
        ("reboots for ever", result("reboot"), "asked for reboot number 4, the manifest allows 3"),
        ("fails", result("failed"), "plugin fake: said"),
    ];
    cases.into_iter().for_each(fails);
}

/// Runs a fake of this name and script, which must fail soon, with these words.
fn fails((name, script, expected): (&str, String, &str)) {
    let bench = Bench::new();
    let plugin = bench.plugin(&json!({}), &script);
    let began = Instant::now();
    let (code, value) = bench.run(&plugin, "fake_step");
    assert_eq!(code, Some(1), "{name}: {value}");
    assert!(message(&value).contains(expected), "{name}: {value}");
    assert!(began.elapsed() < Duration::from_secs(8), "{name} took {:?}", began.elapsed());
}

#[test]
fn a_fake_that_goes_on_after_its_answer_is_not_believed() {
    let endless = "while :; do echo '{\"type\":\"progress\"}'; done";
    let cases = [
        (
            "answers and goes on",
            format!("{}; sleep 60", result("changed")),
            "it said result changed (\"said\"), but had not ended 5 s later, and was killed",
        ),
        (
            "fails and goes on",
            format!("{}; sleep 60", result("failed")),
            "plugin fake: said (it had not ended 5 s later, and was killed)",
        ),
        (
            "takes its answer back",
            format!("{}; sleep 0.3; {}; exit 1", result("changed"), result("failed")),
            "plugin fake: said (before that it said result changed (\"said\"))",
        ),
        (
            "answers twice",
            format!("{}; {}", result("changed"), result("unchanged")),
            "it said result changed (\"said\"), and after that line 2 of its output: \"{\\\"type\\\":\\\"result\\\",\\\"outcome\\\":\\\"unchanged",
        ),
        (
            "answers and floods",
            format!("{}; {endless}", result("changed")),
            "more than 10000 lines",
        ),
    ];
    cases.into_iter().for_each(fails);
}

#[test]
fn a_fake_that_plans_twice_is_not_run() {
    let bench = Bench::new();
    let ran = bench.path("ran");
    let plugin = bench.plugin(&json!({}), &format!("touch {}", ran.display()));
    let program = plugin.join("root/bin/fake");
    let plans =
        r#"[ "$IRONWRIGHT_OP" = plan ] && { echo '{"type":"plan","actions":[]}'; sleep 0.2; }"#;
    let cannot = result("failed");
    for (script, expected) in [
        (format!("{plans} && {cannot} && exit"), "plugin fake: said (before that it said plan)"),
        (
            format!("{plans} && echo && exit"),
            "it said plan, and after that line 2 of its output: \"\"",
        ),
    ] {
        fs::write(&program, format!("#!/bin/sh\n{script}\ntouch {}\n", ran.display())).unwrap();
        let (code, value) = bench.run(&plugin, "fake_step");
        assert_eq!(code, Some(1), "{value}");
        assert!(message(&value).contains(expected), "{value}");
    }
    assert!(!ran.exists());
}

#[test]
fn the_end_of_a_fakes_log_is_kept_however_it_ends() {
    let bench = Bench::new();
    // One write, which fits into the pipe: nobody has read it when the fake ends.
    let (words, lines) = (bench.path("words"), (0..600).map(|n| format!("line {n} {:080}\n", 0)));
    fs::write(&words, lines.collect::<String>()).unwrap();
    let log = format!("cat {} >&2", words.display());
    let change = json!({"limits": {"seconds": 60}});
    let plugin = bench.plugin(&change, &format!("{log}; {}", result("changed")));
    let plugin = plugin.display().to_string();
    for _ in 0..5 {
        let output = bench.agent(&["plugin", "run", "fake_step", "--dir", &plugin]);
        assert!(output.status.success(), "{output:?}");
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(log.contains("plugin fake: line 599 0"), "{log}");
    }
}

#[test]
fn a_fake_whose_program_leads_out_of_its_tree_is_not_started() {
    use std::os::unix::fs::symlink;
    let bench = Bench::new();
    let ran = bench.path("ran");
    let plugin = bench.plugin(&json!({}), &format!("touch {}", ran.display()));
    let (program, outside) = (plugin.join("root/bin/fake"), bench.path("fake"));
    fs::rename(&program, &outside).unwrap();
    symlink(&outside, &program).unwrap();
    let (code, value) = bench.run(&plugin, "fake_step");
    assert_eq!(code, Some(1), "{value}");
    let words = format!("leads to {}, which is not below the plugin's tree", outside.display());
    assert!(message(&value).contains(&words), "{value}");
    assert!(!ran.exists());
    // A bundle that root cannot confine would be no better off.
    if !root() {
        let (_, value) = bench.run_bundle(&bench.bundle(&plugin), &[]);
        assert!(message(&value).contains("which is not below the plugin's tree"), "{value}");
    }
    // A link that stays inside is what a busybox is.
    fs::remove_file(&program).unwrap();
    fs::rename(&outside, plugin.join("root/bin/busybox")).unwrap();
    symlink("busybox", &program).unwrap();
    bench.run(&plugin, "fake_step");
    assert!(ran.exists());
}

#[test]
fn a_flood_of_log_is_dropped_and_the_fake_step_still_ends_well() {
    let bench = Bench::new();
    let flood = format!("yes | head -c 3000000 >&2; {}", result("changed"));
    // A busy machine needs its time for so many lines.
    let change = json!({"limits": {"seconds": 60}});
    let plugin = bench.plugin(&change, &flood).display().to_string();
    let output = bench.agent(&["plugin", "run", "fake_step", "--dir", &plugin]);
    assert!(output.status.success());
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(log.contains("has written 262144 bytes of log; the rest is dropped"));
}

#[test]
fn children_of_a_fake_are_killed_with_their_group() {
    let bench = Bench::new();
    let pid = bench.path("pid");
    let script = format!("sleep 60 & echo $! > {}; {}", pid.display(), result("changed"));
    let plugin = bench.plugin(&json!({}), &script);
    assert_eq!(bench.run(&plugin, "fake_step").0, Some(0));
    let pid = fs::read_to_string(pid).unwrap();
    let state = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
}

#[test]
fn an_abortable_fake_is_asked_to_stop_and_its_own_words_are_told() {
    let bench = Bench::new();
    let step = json!({"name": "fake_step", "interface": "deploy", "safety": "read_only", "abortable": true});
    let change = json!({"steps": [step], "limits": {"seconds": 20}});
    let script = r#"echo '{"type":"progress","message":"begun"}'
        read -r second
        echo "{\"type\":\"result\",\"outcome\":\"failed\",\"who\":\"order\",\"message\":\"stopped by $(echo $second | tr -d '\"')\"}""#;
    let plugin = bench.plugin(&change, script);
    let mut agent = Command::new(env!("CARGO_BIN_EXE_ironwright-agent"))
        .args(["plugin", "run", "fake_step", "--json", "--dir"])
        .arg(&plugin)
        .env("TMPDIR", bench.dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(agent.stderr.take().unwrap());
    let mut log = log.lines();
    assert!(log.any(|line| line.unwrap().contains("begun")));
    let pid = nix::unistd::Pid::from_raw(agent.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let (code, value) = object(&agent.wait_with_output().unwrap());
    assert_eq!((code, message(&value)), (Some(1), "plugin fake: stopped by {op:abort}"), "{value}");
}

#[test]
fn a_fake_that_reboots_goes_on_with_what_it_saved() {
    let bench = Bench::new();
    let script = format!(
        r#"case $request in *'"state":{{"slot":2}}'*) {} ;; *) echo '{{"type":"result","outcome":"reboot","state":{{"slot":2}}}}' ;; esac"#,
        result("changed")
    );
    let (code, value) = bench.run(&bench.plugin(&json!({}), &script), "fake_step");
    assert_eq!((code, &value["outcome"]), (Some(0), &json!("changed")), "{value}");
}

#[test]
fn wrong_steps_arguments_and_manifests_are_refused_before_anything_runs() {
    let bench = Bench::new();
    let ran = bench.path("ran");
    let plugin = bench.plugin(&json!({}), &format!("touch {}", ran.display()));
    let (code, value) = bench.run(&plugin, "dance");
    assert_eq!(code, Some(1));
    assert!(message(&value).contains("has no step dance; it has deploy.fake_step"), "{value}");
    let text = plugin.display().to_string();
    let (_, value) = object(&bench.agent(&[
        "plugin",
        "run",
        "fake_step",
        "--json",
        "--dir",
        &text,
        "--args",
        r#"{"x":1}"#,
    ]));
    assert!(message(&value).contains("deploy.fake_step has no argument x"), "{value}");
    bench.plugin(&json!({"protocol": 2}), "");
    let (_, value) = bench.run(&plugin, "fake_step");
    assert!(message(&value).contains("protocol is 2, this agent speaks 1"), "{value}");
    assert!(!ran.exists());
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
