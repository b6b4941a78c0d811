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
        let mut qmp = Self { reader: BufReader::new(stream) };
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
            if answer.get("event").is_some() {
                continue;
            }
            if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            }
            bail!("QEMU refused {command} {arguments}: {}", answer["error"]["desc"]);
        }
    }

    /// Puts the network card before or after the disks, from the machine's next reset on.
    pub(super) fn set_net_first(&mut self, net_first: bool) -> anyhow::Result<()> {
        let (path, index) = ("/machine/peripheral/nic0", net_index(net_first));
        let change = json!({ "path": path, "property": "bootindex", "value": index });
        self.execute("qom-set", &change).map(drop)
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
    fn the_boot_order_is_the_network_cards_boot_index() {
        let (result, asked) = talk("{\"return\":{}}\n", |qmp| qmp.set_net_first(true));
        result.unwrap();
        let last: Value = serde_json::from_str(asked.lines().last().unwrap()).unwrap();
        assert_eq!(last["execute"], "qom-set");
        assert_eq!(
            (&last["arguments"]["property"], &last["arguments"]["value"]),
            (&json!("bootindex"), &json!(1))
        );
    }
}
