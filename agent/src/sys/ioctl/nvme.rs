//! Admin commands through a namespace's block device (linux/nvme_ioctl.h).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use crate::sys::command::Data;

mod raw {
    use nix::{ioctl_none_bad, ioctl_readwrite, request_code_none};

    /// `struct nvme_passthru_cmd`, 72 bytes.
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

    ioctl_none_bad!(nvme_ioctl_id, request_code_none!(b'N', 0x40));
    ioctl_readwrite!(nvme_ioctl_admin_cmd, b'N', 0x41, PassThrough);
}

/// What of an admin command the caller chooses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    /// Opcode.
    pub(crate) opcode: u8,
    /// Namespace.
    pub(crate) nsid: u32,
    /// Dwords 10 to 15.
    pub(crate) cdw: [u32; 6],
    /// Milliseconds.
    pub(crate) timeout_ms: u32,
}

/// The namespace identifier of a namespace's block device (`NVME_IOCTL_ID`).
pub(crate) fn namespace(device: &impl AsFd) -> io::Result<u32> {
    // SAFETY: the descriptor is open for the call, which has no argument.
    let id = unsafe { raw::nvme_ioctl_id(device.as_fd().as_raw_fd()) }?;
    u32::try_from(id).map_err(|_negative| io::Error::other("negative namespace"))
}

/// Performs an admin command (`NVME_IOCTL_ADMIN_CMD`): the device's status (type and code, 0 success) and dword 0 of its
/// completion.
pub(crate) fn admin(
    device: &impl AsFd,
    request: &Request,
    data: Data<'_>,
) -> io::Result<(u16, u32)> {
    let length = u32::try_from(data.len()).map_err(io::Error::other)?;
    let address = match data {
        Data::None => 0,
        Data::In(bytes) => bytes.as_mut_ptr() as u64,
        Data::Out(bytes) => bytes.as_ptr() as u64,
    };
    let mut command = raw::PassThrough {
        opcode: request.opcode,
        nsid: request.nsid,
        addr: address,
        data_len: length,
        cdw10_to_15: request.cdw,
        timeout_ms: request.timeout_ms,
        ..raw::PassThrough::default()
    };
    let fd = device.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open for the call; `addr` and `data_len` name a slice that is borrowed for the call, exclusively
    // where the device writes to it, which the opcode's direction bits decide and the callers' `Data` follows.
    let status = unsafe { raw::nvme_ioctl_admin_cmd(fd, &raw mut command) }?;
    // Bits 14:0 are the status field without the phase bit; More and Do Not Retry are no part of the code.
    let status = u16::try_from(status & 0x7ff).unwrap_or(u16::MAX);
    Ok((status, command.result))
}
