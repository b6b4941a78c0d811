//! A simulated ATA disk behind a SCSI translation, as libata answers.

use std::sync::Mutex;
use std::time::Duration;

use super::FakeBlocks;
use crate::erase::device::ata::tests::identify_data;
use crate::sys::command::{CommandError, Data, DeviceCommands, ScsiAnswer, ScsiCommand};

#[derive(Debug)]
pub(in crate::erase) struct FakeAta {
    pub(in crate::erase) blocks: FakeBlocks,
    /// Word 59, without its feature bit 12.
    pub(in crate::erase) sanitize: u16,
    pub(in crate::erase) security: bool,
    pub(in crate::erase) enhanced: bool,
    pub(in crate::erase) state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(in crate::erase) struct State {
    pub(in crate::erase) password: Option<Vec<u8>>,
    pub(in crate::erase) locked: bool,
    pub(in crate::erase) frozen: bool,
    prepared: bool,
    pub(in crate::erase) wrong: u32,
    /// SECURITY ERASE UNIT ends with an error.
    pub(in crate::erase) erase_fails: bool,
    /// Security commands are answered well and dropped, as some adapters do.
    pub(in crate::erase) drops_security: bool,
    /// Sanitize: running, progress, completed, failed.
    pub(in crate::erase) running: Option<u16>,
    pub(in crate::erase) feature: u16,
    pub(in crate::erase) completed: bool,
    pub(in crate::erase) failed: bool,
    pub(in crate::erase) fails_at: Option<u16>,
    /// Commands in the order they came.
    pub(in crate::erase) seen: Vec<u8>,
}

/// Input registers.
struct Registers {
    command: u8,
    feature: u16,
    count: u16,
    lba: u64,
}

impl FakeAta {
    pub(in crate::erase) fn new(blocks: FakeBlocks) -> Self {
        Self { blocks, sanitize: 0, security: false, enhanced: false, state: Mutex::default() }
    }

    /// Power off and on: a password locks the disk, what the firmware froze is open again.
    pub(in crate::erase) fn power_cycle(&self) {
        let mut state = self.state.lock().unwrap();
        state.locked = state.password.is_some();
        state.frozen = false;
        self.blocks.medium().closed = state.locked || state.running.is_some();
    }

    fn identify(&self, state: &State) -> Vec<u8> {
        let flag = |is: bool, bit: u16| u16::from(is) << bit;
        let security = flag(self.security, 0)
            | flag(state.password.is_some(), 1)
            | flag(state.locked, 2)
            | flag(state.frozen, 3)
            | flag(self.enhanced, 5);
        let sanitize = if self.sanitize == 0 { 0 } else { self.sanitize | 1 << 12 };
        identify_data(&[
            (59, sanitize),
            (82, flag(self.security, 1)),
            (83, 0x4000),
            (85, flag(state.password.is_some(), 1)),
            (87, 0x4000),
            (128, security),
        ])
    }

    /// Count and LBA of a command that was done; none: aborted.
    fn perform(&self, state: &mut State, registers: &Registers, data: &[u8]) -> Option<(u16, u64)> {
        let password = || data[2..34].to_vec();
        let prepared = std::mem::take(&mut state.prepared);
        match registers.command {
            0xb4 => return self.sanitize(state, registers),
            0xf1..=0xf6 if !self.security || state.frozen => return None,
            0xf1 if state.drops_security => {}
            0xf1 if state.password.is_none() => state.password = Some(password()),
            0xf2 | 0xf6 if state.password.as_ref() != Some(&password()) => {
                state.wrong += 1;
                return None;
            }
            0xf2 => {
                state.locked = false;
                self.blocks.medium().closed = false;
            }
            0xf6 if !state.locked => state.password = None,
            0xf3 => state.prepared = true,
            0xf4 => {
                assert!(prepared, "ERASE UNIT without ERASE PREPARE");
                let enhanced = data[0] & 2 != 0;
                let right = state.password.as_ref() == Some(&password());
                if !right || enhanced && !self.enhanced || state.erase_fails {
                    return None;
                }
                if enhanced {
                    self.blocks.erase(|_| 0x5a);
                } else {
                    self.blocks.erase(|_| 0);
                }
                state.password = None;
            }
            _ => return None,
        }
        Some((0, 0))
    }

    fn sanitize(&self, state: &mut State, registers: &Registers) -> Option<(u16, u64)> {
        let keys = [(0x11, 0x4372_7970, 13), (0x12, 0x426b_4572, 15), (0x14, 0x4f57_0000_0000, 14)];
        if let Some((_, key, bit)) = keys.iter().find(|(code, ..)| *code == registers.feature) {
            let known = self.sanitize & 1 << bit != 0 && registers.lba == *key;
            if !known || state.running.is_some() {
                return None;
            }
            assert!(registers.count & 0x10 != 0, "a restricted sanitize");
            (state.running, state.completed, state.failed) = (Some(0), false, false);
            state.feature = registers.feature;
            self.blocks.medium().closed = true;
        } else if registers.feature == 0 {
            if registers.count & 1 != 0 && state.failed {
                state.failed = false;
                self.blocks.medium().closed = false;
            }
            if state.failed {
                return None;
            }
        } else {
            return None;
        }
        let count = u16::from(state.completed) << 15 | u16::from(state.running.is_some()) << 14;
        Some((count, u64::from(state.running.unwrap_or(0xffff))))
    }

    pub(in crate::erase) fn tick(&self) {
        let mut state = self.state.lock().unwrap();
        let Some(progress) = state.running else { return };
        let next = progress.saturating_add(0x2000);
        if state.fails_at.is_some_and(|at| next >= at) {
            (state.running, state.failed) = (None, true);
        } else if next == u16::MAX {
            (state.running, state.completed) = (None, true);
            match state.feature {
                0x11 => self.blocks.erase_to_noise(),
                0x12 => self.blocks.erase(|_| 0xff),
                _ => self.blocks.erase(|_| 0),
            }
            self.blocks.medium().closed = false;
        } else {
            state.running = Some(next);
        }
    }
}

/// Sense data with the ATA status return descriptor.
fn sense(error: u8, status: u8, count: u16, lba: u64) -> Vec<u8> {
    let (c, l) = (count.to_be_bytes(), lba.to_le_bytes());
    let mut sense = vec![0x72, if status & 1 != 0 { 0xb } else { 1 }, 0, 0x1d, 0, 0, 0, 14];
    sense.extend([0x09, 12, 1, error, c[0], c[1], l[3], l[0], l[4], l[1], l[5], l[2], 0, status]);
    sense
}

impl DeviceCommands for FakeAta {
    fn scsi(
        &self,
        _: &'static str,
        command: &ScsiCommand<'_>,
        data: Data<'_>,
    ) -> Result<ScsiAnswer, CommandError> {
        let cdb = command.cdb;
        let mut state = self.state.lock().unwrap();
        match (cdb[0], data) {
            (0x12, Data::In(bytes)) => {
                bytes[8..16].copy_from_slice(b"ATA     ");
                Ok(ScsiAnswer { transferred: bytes.len(), ..ScsiAnswer::default() })
            }
            (0x85, data) => {
                let at = |place: usize| u64::from(cdb[place]);
                let registers = Registers {
                    command: cdb[14],
                    feature: u16::from_be_bytes([cdb[3], cdb[4]]),
                    count: u16::from_be_bytes([cdb[5], cdb[6]]),
                    lba: at(8)
                        | at(10) << 8
                        | at(12) << 16
                        | at(7) << 24
                        | at(9) << 32
                        | at(11) << 40,
                };
                state.seen.push(registers.command);
                let mut transferred = data.len();
                let done = match data {
                    Data::In(bytes) if registers.command == 0xec => {
                        bytes.copy_from_slice(&self.identify(&state));
                        Some((0, 0))
                    }
                    Data::In(_) => None,
                    Data::Out(bytes) => self.perform(&mut state, &registers, bytes),
                    Data::None => self.perform(&mut state, &registers, &[]),
                };
                let sense = match done {
                    Some((count, lba)) => sense(0, 0x50, count, lba),
                    None => {
                        transferred = 0;
                        // Reason 1: the last sanitize failed.
                        sense(4, 0x51, 0, u64::from(state.failed))
                    }
                };
                Ok(ScsiAnswer { status: 2, transferred, sense })
            }
            _ => Ok(ScsiAnswer { status: 2, ..ScsiAnswer::default() }),
        }
    }

    fn wait(&self, _: Duration) {
        self.tick();
    }
}
