//! Size, sector size, writability and zeroing of block devices (linux/fs.h).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

mod raw {
    use nix::{ioctl_read_bad, ioctl_write_ptr_bad, request_code_none, request_code_read};

    ioctl_read_bad!(blkgetsize64, request_code_read!(0x12, 114, size_of::<usize>()), u64);
    ioctl_read_bad!(blkroget, request_code_none!(0x12, 94), nix::libc::c_int);
    ioctl_read_bad!(blksszget, request_code_none!(0x12, 104), nix::libc::c_int);
    ioctl_write_ptr_bad!(blkzeroout, request_code_none!(0x12, 127), [u64; 2]);
}

/// Capacity in bytes (`BLKGETSIZE64`).
pub(crate) fn bytes(device: &impl AsFd) -> io::Result<u64> {
    let mut bytes = 0_u64;
    // SAFETY: the descriptor is open for the call, and the kernel writes one u64 to a valid, exclusive address.
    unsafe { raw::blkgetsize64(device.as_fd().as_raw_fd(), &raw mut bytes) }?;
    Ok(bytes)
}

/// Logical sector size in bytes (`BLKSSZGET`).
pub(crate) fn sector_bytes(device: &impl AsFd) -> io::Result<u32> {
    let mut bytes: nix::libc::c_int = 0;
    // SAFETY: the descriptor is open for the call, and the kernel writes one int to a valid, exclusive address.
    unsafe { raw::blksszget(device.as_fd().as_raw_fd(), &raw mut bytes) }?;
    u32::try_from(bytes).map_err(|_negative| io::Error::other("negative sector size"))
}

/// Whether the device takes no writes (`BLKROGET`).
pub(crate) fn is_read_only(device: &impl AsFd) -> io::Result<bool> {
    let mut flag: nix::libc::c_int = 0;
    // SAFETY: the descriptor is open for the call, and the kernel writes one int to a valid, exclusive address.
    unsafe { raw::blkroget(device.as_fd().as_raw_fd(), &raw mut flag) }?;
    Ok(flag != 0)
}

/// Makes an aligned range read as zeros, by offload or by writing (`BLKZEROOUT`).
pub(crate) fn zero_out(device: &impl AsFd, offset: u64, bytes: u64) -> io::Result<()> {
    let range = [offset, bytes];
    // SAFETY: the descriptor is open for the call, and the kernel reads two u64 from a valid address.
    unsafe { raw::blkzeroout(device.as_fd().as_raw_fd(), &raw const range) }?;
    Ok(())
}
