//! The kernel's messages about devices that appear.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeVal;

/// The kernel's own multicast group (udev's is 2).
const KERNEL_GROUP: u32 = 1;

/// Room for the burst of a controller with many disks, bytes.
const RECEIVE_BYTES: usize = 1 << 20;

/// What was heard.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A device appeared that names its driver by this alias.
    Device(String),
    /// Something else happened.
    Other,
    /// Messages were lost: look at every device again.
    Lost,
    /// Nothing in the time given.
    Quiet,
}

/// A subscription to the kernel's messages.
#[derive(Debug)]
pub(super) struct Uevents {
    socket: OwnedFd,
}

impl Uevents {
    /// Subscribes; what happens from now on is heard.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(super) fn open() -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkKObjectUEvent,
        )?;
        setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BYTES)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, KERNEL_GROUP))?;
        Ok(Self { socket })
    }

    /// Waits for one message, at most `limit`; for ever when that is zero.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(super) fn next(&self, limit: Duration) -> io::Result<Heard> {
        let micros = i64::try_from(limit.as_micros()).unwrap_or(i64::MAX);
        let limit = TimeVal::new(micros / 1_000_000, micros % 1_000_000);
        setsockopt(&self.socket, sockopt::ReceiveTimeout, &limit)?;
        let mut message = [0; 8192];
        match recvfrom::<NetlinkAddr>(self.socket.as_raw_fd(), &mut message) {
            // Port 0 is the kernel; anybody may send, only it is believed.
            Ok((bytes, Some(sender))) if sender.pid() == 0 => {
                Ok(parse(message.get(..bytes).unwrap_or_default()))
            }
            Ok(_) | Err(Errno::EINTR) => Ok(Heard::Other),
            Err(Errno::EAGAIN) => Ok(Heard::Quiet),
            Err(Errno::ENOBUFS) => Ok(Heard::Lost),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Takes `add@/devices/…` and the NUL-separated variables behind it apart.
fn parse(message: &[u8]) -> Heard {
    let value = |name: &str| {
        let fields = message.split(|byte| *byte == 0);
        fields.filter_map(|field| std::str::from_utf8(field).ok()).find_map(|field| {
            let (key, value) = field.split_once('=')?;
            (key == name).then_some(value)
        })
    };
    match (value("ACTION"), value("MODALIAS")) {
        (Some("add" | "change" | "bind"), Some(alias)) => Heard::Device(alias.to_owned()),
        _ => Heard::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_device_tells_its_alias_and_everything_else_is_ignored() {
        let disk = b"add@/devices/a\0ACTION=add\0DEVPATH=/devices/a\0SUBSYSTEM=scsi\0MODALIAS=scsi:t-0x00\0SEQNUM=9\0";
        assert_eq!(parse(disk), Heard::Device("scsi:t-0x00".to_owned()));
        for other in [
            &b"remove@/devices/a\0ACTION=remove\0MODALIAS=scsi:t-0x00\0"[..],
            b"add@/module/x\0ACTION=add\0SUBSYSTEM=module\0",
            b"ACTION=add\0MODALIAS=\xff\xfe\0",
            b"",
        ] {
            assert_eq!(parse(other), Heard::Other);
        }
    }
}
