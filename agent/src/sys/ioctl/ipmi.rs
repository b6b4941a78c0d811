//! Requests to the BMC through the kernel's IPMI driver (linux/ipmi.h).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

mod raw {
    use nix::libc::{c_int, c_long, c_short, c_uchar, c_uint, c_ushort};
    use nix::{ioctl_readwrite, request_code_read};

    /// `IPMI_SYSTEM_INTERFACE_ADDR_TYPE`, `IPMI_BMC_CHANNEL`.
    pub(super) const TO_BMC: SystemAddress =
        SystemAddress { kind: 0x0c, channel: 0x0f, lun: 0, pad: 0 };

    /// `struct ipmi_system_interface_addr`.
    #[derive(Debug, Clone, Copy)]
    #[repr(C)]
    pub(super) struct SystemAddress {
        pub kind: c_int,
        pub channel: c_short,
        pub lun: c_uchar,
        pub pad: c_uchar,
    }

    /// `struct ipmi_msg`.
    #[derive(Debug)]
    #[repr(C)]
    pub(super) struct Message {
        pub net_fn: c_uchar,
        pub command: c_uchar,
        pub length: c_ushort,
        pub data: *mut c_uchar,
    }

    /// `struct ipmi_req`.
    #[derive(Debug)]
    #[repr(C)]
    pub(super) struct Request {
        pub address: *const SystemAddress,
        pub address_length: c_uint,
        pub id: c_long,
        pub message: Message,
    }

    /// `struct ipmi_recv`.
    #[derive(Debug)]
    #[repr(C)]
    pub(super) struct Received {
        pub kind: c_int,
        /// `struct ipmi_addr`, 40 bytes.
        pub address: *mut [u64; 5],
        pub address_length: c_uint,
        pub id: c_long,
        pub message: Message,
    }

    #[cfg(target_pointer_width = "64")]
    const _: () = assert!(size_of::<Request>() == 40 && size_of::<Received>() == 48);

    nix::ioctl_write_ptr_bad!(send, request_code_read!(b'i', 13, size_of::<Request>()), Request);
    ioctl_readwrite!(receive, b'i', 11, Received);
}

/// Longest answer that is read, bytes.
const ANSWER_MAX: usize = 272;

/// Sends a request to the BMC (`IPMICTL_SEND_COMMAND`).
pub(crate) fn send(
    device: &impl AsFd,
    id: i64,
    net_fn: u8,
    command: u8,
    data: &[u8],
) -> io::Result<()> {
    let address = raw::TO_BMC;
    let request = raw::Request {
        address: &raw const address,
        address_length: u32::try_from(size_of::<raw::SystemAddress>()).map_err(io::Error::other)?,
        id,
        message: raw::Message {
            net_fn,
            command,
            length: u16::try_from(data.len()).map_err(io::Error::other)?,
            // The kernel only reads what is sent.
            data: data.as_ptr().cast_mut(),
        },
    };
    // SAFETY: the descriptor is open for the call; address and data live as long and have the lengths given, and the kernel
    // only reads them.
    unsafe { raw::send(device.as_fd().as_raw_fd(), &raw const request) }?;
    Ok(())
}

/// The next answer and the identifier of its request (`IPMICTL_RECEIVE_MSG_TRUNC`); `EAGAIN` while there is none.
pub(crate) fn receive(device: &impl AsFd) -> io::Result<(i64, Vec<u8>)> {
    let mut address = [0_u64; 5];
    let mut data = vec![0_u8; ANSWER_MAX];
    let mut received = raw::Received {
        kind: 0,
        address: &raw mut address,
        address_length: u32::try_from(size_of_val(&address)).map_err(io::Error::other)?,
        id: 0,
        message: raw::Message {
            net_fn: 0,
            command: 0,
            length: u16::try_from(ANSWER_MAX).map_err(io::Error::other)?,
            data: data.as_mut_ptr(),
        },
    };
    // SAFETY: the descriptor is open for the call; address and data are exclusive, live as long and have the lengths given.
    unsafe { raw::receive(device.as_fd().as_raw_fd(), &raw mut received) }?;
    data.truncate(usize::from(received.message.length).min(ANSWER_MAX));
    Ok((received.id, data))
}
