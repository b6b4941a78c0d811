//! A simulated NVMe controller with one namespace.

use std::sync::Mutex;
use std::time::Duration;

use super::FakeBlocks;
use crate::sys::command::{
    CommandError, Data, DeviceCommands, NvmeCommand, ScsiAnswer, ScsiCommand,
};

/// Its state; the sanitize part survives a power cut.
#[derive(Debug)]
pub(in crate::erase) struct FakeNvme {
    pub(in crate::erase) blocks: FakeBlocks,
    pub(in crate::erase) sanicap: u32,
    pub(in crate::erase) oacs: u16,
    pub(in crate::erase) fna: u8,
    pub(in crate::erase) dlfeat: u8,
    pub(in crate::erase) namespaces: Vec<u32>,
    pub(in crate::erase) state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(in crate::erase) struct State {
    /// SSTAT 2:0.
    pub(in crate::erase) sstat: u8,
    pub(in crate::erase) sprog: u32,
    pub(in crate::erase) action: u32,
    /// Fails when it has come this far, 65536ths.
    pub(in crate::erase) fails_at: Option<u32>,
    /// From this progress on it is away for so many looks: a reset in the middle.
    pub(in crate::erase) reset: Option<(u32, u32)>,
    /// A failed sanitize cannot be left.
    pub(in crate::erase) restricted: bool,
    /// Every command that came in: opcode and dword 10.
    pub(in crate::erase) seen: Vec<(u8, u32)>,
}

impl FakeNvme {
    pub(in crate::erase) fn new(blocks: FakeBlocks) -> Self {
        Self {
            blocks,
            sanicap: 0,
            oacs: 0,
            fna: 0,
            dlfeat: 1,
            namespaces: vec![1],
            state: Mutex::default(),
        }
    }

    fn finish(&self, action: u32) {
        match action {
            4 => self.blocks.erase_to_noise(),
            _ => self.blocks.erase(|_| 0),
        }
        self.blocks.medium().closed = false;
    }

    /// Time passes: the sanitize goes on.
    pub(in crate::erase) fn tick(&self) {
        let mut state = self.state.lock().unwrap();
        if state.sstat != 2 {
            return;
        }
        if state.fails_at.is_some_and(|at| state.sprog >= at) {
            state.sstat = 3;
            return;
        }
        state.sprog = (state.sprog + 0x2000).min(state.fails_at.unwrap_or(u32::MAX));
        if state.sprog > 0xffff {
            state.sprog = 0xffff;
            state.sstat = 1;
            self.finish(state.action);
        }
    }

    fn error<T>(&self, status: u16) -> Result<T, CommandError> {
        Err(CommandError::Nvme { command: "fake", status })
    }

    fn identify(&self, nsid: u32, cns: u32, page: &mut [u8]) -> Result<u32, CommandError> {
        match cns {
            0x00 if nsid == 1 => page[33] = self.dlfeat,
            0x01 => {
                page[256..258].copy_from_slice(&self.oacs.to_le_bytes());
                page[520] = 8;
                page[524] = self.fna;
                page[328..332].copy_from_slice(&self.sanicap.to_le_bytes());
            }
            0x02 => {
                for (place, nsid) in self.namespaces.iter().enumerate() {
                    page[place * 4..place * 4 + 4].copy_from_slice(&nsid.to_le_bytes());
                }
            }
            _ => return self.error(0x00b),
        }
        Ok(0)
    }

    fn log(&self, page: &mut [u8]) -> Result<u32, CommandError> {
        let mut state = self.state.lock().unwrap();
        if let Some((from, left)) = state.reset
            && state.sprog >= from
            && left > 0
        {
            state.reset = Some((from, left - 1));
            let source = std::io::Error::from_raw_os_error(nix::libc::ENODEV);
            return Err(CommandError::Transport { command: "fake", source });
        }
        page.fill(0xff);
        page[..2].copy_from_slice(&u16::try_from(state.sprog.min(0xffff)).unwrap().to_le_bytes());
        page[2..4].copy_from_slice(&[state.sstat, 0]);
        page[4..8].copy_from_slice(&state.action.to_le_bytes());
        Ok(0)
    }

    fn sanitize(&self, dword: u32) -> Result<u32, CommandError> {
        let mut state = self.state.lock().unwrap();
        let action = dword & 0x7;
        match action {
            1 if state.sstat == 3 && !state.restricted => {
                state.sstat = 0;
                self.blocks.medium().closed = false;
            }
            1 => return self.error(0x01c),
            _ if state.sstat == 2 => return self.error(0x01d),
            2..=4 => {
                let bit = [0, 0, 2, 4, 1][action as usize];
                if self.sanicap & bit == 0 {
                    return self.error(0x002);
                }
                assert!(action != 3 || dword >> 4 & 0xf == 1, "sixteen passes");
                assert!(dword & 8 != 0, "a restricted sanitize");
                (state.sstat, state.sprog, state.action) = (2, 0, action);
                self.blocks.medium().closed = true;
            }
            _ => return self.error(0x002),
        }
        Ok(0)
    }
}

impl DeviceCommands for FakeNvme {
    fn nvme_namespace(&self) -> Result<u32, CommandError> {
        Ok(1)
    }

    fn nvme_admin(
        &self,
        _: &'static str,
        command: &NvmeCommand,
        data: Data<'_>,
    ) -> Result<u32, CommandError> {
        let dword = command.cdw[0];
        self.state.lock().unwrap().seen.push((command.opcode, dword));
        match (command.opcode, data) {
            (0x06, Data::In(page)) => self.identify(command.nsid, dword, page),
            (0x02, Data::In(page)) if dword == 0x0007_0081 && self.sanicap != 0 => self.log(page),
            (0x84, Data::None) if self.sanicap != 0 => self.sanitize(dword),
            (0x80, Data::None) if self.oacs & 2 != 0 && command.nsid == 1 => {
                let ses = dword >> 9 & 7;
                assert!(ses == 1 || ses == 2, "a format without erase");
                self.finish(if ses == 2 { 4 } else { 2 });
                Ok(0)
            }
            _ => self.error(0x001),
        }
    }

    fn scsi(
        &self,
        _: &'static str,
        _: &ScsiCommand<'_>,
        _: Data<'_>,
    ) -> Result<ScsiAnswer, CommandError> {
        Err(CommandError::NotOffered)
    }

    fn wait(&self, _: Duration) {
        self.tick();
    }
}
