//! Starting an array whose members have labels (linux/raid/md_u.h).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

mod raw {
    use nix::libc::{c_int, c_uint};
    use nix::{ioctl_none, ioctl_write_ptr};

    /// `mdu_array_info_t`, 72 bytes.
    #[derive(Debug, Default, Clone, Copy)]
    #[repr(C)]
    pub(super) struct ArrayInfo {
        pub major_version: c_int,
        pub minor_version: c_int,
        pub patch_version: c_int,
        pub ctime: c_uint,
        /// Level, size, disks, state, layout, chunk: taken from the labels.
        pub rest: [c_int; 14],
    }

    const _: () = assert!(size_of::<ArrayInfo>() == 72);

    /// `mdu_disk_info_t`, 20 bytes.
    #[derive(Debug, Default, Clone, Copy)]
    #[repr(C)]
    pub(super) struct DiskInfo {
        pub number: c_int,
        pub major: c_int,
        pub minor: c_int,
        pub raid_disk: c_int,
        pub state: c_int,
    }

    const _: () = assert!(size_of::<DiskInfo>() == 20);

    /// `mdu_param_t`, 12 bytes.
    #[derive(Debug, Default, Clone, Copy)]
    #[repr(C)]
    pub(super) struct Param {
        pub ignored: [c_int; 3],
    }

    ioctl_write_ptr!(set_array_info, 9, 0x23, ArrayInfo);
    ioctl_write_ptr!(add_new_disk, 9, 0x21, DiskInfo);
    ioctl_write_ptr!(run_array, 9, 0x30, Param);
    ioctl_none!(stop_array, 9, 0x32);
}

/// Says which version of labels the members have: 1.`minor` (`SET_ARRAY_INFO` without members).
pub(crate) fn set_version(array: &impl AsFd, minor: u8) -> io::Result<()> {
    let info =
        raw::ArrayInfo { major_version: 1, minor_version: i32::from(minor), ..Default::default() };
    // SAFETY: the descriptor is open for the call, and the kernel reads one structure from a valid address.
    unsafe { raw::set_array_info(array.as_fd().as_raw_fd(), &raw const info) }?;
    Ok(())
}

/// Adds the member with this device number (`ADD_NEW_DISK`); the kernel reads its label.
pub(crate) fn add(array: &impl AsFd, (major, minor): (u32, u32)) -> io::Result<()> {
    let number = |part: u32| i32::try_from(part).map_err(io::Error::other);
    let info = raw::DiskInfo { major: number(major)?, minor: number(minor)?, ..Default::default() };
    // SAFETY: the descriptor is open for the call, and the kernel reads one structure from a valid address.
    unsafe { raw::add_new_disk(array.as_fd().as_raw_fd(), &raw const info) }?;
    Ok(())
}

/// Starts it (`RUN_ARRAY`).
pub(crate) fn run(array: &impl AsFd) -> io::Result<()> {
    let param = raw::Param::default();
    // SAFETY: the descriptor is open for the call, and the kernel reads at most one structure from a valid address.
    unsafe { raw::run_array(array.as_fd().as_raw_fd(), &raw const param) }?;
    Ok(())
}

/// Stops it (`STOP_ARRAY`).
pub(crate) fn stop(array: &impl AsFd) -> io::Result<()> {
    // SAFETY: the descriptor is open for the call, which has no argument.
    unsafe { raw::stop_array(array.as_fd().as_raw_fd()) }?;
    Ok(())
}
