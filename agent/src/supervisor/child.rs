//! One program that PID 1 keeps running, and what is known about its last death.

use std::collections::VecDeque;
use std::io::{self, Read, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::console::complain;
use super::init::Event;

/// The line by which a helper tells PID 1 that its first work is done.
pub(super) const READY: &str = "ready";

/// Bytes of a program's last output that are kept for the report of its death.
const TAIL_BYTES: usize = 4096;

/// Pause before the first restart; doubled each time up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// A program that lived this long has recovered: its next death is a first one.
const HEALTHY: Duration = Duration::from_secs(60);

/// How long to wait before the next start.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: MIN_PAUSE }
    }

    /// The pause after a program died that had lived for `lived`.
    pub(super) fn after(&mut self, lived: Duration) -> Duration {
        if lived >= HEALTHY {
            self.next = MIN_PAUSE;
        }
        let pause = self.next;
        self.next = (self.next * 2).min(MAX_PAUSE);
        pause
    }
}

/// The last bytes a program wrote to its standard error.
#[derive(Debug, Clone, Default)]
pub(super) struct Tail(Arc<Mutex<VecDeque<u8>>>);

impl Tail {
    pub(super) fn push(&self, bytes: &[u8]) {
        let mut tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend(bytes);
        let over = tail.len().saturating_sub(TAIL_BYTES);
        tail.drain(..over);
    }

    /// Empties it.
    pub(super) fn take(&self) -> String {
        let mut tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = tail.drain(..).collect();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

/// A program to keep running.
#[derive(Debug)]
pub(super) struct Service {
    /// How people call it.
    pub(super) name: &'static str,
    program: &'static str,
    args: &'static [&'static str],
    /// `oom_score_adj`: -1000 (never killed) to 1000. The agent's and the helpers' children inherit it.
    oom_score: i32,
    backoff: Backoff,
    tail: Tail,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Not to be started yet.
    Held,
    /// Start at this time.
    Due(Instant),
    /// Running since then.
    Running { pid: u32, since: Instant },
}

impl Service {
    pub(super) fn new(
        name: &'static str,
        program: &'static str,
        args: &'static [&'static str],
        oom_score: i32,
    ) -> Self {
        let (backoff, tail) = (Backoff::new(), Tail::default());
        Self { name, program, args, oom_score, backoff, tail, state: State::Held }
    }

    /// Starts it with the next [`Service::start_if_due`], unless it was released before. Whether it is new.
    pub(super) fn release(&mut self) -> bool {
        let held = self.held();
        if held {
            self.state = State::Due(Instant::now());
        }
        held
    }

    /// Whether it was never released.
    pub(super) fn held(&self) -> bool {
        matches!(self.state, State::Held)
    }

    /// When it wants to be started.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Due(at) => Some(at),
            State::Held | State::Running { .. } => None,
        }
    }

    /// Starts it if its time has come. A start that fails counts as a death; its reason is returned.
    pub(super) fn start_if_due(&mut self, events: &Sender<Event>) -> Option<String> {
        if self.due().is_none_or(|at| at > Instant::now()) {
            return None;
        }
        let started = self.spawn();
        match started {
            Ok(mut child) => {
                let pid = child.id();
                self.watch(&mut child, events);
                let score = format!("/proc/{pid}/oom_score_adj");
                // A program that is dead already is reported elsewhere.
                std::fs::write(score, self.oom_score.to_string()).ok();
                self.state = State::Running { pid, since: Instant::now() };
                None
            }
            Err(error) => {
                Some(self.died(Duration::ZERO, &format!("could not be started: {error}")))
            }
        }
    }

    /// Tells it that process `pid` ended so. Where that is its process, the report of the death is returned.
    pub(super) fn ended(&mut self, pid: u32, how: &str) -> Option<String> {
        match self.state {
            State::Running { pid: own, since } if own == pid => {
                Some(self.died(since.elapsed(), how))
            }
            State::Running { .. } | State::Held | State::Due(_) => None,
        }
    }

    fn died(&mut self, lived: Duration, how: &str) -> String {
        let pause = self.backoff.after(lived);
        self.state = State::Due(Instant::now() + pause);
        let seconds = lived.as_secs_f32();
        let mut report = format!(
            "{} {how} after {seconds:.1} s; starting it again in {} s",
            self.name,
            pause.as_secs()
        );
        let last_words = self.tail.take();
        if !last_words.is_empty() {
            report = format!("{report}; its last words:\n{last_words}");
        }
        report
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "PID 1 starts its children; sys::tool is for tools"
    )]
    fn spawn(&self) -> io::Result<Child> {
        Command::new(self.program)
            .args(self.args)
            .env_clear()
            .env("PATH", "/bin:/sbin")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }

    /// Passes what the program writes on to the console, and keeps the end of it.
    fn watch(&self, child: &mut Child, events: &Sender<Event>) {
        if let Some(stderr) = child.stderr.take() {
            let tail = self.tail.clone();
            let copy = move || {
                copy(stderr, |bytes| {
                    tail.push(bytes);
                    // A console that does not listen must not stop the program.
                    io::stderr().lock().write_all(bytes).ok();
                });
            };
            complain("cannot watch a program", thread::Builder::new().spawn(copy));
        }
        if let Some(stdout) = child.stdout.take() {
            let (name, events) = (self.name, events.clone());
            let copy = move || {
                copy(stdout, |bytes| {
                    if bytes.trim_ascii() == READY.as_bytes() {
                        events.send(Event::Ready(name)).ok();
                    } else {
                        io::stderr().lock().write_all(bytes).ok();
                    }
                });
            };
            complain("cannot watch a program", thread::Builder::new().spawn(copy));
        }
    }
}

fn copy(mut from: impl Read, mut each: impl FnMut(&[u8])) {
    let mut buffer = [0; 4096];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(bytes) => each(buffer.get(..bytes).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_from_one_second_to_ten_and_a_long_life_resets_it() {
        let mut backoff = Backoff::new();
        let mut after = |lived| backoff.after(Duration::from_secs(lived)).as_secs();
        assert_eq!(
            [after(0), after(0), after(5), after(0), after(0), after(0)],
            [1, 2, 4, 8, 10, 10]
        );
        assert_eq!([after(60), after(0)], [1, 2]);
    }

    #[test]
    fn only_the_end_of_a_programs_output_is_kept() {
        let tail = Tail::default();
        for n in 0..10_000 {
            tail.push(format!("line {n}\n").as_bytes());
        }
        let text = tail.take();
        assert!(text.len() <= TAIL_BYTES && text.ends_with("line 9999"), "{}", text.len());
        assert_eq!(tail.take(), "");
    }

    #[test]
    fn a_death_is_reported_with_the_last_words_and_leads_to_a_restart() {
        let mut service = Service::new("the agent", "/nowhere", &["run"], 0);
        assert_eq!(service.due(), None, "held back until released");
        assert!(service.release());
        assert!(!service.release(), "released once");
        service.state = State::Running { pid: 77, since: Instant::now() };
        service.tail.push(b"panicked at x\n");
        assert_eq!(service.ended(78, "exited with 1"), None);
        let report = service.ended(77, "exited with 1").unwrap();
        assert!(report.starts_with("the agent exited with 1 after 0."), "{report}");
        assert!(report.ends_with("panicked at x"), "{report}");
        assert!(service.due().is_some());
    }

    #[test]
    fn a_program_that_cannot_be_started_is_tried_again_later() {
        let (events, _queue) = std::sync::mpsc::channel();
        let mut service = Service::new("the agent", "/nowhere/ironwright", &["run"], 0);
        service.release();
        let report = service.start_if_due(&events).unwrap();
        assert!(report.contains("could not be started"), "{report}");
        assert!(service.due().is_some_and(|at| at > Instant::now()));
        assert_eq!(service.start_if_due(&events), None, "not before its time");
    }
}
