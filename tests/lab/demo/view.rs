//! What a person sees of a deploy: state changes, a bar, the proof, where the time went.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use ironwright_api::{Progress, Timing};
use jiff::Timestamp;
use serde_json::Value;

use crate::api::{Node, NodeProgress};

/// Without a terminal a line of progress is printed at most this often.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Prints one line of the story.
pub(super) fn say(text: &str) {
    // A reader that went away (`| head`) does not stop the deploy.
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

/// The picture so far.
#[derive(Debug)]
pub(super) struct View {
    state: String,
    step: String,
    bar: Option<ProgressBar>,
    last_line: Instant,
    terminal: bool,
    /// Named moments of the last boot of the ramdisk.
    moments: BTreeMap<String, Timestamp>,
    timing: Option<Timing>,
}

impl View {
    pub(super) fn new() -> Self {
        Self {
            state: String::new(),
            step: String::new(),
            bar: None,
            last_line: Instant::now(),
            terminal: std::io::stdout().is_terminal(),
            moments: BTreeMap::new(),
            timing: None,
        }
    }

    /// Shows what changed since the last call.
    pub(super) fn update(&mut self, node: &Node, now: &NodeProgress) {
        let state = describe(node, now);
        if state != self.state {
            self.clear();
            say(&format!("    {state}"));
            self.state = state;
        }
        if !now.moments.is_empty() {
            self.moments.clone_from(&now.moments);
        }
        if now.timing.is_some() {
            self.timing.clone_from(&now.timing);
        }
        if let Some(progress) = &now.progress {
            self.progress(progress);
        }
    }

    /// Takes the bar off the screen.
    pub(super) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Shows the proofs of the finished work, one a line.
    pub(super) fn evidence(&mut self, answer: &Value) {
        self.clear();
        let list = answer.get("evidence").unwrap_or(answer);
        for proof in list.as_array().into_iter().flatten() {
            say(&format!("    proof: {proof}"));
        }
    }

    /// Shows where the time of a deploy went: by the coordinator's moments of the ramdisk's boot, the machine's own clock,
    /// and ours.
    pub(super) fn timing(&self, ordered: Timestamp, written: Duration, total: Duration) {
        say("    where the time went:");
        for (name, seconds) in split(ordered, &self.moments, written, total) {
            say(&format!("      {seconds:6.1} s  {name}"));
        }
        let seconds = total.as_secs_f64();
        say(&format!("      {seconds:6.1} s  from the order to the deployed system's own words"));
        if let Some(timing) = &self.timing {
            say(&format!("    {}", uptime(timing)));
        }
    }

    fn progress(&mut self, progress: &Progress) {
        if progress.step.is_empty() {
            return;
        }
        if progress.step != self.step {
            self.clear();
            say(&format!("      {}", progress.step));
            self.step.clone_from(&progress.step);
        }
        match progress.total.filter(|total| *total > 0) {
            Some(total) if self.terminal => self.draw(progress, total),
            Some(total) if self.last_line.elapsed() >= LINE_EVERY => {
                say(&format!("      {}", line(progress, total)));
                self.last_line = Instant::now();
            }
            _ => {}
        }
    }

    fn draw(&mut self, progress: &Progress, total: u64) {
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(total);
            if let Ok(style) = ProgressStyle::with_template("      {bar:32} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        bar.set_length(total);
        bar.set_message(line(progress, total));
        bar.set_position(progress.bytes.min(total));
    }
}

fn describe(node: &Node, now: &NodeProgress) -> String {
    let mut text = node.provision_state.clone();
    if let Some(target) = &node.target_provision_state {
        text.push_str(&format!(" -> {target}"));
    }
    if let Some(phase) = &now.phase {
        text.push_str(&format!(" ({})", phase.replace('_', " ")));
    }
    text
}

/// Bytes, rate and time left, by the agent's own figures.
fn line(progress: &Progress, total: u64) -> String {
    let percent = u128::from(progress.bytes.min(total)) * 100 / u128::from(total.max(1));
    let eta = progress.eta_s.map_or_else(String::new, |left| format!(", {left} s left"));
    format!("{percent} % of {}, {}/s{eta}", bytes(total), bytes(progress.rate))
}

fn bytes(count: u64) -> String {
    if count >= 10_000_000 {
        return format!("{} MB", count / 1_000_000);
    }
    format!("{} kB", count / 1000)
}

/// The stages between the moments that are known, and their seconds.
fn split(
    ordered: Timestamp,
    moments: &BTreeMap<String, Timestamp>,
    written: Duration,
    total: Duration,
) -> Vec<(&'static str, f64)> {
    let stages = [
        ("power_on", "order to power on (BMC)"),
        ("script", "firmware and DHCP, to the boot script"),
        ("ramdisk", "iPXE, until it asks for the ramdisk"),
        ("lookup", "ramdisk transfer, kernel, supervisor, network"),
        ("heartbeat", "agent: inventory, first heartbeat"),
    ];
    let (mut rows, mut last) = (Vec::new(), 0.0);
    for (moment, name) in stages {
        // An older moment is of the boot before (cleaning).
        if let Some(at) = moments.get(moment).filter(|at| **at >= ordered) {
            let seconds = at.duration_since(ordered).as_secs_f64();
            rows.push((name, seconds - last));
            last = seconds;
        }
    }
    rows.push(("agent: image, config drive, proof", written.as_secs_f64() - last));
    rows.push(("power cycle, boot of the deployed system", (total - written).as_secs_f64()));
    rows
}

/// The ramdisk's stages in seconds of its kernel's uptime.
fn uptime(timing: &Timing) -> String {
    let seconds = |ms: u64| Duration::from_millis(ms).as_secs_f64();
    format!(
        "by the machine's own clock, seconds after its kernel began: init {:.1}, modules {:.1}, network {:.1}, agent {:.1}, first heartbeat {:.1}; {} of memory",
        seconds(timing.init_ms),
        seconds(timing.modules_ms),
        seconds(timing.network_ms),
        seconds(timing.agent_ms),
        seconds(timing.heartbeat_ms),
        bytes(timing.memory_total),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_has_bytes_rate_and_time_left() {
        let progress =
            Progress { bytes: 50_000_000, rate: 25_000_000, eta_s: Some(2), ..Progress::default() };
        assert_eq!(line(&progress, 100_000_000), "50 % of 100 MB, 25 MB/s, 2 s left");
        let done = Progress { bytes: 9, rate: 1, ..Progress::default() };
        assert_eq!(line(&done, 3), "100 % of 0 kB, 0 kB/s");
    }

    #[test]
    fn the_stages_add_up_to_the_whole_and_leave_out_an_older_boot() {
        let ordered: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let at = |second: i64| ordered + jiff::SignedDuration::from_secs(second);
        let moments = BTreeMap::from([
            ("power_on".to_owned(), at(1)),
            ("script".to_owned(), at(7)),
            ("lookup".to_owned(), at(-9)),
            ("heartbeat".to_owned(), at(15)),
        ]);
        let rows = split(ordered, &moments, Duration::from_secs(25), Duration::from_secs(40));
        let seconds: Vec<_> = rows.iter().map(|(_, seconds)| *seconds).collect();
        assert_eq!(seconds, [1.0, 6.0, 8.0, 10.0, 15.0]);
    }

    #[test]
    fn a_state_is_told_with_its_target_and_phase() {
        let node: Node = serde_json::from_value(serde_json::json!({
            "uuid": uuid::Uuid::nil(),
            "provision_state": "wait call-back",
            "target_provision_state": "active",
        }))
        .unwrap();
        let now = NodeProgress { phase: Some("await_agent".into()), ..NodeProgress::default() };
        assert_eq!(describe(&node, &now), "wait call-back -> active (await agent)");
    }
}
