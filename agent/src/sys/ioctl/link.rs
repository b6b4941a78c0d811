//! The address a card was made with, and hearing a multicast group of one card (linux/ethtool.h, linux/sockios.h, linux/if_packet.h).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::libc;

/// `ETHTOOL_GPERMADDR`.
const GET_PERMANENT_ADDRESS: u32 = 0x20;
/// `MAX_ADDR_LEN`.
const ADDRESS_MAX: usize = 32;

mod raw {
    use nix::ioctl_readwrite_bad;
    use nix::libc::{IFNAMSIZ, c_char, c_void};

    /// `struct ethtool_perm_addr`, with room for the address behind it.
    #[derive(Debug)]
    #[repr(C)]
    pub(super) struct PermanentAddress {
        pub command: u32,
        pub size: u32,
        pub bytes: [u8; super::ADDRESS_MAX],
    }

    /// `struct ifreq`, 40 bytes; its union begins with the pointer.
    #[derive(Debug)]
    #[repr(C)]
    pub(super) struct Request {
        pub name: [c_char; IFNAMSIZ],
        pub address: *mut c_void,
        pub rest: [u8; 16],
    }

    #[cfg(target_pointer_width = "64")]
    const _: () = assert!(size_of::<Request>() == 40);

    // `SIOCETHTOOL`; libc has it in another type than its ioctl takes.
    ioctl_readwrite_bad!(ethtool, 0x8946, Request);
}

/// The permanent hardware address of card `name` (`SIOCETHTOOL`), through any socket.
pub(crate) fn permanent_address(socket: &impl AsFd, name: &str) -> io::Result<Vec<u8>> {
    let size = u32::try_from(ADDRESS_MAX).map_err(io::Error::other)?;
    let mut address =
        raw::PermanentAddress { command: GET_PERMANENT_ADDRESS, size, bytes: [0; ADDRESS_MAX] };
    let mut request = raw::Request {
        name: [0; libc::IFNAMSIZ],
        address: (&raw mut address).cast(),
        rest: [0; 16],
    };
    // The last byte stays 0: it ends the name.
    if name.len() >= request.name.len() {
        return Err(io::Error::other("the card's name is too long"));
    }
    for (to, from) in request.name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    // SAFETY: the descriptor is open for the call; the request holds the address of a structure that lives as long, with
    // room for as many bytes as its `size` says.
    unsafe { raw::ethtool(socket.as_fd().as_raw_fd(), &raw mut request) }?;
    let length = usize::try_from(address.size).unwrap_or(0).min(ADDRESS_MAX);
    Ok(address.bytes.get(..length).unwrap_or_default().to_vec())
}

/// Lets a packet socket hear frames to the multicast address `group` on the card with this index
/// (`PACKET_ADD_MEMBERSHIP`); the card's filter would drop them.
pub(crate) fn join(socket: &impl AsFd, index: u32, group: [u8; 6]) -> io::Result<()> {
    let mut bytes = [0; 8];
    bytes.iter_mut().zip(group).for_each(|(to, from)| *to = from);
    let membership = libc::packet_mreq {
        mr_ifindex: i32::try_from(index).map_err(io::Error::other)?,
        mr_type: u16::try_from(libc::PACKET_MR_MULTICAST).map_err(io::Error::other)?,
        mr_alen: 6,
        mr_address: bytes,
    };
    let length =
        libc::socklen_t::try_from(size_of::<libc::packet_mreq>()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for the call, and the kernel reads `length` bytes of a structure of that size.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const membership).cast(),
            length,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
