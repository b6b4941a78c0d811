//! The door to a controller: admin commands through ioctl. All `unsafe` of this plugin is here.
#![allow(
    unsafe_code,
    reason = "ioctls have no safe form; this is one call with a checked descriptor"
)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

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

mod raw {
    use nix::ioctl_readwrite;

    /// `struct nvme_passthru_cmd` (linux/nvme_ioctl.h), 72 bytes.
    #[derive(Debug, Default, Clone, Copy)]
    #[repr(C)]
    pub(super) struct PassThrough {
        pub opcode: u8,
        pub flags: u8,
        pub reserved1: u16,
        pub nsid: u32,
        pub cdw2: u32,
        pub cdw3: u32,
        pub metadata: u64,
        pub addr: u64,
        pub metadata_len: u32,
        pub data_len: u32,
        pub cdw10_to_15: [u32; 6],
        pub timeout_ms: u32,
        pub result: u32,
    }

    const _: () = assert!(size_of::<PassThrough>() == 72);

    ioctl_readwrite!(admin_cmd, b'N', 0x41, PassThrough);
}

impl Controller for Device {
    fn admin(&mut self, command: Command, data: &mut [u8]) -> io::Result<u16> {
        let mut pass = raw::PassThrough {
            opcode: command.opcode as u8,
            addr: data.as_mut_ptr() as u64,
            data_len: u32::try_from(data.len()).map_err(io::Error::other)?,
            cdw10_to_15: [command.cdw10, command.cdw11, 0, 0, 0, 0],
            timeout_ms: TIMEOUT_MS,
            ..raw::PassThrough::default()
        };
        // SAFETY: the descriptor is open for the call; `addr` and `data_len` name a slice that is borrowed exclusively for it, and the
        // kernel copies no more than its length in the direction that the opcode's low bits say.
        let status = unsafe { raw::admin_cmd(self.0.as_raw_fd(), &raw mut pass) }?;
        // Without More and Do Not Retry.
        Ok(u16::try_from(status & 0x7ff).unwrap_or(u16::MAX))
    }
}
