//! The door to a controller: its admin commands.

use std::fs::File;
use std::io;

use ironwright_passthrough::{Data, nvme};

use crate::identify::{IDENTIFY_BYTES, SLOTS_BYTES};

/// How long a command may take, milliseconds: committing writes flash.
const TIMEOUT_MS: u32 = 120_000;

/// The admin commands that are used (NVM Express base specification 2.0, figure 138).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Opcode {
    GetLogPage = 0x02,
    Identify = 0x06,
    Commit = 0x10,
    Download = 0x11,
}

/// One command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) opcode: Opcode,
    pub(crate) cdw10: u32,
    pub(crate) cdw11: u32,
}

/// Whoever takes commands: a controller, or a fake one in tests.
pub(crate) trait Controller {
    /// Performs a command; `data` goes to the controller or comes from it, as the command says. The status: code and type, 0
    /// success.
    ///
    /// # Errors
    /// The kernel's.
    fn admin(&mut self, command: Command, data: &mut [u8]) -> io::Result<u16>;

    /// Its Identify data.
    ///
    /// # Errors
    /// The kernel's, or the controller's status.
    fn identify(&mut self) -> io::Result<[u8; IDENTIFY_BYTES]> {
        let mut data = [0; IDENTIFY_BYTES];
        // CNS 1: the controller.
        let command = Command { opcode: Opcode::Identify, cdw10: 1, cdw11: 0 };
        let status = self.admin(command, &mut data)?;
        if status == 0 { Ok(data) } else { Err(refused("Identify", status)) }
    }

    /// Its Firmware Slot Information log.
    ///
    /// # Errors
    /// The kernel's, or the controller's status.
    fn slots(&mut self) -> io::Result<[u8; SLOTS_BYTES]> {
        let mut data = [0; SLOTS_BYTES];
        // Log page 3; dwords less one in the upper half.
        let command = Command { opcode: Opcode::GetLogPage, cdw10: 0x03 | (127 << 16), cdw11: 0 };
        let status = self.admin(command, &mut data)?;
        if status == 0 { Ok(data) } else { Err(refused("Get Log Page", status)) }
    }
}

/// A status as an error.
pub(crate) fn refused(what: &str, status: u16) -> io::Error {
    io::Error::other(format!("{what} ended with status {status:#05x}"))
}

/// A real one.
#[derive(Debug)]
pub(crate) struct Device(File);

impl Device {
    pub(crate) fn open(path: &str) -> io::Result<Self> {
        File::open(path).map(Self)
    }
}

impl Controller for Device {
    fn admin(&mut self, command: Command, data: &mut [u8]) -> io::Result<u16> {
        let request = nvme::Request {
            opcode: command.opcode as u8,
            nsid: 0,
            cdw: [command.cdw10, command.cdw11, 0, 0, 0, 0],
            timeout_ms: TIMEOUT_MS,
        };
        let data = match command.opcode {
            Opcode::GetLogPage | Opcode::Identify => Data::In(data),
            Opcode::Download => Data::Out(data),
            Opcode::Commit => Data::None,
        };
        nvme::admin(&self.0, &request, data).map(|(status, _)| status)
    }
}
