//! PID 1. Mounts what every program needs, keeps the helpers and the agent running, reaps everything else, never ends.
//!
//! A panic here is a kernel panic. So: no parsing of anything from outside, no indexing, no arithmetic that can overflow;
//! an error is said on the console and life goes on.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::wait::{WaitStatus, waitpid};

use super::child::Service;
use super::console::{complain, say, uptime_ms};
use super::record::{self, Boot};
use super::{HARDWARE, NETWORK, RESCUE_OPEN, RUN};

/// The agent is started without an address after this long: it may reach the coordinator over IPv6, and says on the
/// console what is missing.
const NETWORK_PATIENCE: Duration = Duration::from_secs(60);

/// After a kernel panic the machine restarts in this many seconds, so that a broken boot does not hang for ever.
const PANIC_RESTART_S: &str = "30";

/// How often to look for children when there are none.
const NO_CHILDREN: Duration = Duration::from_millis(200);

/// The SSH server of a rescue system: in the foreground, its log on standard error, host keys made when they are needed, no
/// message of the day, no forwarding.
const SSH_SERVER: &str = "/sbin/dropbear";
const SSH_SERVER_ARGS: [&str; 8] = ["-F", "-E", "-R", "-m", "-j", "-k", "-P", "/run/dropbear.pid"];

/// What PID 1 waits for.
#[derive(Debug)]
pub(super) enum Event {
    /// The helper of this name did its first work.
    Ready(&'static str),
    /// A process ended: its pid and how.
    Ended(u32, String),
}

/// Runs the machine.
pub(super) fn run() -> ! {
    mount_all();
    let boot = Boot {
        boot_id: kernel_boot_id(),
        init_ms: uptime_ms(),
        modules_ms: None,
        network_ms: None,
    };
    say(&format!("phase: modules and network, boot {}", boot.boot_id));
    complain("kernel.panic", fs::write("/proc/sys/kernel/panic", PANIC_RESTART_S));
    let (events, queue) = channel();
    let reaper = events.clone();
    complain("cannot reap", thread::Builder::new().spawn(move || reap(&reaper)));
    Machine::new(boot).keep(&events, &queue)
}

/// The services of one machine.
#[derive(Debug)]
struct Machine {
    boot: Boot,
    hardware: Service,
    network: Service,
    agent: Service,
    /// Of a rescue system; held until the agent has let somebody in.
    ssh: Service,
    patience: Instant,
}

impl Machine {
    fn new(boot: Boot) -> Self {
        // The kernel kills the largest process first when memory runs out, and PID 1 never. The helpers are small and
        // vital; the agent comes after everything it starts that does not inherit this.
        let mut hardware = Service::new("the module loader", "/init", &[HARDWARE], -900);
        let mut network = Service::new("the network", "/init", &[NETWORK], -900);
        hardware.release();
        network.release();
        let agent = Service::new("the agent", "/bin/ironwright-agent", &["run"], -500);
        let ssh = Service::new("the SSH server", SSH_SERVER, &SSH_SERVER_ARGS, 0);
        Self { boot, hardware, network, agent, ssh, patience: Instant::now() + NETWORK_PATIENCE }
    }

    fn keep(mut self, events: &Sender<Event>, queue: &Receiver<Event>) -> ! {
        loop {
            self.release_agent();
            if self.ssh.held() && Path::new(RESCUE_OPEN).exists() {
                self.ssh.release();
                say("rescue: starting the SSH server");
            }
            for service in self.services() {
                if let Some(report) = service.start_if_due(events) {
                    mourn(&report);
                }
            }
            match queue.recv_timeout(self.rest()) {
                Ok(Event::Ready(name)) => self.ready(name),
                Ok(Event::Ended(pid, how)) => self.ended(pid, &how),
                Err(RecvTimeoutError::Timeout) => {}
                // Cannot happen while `events` lives; must not become a busy loop if it does.
                Err(RecvTimeoutError::Disconnected) => thread::sleep(NO_CHILDREN),
            }
        }
    }

    fn services(&mut self) -> [&mut Service; 4] {
        [&mut self.hardware, &mut self.network, &mut self.agent, &mut self.ssh]
    }

    /// How long nothing can be due.
    fn rest(&self) -> Duration {
        let patience = self.agent.held().then_some(self.patience);
        let services = [&self.hardware, &self.network, &self.agent, &self.ssh];
        let due = services.map(Service::due).into_iter().chain([patience]);
        let now = Instant::now();
        let next = due.flatten().map(|at| at.saturating_duration_since(now)).min();
        // Late by at most a second, whatever happens.
        next.unwrap_or_default().clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    fn ready(&mut self, name: &'static str) {
        let now = uptime_ms();
        if name == self.hardware.name {
            self.boot.modules_ms.get_or_insert(now);
        } else if name == self.network.name {
            self.boot.network_ms.get_or_insert(now);
        }
        complain("boot.json", record::write_boot(Path::new(RUN), &self.boot));
    }

    fn ended(&mut self, pid: u32, how: &str) {
        for service in self.services() {
            if let Some(report) = service.ended(pid, how) {
                mourn(&report);
            }
        }
    }

    fn release_agent(&mut self) {
        let complete = self.boot.modules_ms.is_some() && self.boot.network_ms.is_some();
        if !complete && Instant::now() < self.patience {
            return;
        }
        if self.agent.release() {
            if !complete {
                say("no address yet; starting the agent without");
            }
            complain("boot.json", record::write_boot(Path::new(RUN), &self.boot));
            let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
            let (free, all) = (kib(&meminfo, "MemAvailable:"), kib(&meminfo, "MemTotal:"));
            say(&format!("phase: agent; {free} of {all} KiB of memory are free"));
        }
    }
}

/// A figure of `/proc/meminfo`, KiB; 0 where it is not there.
fn kib(meminfo: &str, name: &str) -> u64 {
    let value = meminfo.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}

/// Tells why a program died: on the console, and to its successor.
fn mourn(report: &str) {
    let headline = report.lines().next().unwrap_or_default();
    // The last words were on the console when they were spoken.
    say(headline.trim_end_matches("; its last words:"));
    complain("last-death", record::write(Path::new(RUN), "last-death", &format!("{report}\n")));
}

/// Waits for every process that has no other parent left.
fn reap(events: &Sender<Event>) {
    loop {
        let (pid, how) = match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, format!("exited with status {code}")),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, format!("was killed by {signal}")),
            Err(Errno::ECHILD) => {
                thread::sleep(NO_CHILDREN);
                continue;
            }
            Ok(_) | Err(_) => continue,
        };
        let pid = u32::try_from(pid.as_raw()).unwrap_or_default();
        events.send(Event::Ended(pid, how)).ok();
    }
}

fn kernel_boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

fn mount_all() {
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let devices = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    for (kind, target, flags, options) in [
        ("proc", "/proc", safe, ""),
        ("sysfs", "/sys", safe, ""),
        ("devtmpfs", "/dev", devices, "mode=0755"),
        ("tmpfs", "/run", safe, "mode=0755,size=25%"),
    ] {
        complain(target, fs::DirBuilder::new().recursive(true).create(target));
        let mounted = mount(Some(kind), target, Some(kind), flags, Some(options));
        complain(&format!("cannot mount {target}"), mounted);
    }
    let private = fs::DirBuilder::new().mode(0o700).create(RUN);
    complain(RUN, private);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        let boot = Boot { boot_id: String::new(), init_ms: 1, modules_ms: None, network_ms: None };
        Machine::new(boot)
    }

    #[test]
    fn the_agent_waits_for_modules_and_network() {
        let mut machine = machine();
        machine.release_agent();
        assert!(machine.agent.due().is_none());
        machine.boot.modules_ms = Some(2);
        machine.release_agent();
        assert!(machine.agent.due().is_none(), "no network yet");
    }

    #[test]
    fn memory_is_read_in_kib() {
        let meminfo = "MemTotal:         433188 kB\nMemFree: 1 kB\nMemAvailable:     301204 kB\n";
        assert_eq!(kib(meminfo, "MemAvailable:"), 301_204);
        assert_eq!(kib("", "MemAvailable:"), 0);
    }

    #[test]
    fn pid_1_rests_until_something_is_due_and_never_longer_than_a_second() {
        let machine = machine();
        assert_eq!(machine.rest(), Duration::from_millis(10), "helpers are due at once");
        let mut idle = machine;
        idle.hardware = Service::new("h", "/x", &[], 0);
        idle.network = Service::new("n", "/x", &[], 0);
        assert_eq!(idle.rest(), Duration::from_secs(1));
        idle.patience = Instant::now();
        assert_eq!(idle.rest(), Duration::from_millis(10), "the agent must be released");
    }
}
