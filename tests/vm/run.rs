//! A run leaves nothing behind, however it ends.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use lab::host::{Program, Service};
use lab::inside;

/// Starts a run (inside this one) whose command leaves a process in the background; `mark` names both.
fn start(mark: u32) -> Service {
    let lab = inside::lab_binary().unwrap();
    let script = format!("sleep {mark} & sleep {mark}");
    let command: Vec<OsString> = ["sh", "-c", &script].map(OsString::from).into();
    let run = inside::program(lab.as_os_str(), &command, &[]).unwrap().attached().unwrap();
    wait_for(mark, 2);
    run
}

/// Waits until `count` processes `sleep MARK` live.
fn wait_for(mark: u32, count: usize) {
    let end = Instant::now() + Duration::from_secs(10);
    while living(mark) != count {
        assert!(Instant::now() < end, "{} of {count} processes live", living(mark));
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn living(mark: u32) -> usize {
    let wanted = format!("sleep\0{mark}\0");
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|entry| {
            std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == wanted.as_bytes())
        })
        .count()
}

#[test]
#[ignore = "needs namespaces: cargo lab test"]
fn a_run_ends_with_its_owner() {
    let run = start(86_401);
    drop(run);
    wait_for(86_401, 0);
}

#[test]
#[ignore = "needs namespaces: cargo lab test"]
fn a_run_ends_when_its_owner_is_killed_and_cannot_clean_up() {
    let run = start(86_402);
    // The pipe closes and nobody waits: as when the owner got SIGKILL. `unshare` itself is killed, not asked.
    Program::new("kill").args(["-9", &run.pid().to_string()]).text().unwrap();
    wait_for(86_402, 0);
}

#[test]
#[ignore = "needs namespaces: cargo lab test"]
fn the_exit_code_of_the_command_is_the_exit_code_of_the_run() {
    let lab = inside::lab_binary().unwrap();
    for (script, code) in [("exit 3", 3), ("kill -9 $$", 137)] {
        let command: Vec<OsString> = ["sh", "-c", script].map(OsString::from).into();
        let mut run = inside::program(lab.as_os_str(), &command, &[]).unwrap().attached().unwrap();
        assert_eq!(run.join().unwrap().code(), Some(code));
    }
}

#[test]
#[ignore = "needs namespaces: cargo lab test"]
fn a_run_sees_only_its_own_network() {
    let links = Program::new("ip").args(["-o", "link"]).text().unwrap();
    let names: Vec<_> = links.lines().filter_map(|line| line.split(": ").nth(1)).collect();
    assert_eq!(names, ["lo"]);
}
