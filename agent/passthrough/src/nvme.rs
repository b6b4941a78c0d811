//! Admin commands through the device of a namespace or a controller (linux/nvme_ioctl.h).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use crate::Data;

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
pub struct Request {
    /// Opcode.
    pub opcode: u8,
    /// Namespace.
    pub nsid: u32,
    /// Dwords 10 to 15.
    pub cdw: [u32; 6],
    /// Milliseconds.
    pub timeout_ms: u32,
}

/// The namespace identifier of a namespace's block device (`NVME_IOCTL_ID`).
///
/// # Errors
/// The kernel's: `ENOTTY` where the device is no namespace.
pub fn namespace(device: &impl AsFd) -> io::Result<u32> {
    // SAFETY: the descriptor is open for the call, which has no argument.
    let id = unsafe { raw::nvme_ioctl_id(device.as_fd().as_raw_fd()) }?;
    u32::try_from(id).map_err(|_negative| io::Error::other("negative namespace"))
}

/// Commands whose direction is told by something else than the opcode (`nvme_is_write`).
const FABRICS: u8 = 0x7f;

/// Bytes that a command moves, where the command says it (NVM Express Base Specification 2.0, 5.17, 5.16, 5.13: Identify; Get Log Page
/// and Firmware Image Download by a number of dwords, counted from 0).
fn moved_bytes(request: &Request) -> Option<u64> {
    let [cdw10, cdw11, ..] = request.cdw.map(u64::from);
    let dwords = |count: u64| Some((count + 1) * 4);
    match request.opcode {
        0x06 => Some(4096),
        0x02 => dwords((cdw10 >> 16) | ((cdw11 & 0xffff) << 16)),
        0x11 => dwords(cdw10),
        _ => None,
    }
}

/// Performs an admin command (`NVME_IOCTL_ADMIN_CMD`): the device's status (type and code, 0 success) and dword 0 of its
/// completion.
///
/// # Errors
/// The kernel's, and data that goes the other way than the opcode says, or of another length.
pub fn admin(device: &impl AsFd, request: &Request, data: Data<'_>) -> io::Result<(u16, u32)> {
    // Bit 0 of the opcode decides for the kernel whether it reads or writes the buffer (`nvme_is_write`).
    let sends = request.opcode & 1 == 1;
    if matches!((&data, sends), (Data::In(_), true) | (Data::Out(_), false)) {
        let words = format!("the data of opcode {:#04x} goes the other way", request.opcode);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
    }
    let length = u32::try_from(data.len()).map_err(io::Error::other)?;
    // The device goes by the command, not by the length of the buffer.
    let moved = moved_bytes(request).unwrap_or(u64::from(length));
    if request.opcode == FABRICS || (length > 0 && moved != u64::from(length)) {
        let words = format!(
            "opcode {:#04x} moves {moved} bytes and the buffer has {length}, or it is a command of fabrics",
            request.opcode
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
    }
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
    // where the kernel writes to it, which was looked at above.
    let status = unsafe { raw::nvme_ioctl_admin_cmd(fd, &raw mut command) }?;
    // Bits 14:0 are the status field without the phase bit; More and Do Not Retry are no part of the code.
    let status = u16::try_from(status & 0x7ff).unwrap_or(u16::MAX);
    Ok((status, command.result))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_that_would_go_the_other_way_or_past_the_buffer_never_reaches_the_kernel() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let request = |opcode| Request { opcode, nsid: 0, cdw: [0; 6], timeout_ms: 1 };
        let mut page = [0; 4096];
        // Firmware Image Download sends, Identify receives, Firmware Commit has no data.
        for (opcode, data, refused) in [
            (0x11, Data::In(&mut [0; 4][..]), true),
            (0x06, Data::Out(&[0; 4]), true),
            (0x11, Data::Out(&[0; 4]), false),
            (0x06, Data::In(&mut [0; 4]), true),
            (0x06, Data::In(&mut page), false),
            (0x02, Data::In(&mut [0; 8]), true),
            (0x02, Data::In(&mut [0; 4]), false),
            (0x7f, Data::Out(&[0; 4]), true),
            (0x10, Data::None, false),
        ] {
            let error = admin(&null, &request(opcode), data).unwrap_err();
            let is_refused = error.kind() == io::ErrorKind::InvalidInput;
            assert_eq!(is_refused, refused, "{opcode:#04x}: {error}");
        }
    }
}
