//! The few words of QMP (QEMU's control socket, one JSON object a line) that a machine needs.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::qemu::net_index;

const TIMEOUT: Duration = Duration::from_secs(10);

/// A negotiated connection.
pub(super) struct Qmp<S = UnixStream> {
    reader: BufReader<S>,
    /// Names of events that came while an answer was awaited.
    events: Vec<String>,
}

impl Qmp {
    pub(super) fn connect(socket: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("connecting to QEMU at {}", socket.display()))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Self::negotiate(stream)
    }
}

impl<S: std::io::Read> Qmp<S>
where
    for<'a> &'a S: Write,
{
    fn negotiate(stream: S) -> anyhow::Result<Self> {
        let mut qmp = Self { reader: BufReader::new(stream), events: Vec::new() };
        qmp.line().context("QEMU's greeting")?;
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Runs one command and returns its result.
    pub(super) fn execute(&mut self, command: &str, arguments: &Value) -> anyhow::Result<Value> {
        let mut request = json!({ "execute": command, "arguments": arguments }).to_string();
        request.push('\n');
        self.reader.get_ref().write_all(request.as_bytes()).context("writing to QEMU")?;
        loop {
            let mut answer = self.line().with_context(|| format!("QEMU's answer to {command}"))?;
            if let Some(event) = answer["event"].as_str() {
                self.events.push(event.to_owned());
            } else if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            } else {
                bail!("QEMU refused {command} {arguments}: {}", answer["error"]["desc"]);
            }
        }
    }

    /// Puts the network card before or after the disks, from the machine's next reset on.
    pub(super) fn set_net_first(&mut self, net_first: bool) -> anyhow::Result<()> {
        let index = net_index(net_first);
        let nic = "/machine/peripheral/nic0";
        if self.execute("qom-get", &json!({ "path": nic, "property": "type" })).is_err() {
            return Ok(()); // a machine without network
        }
        let change = json!({ "path": nic, "property": "bootindex", "value": index });
        let current = self.execute("qom-get", &json!({ "path": nic, "property": "bootindex" }))?;
        if current != index {
            self.execute("qom-set", &change)?;
        }
        Ok(())
    }

    /// Resets the machine and waits until it did.
    pub(super) fn reset(&mut self) -> anyhow::Result<()> {
        self.events.clear();
        self.execute("system_reset", &json!({}))?;
        while !self.events.iter().any(|event| event == "RESET") {
            let line = self.line().context("waiting for QEMU's RESET event")?;
            self.events.extend(line["event"].as_str().map(str::to_owned));
        }
        Ok(())
    }

    fn line(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            bail!("QEMU closed its control socket");
        }
        Ok(serde_json::from_str(&line)?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A QEMU that says `answers` whatever it is asked; returns what it was asked.
    fn talk(
        answers: &'static str,
        with: impl FnOnce(&mut Qmp) -> anyhow::Result<()>,
    ) -> (anyhow::Result<()>, String) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"{\"QMP\":{}}\n{\"return\":{}}\n").unwrap();
        theirs.write_all(answers.as_bytes()).unwrap();
        let mut qmp = Qmp::negotiate(ours).unwrap();
        let result = with(&mut qmp);
        drop(qmp);
        let mut asked = String::new();
        theirs.read_to_string(&mut asked).unwrap();
        (result, asked)
    }

    #[test]
    fn events_between_an_order_and_its_answer_are_not_the_answer() {
        let (result, _) = talk("{\"event\":\"RTC_CHANGE\"}\n{\"return\":1}\n", |qmp| {
            assert_eq!(qmp.execute("x", &json!({}))?, 1);
            Ok(())
        });
        result.unwrap();
    }

    #[test]
    fn a_refusal_carries_qemus_words() {
        let (result, _) = talk("{\"error\":{\"desc\":\"no such thing\"}}\n", |qmp| {
            qmp.execute("x", &json!({})).map(drop)
        });
        assert!(result.unwrap_err().to_string().contains("no such thing"));
    }

    #[test]
    fn a_reset_is_over_when_the_event_came() {
        let answers = "{\"return\":{}}\n{\"event\":\"RESET\"}\n";
        let (result, asked) = talk(answers, Qmp::reset);
        result.unwrap();
        assert!(asked.contains("system_reset"));
    }

    #[test]
    fn the_boot_order_is_changed_only_when_it_differs() {
        for (current, changed) in [("50", true), ("1", false)] {
            let answers = match current {
                "50" => "{\"return\":\"t\"}\n{\"return\":50}\n{\"return\":{}}\n",
                _ => "{\"return\":\"t\"}\n{\"return\":1}\n",
            };
            let (result, asked) = talk(answers, |qmp| qmp.set_net_first(true));
            result.unwrap();
            assert_eq!(asked.contains("qom-set"), changed, "{asked}");
        }
    }
}
