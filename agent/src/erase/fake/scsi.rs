//! A simulated SAS disk.

use std::sync::Mutex;
use std::time::Duration;

use super::FakeBlocks;
use crate::sys::command::{CommandError, Data, DeviceCommands, ScsiAnswer, ScsiCommand};

#[derive(Debug)]
pub(in crate::erase) struct FakeScsi {
    pub(in crate::erase) blocks: FakeBlocks,
    /// Service actions of SANITIZE that it knows.
    pub(in crate::erase) sanitize: Vec<u8>,
    pub(in crate::erase) state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(in crate::erase) struct State {
    pub(in crate::erase) running: Option<(u8, u16)>,
    pub(in crate::erase) failed: bool,
    pub(in crate::erase) fails_at: Option<u16>,
}

impl FakeScsi {
    pub(in crate::erase) fn new(blocks: FakeBlocks, sanitize: &[u8]) -> Self {
        Self { blocks, sanitize: sanitize.to_vec(), state: Mutex::default() }
    }

    pub(in crate::erase) fn tick(&self) {
        let mut state = self.state.lock().unwrap();
        let Some((action, progress)) = state.running else { return };
        let next = progress.saturating_add(0x1800);
        if state.fails_at.is_some_and(|at| next >= at) {
            (state.running, state.failed) = (None, true);
        } else if next == u16::MAX {
            state.running = None;
            if action == 3 {
                self.blocks.erase_to_noise();
            } else {
                self.blocks.erase(|_| 0);
            }
            self.blocks.medium().closed = false;
        } else {
            state.running = Some((action, next));
        }
    }

    /// Fixed format: key, code, progress.
    fn sense(key: u8, code: u16, progress: Option<u16>) -> Vec<u8> {
        let mut sense = vec![0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0];
        sense.extend(code.to_be_bytes());
        sense.push(0);
        sense.push(if progress.is_some() { 0x80 } else { 0 });
        sense.extend(progress.unwrap_or(0).to_be_bytes());
        sense
    }

    fn pending(state: &State) -> Option<Vec<u8>> {
        match state.running {
            Some((_, progress)) => Some(Self::sense(2, 0x041b, Some(progress))),
            None if state.failed => Some(Self::sense(3, 0x3103, None)),
            None => None,
        }
    }
}

impl DeviceCommands for FakeScsi {
    fn scsi(
        &self,
        _: &'static str,
        command: &ScsiCommand<'_>,
        data: Data<'_>,
    ) -> Result<ScsiAnswer, CommandError> {
        let cdb = command.cdb;
        let mut state = self.state.lock().unwrap();
        let good = |transferred| ScsiAnswer { transferred, ..ScsiAnswer::default() };
        let refuse = |sense| Ok(ScsiAnswer { status: 2, transferred: 0, sense });
        let unknown = || refuse(Self::sense(5, 0x2000, None));
        match (cdb[0], data) {
            (0x12, Data::In(bytes)) if cdb[1] == 0 => {
                bytes[8..16].copy_from_slice(b"FAKE    ");
                Ok(good(36))
            }
            (0x03, Data::In(bytes)) => {
                let sense = Self::pending(&state).unwrap_or_else(|| Self::sense(0, 0, None));
                bytes[..sense.len()].copy_from_slice(&sense);
                Ok(good(sense.len()))
            }
            (0x48, data) => {
                let action = cdb[1] & 0x1f;
                if action == 0x1f {
                    state.failed = false;
                    self.blocks.medium().closed = false;
                    return Ok(good(0));
                }
                if state.running.is_some() || !self.sanitize.contains(&action) {
                    return unknown();
                }
                assert!(cdb[1] & 0xa0 == 0xa0, "not immediate, or restricted");
                if action == 1 {
                    let Data::Out(bytes) = data else { return unknown() };
                    assert_eq!(bytes, [1, 0, 0, 4, 0, 0, 0, 0]);
                }
                state.running = Some((action, 0));
                self.blocks.medium().closed = true;
                Ok(good(0))
            }
            // Most questions are refused while a sanitize runs.
            _ if state.running.is_some() => refuse(Self::pending(&state).unwrap_or_default()),
            (0xa3, Data::In(bytes)) => {
                let known = cdb[3] == 0x48 && self.sanitize.contains(&cdb[5]);
                bytes[1] = if known { 3 } else { 1 };
                Ok(good(20))
            }
            _ => unknown(),
        }
    }

    fn wait(&self, _: Duration) {
        self.tick();
    }
}
