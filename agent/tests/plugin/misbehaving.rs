//! A fake that does everything wrong, as a process of its own user.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Bench, message, object, result, root};

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
