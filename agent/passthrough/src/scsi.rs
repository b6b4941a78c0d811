//! SCSI commands through a disk's block device (scsi/sg.h).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use crate::Data;

mod raw {
    use nix::ioctl_readwrite_bad;
    use nix::libc::{c_int, c_uchar, c_uint, c_ushort, c_void};

    /// `sg_io_hdr_t`.
    #[derive(Debug)]
    #[repr(C)]
    pub(super) struct Header {
        pub interface_id: c_int,
        pub dxfer_direction: c_int,
        pub cmd_len: c_uchar,
        pub mx_sb_len: c_uchar,
        pub iovec_count: c_ushort,
        pub dxfer_len: c_uint,
        pub dxferp: *mut c_void,
        pub cmdp: *const c_uchar,
        pub sbp: *mut c_uchar,
        pub timeout: c_uint,
        pub flags: c_uint,
        pub pack_id: c_int,
        pub usr_ptr: *mut c_void,
        pub status: c_uchar,
        pub masked_status: c_uchar,
        pub msg_status: c_uchar,
        pub sb_len_wr: c_uchar,
        pub host_status: c_ushort,
        pub driver_status: c_ushort,
        pub resid: c_int,
        pub duration: c_uint,
        pub info: c_uint,
    }

    #[cfg(target_pointer_width = "64")]
    const _: () = assert!(size_of::<Header>() == 88);

    ioctl_readwrite_bad!(sg_io, 0x2285, Header);
}

/// `SG_DXFER_NONE`, `SG_DXFER_TO_DEV`, `SG_DXFER_FROM_DEV`.
const NONE: i32 = -1;
const TO_DEVICE: i32 = -2;
const FROM_DEVICE: i32 = -3;
/// Room for sense data, bytes: SPC-5 allows 252.
const SENSE_MAX: u8 = 252;

/// What came back.
#[derive(Debug, Default)]
pub struct Done {
    /// SCSI status.
    pub status: u8,
    /// The adapter's status.
    pub host_status: u16,
    /// The driver's status.
    pub driver_status: u16,
    /// Bytes that were asked for and did not come or go.
    pub left: usize,
    /// Sense data.
    pub sense: Vec<u8>,
}

/// Performs a SCSI command (`SG_IO`).
///
/// # Errors
/// The kernel's, and a command or data longer than its structure can say.
pub fn command(
    device: &impl AsFd,
    cdb: &[u8],
    data: Data<'_>,
    timeout_ms: u32,
) -> io::Result<Done> {
    let too_long = io::Error::other;
    let length = u32::try_from(data.len()).map_err(too_long)?;
    let (direction, address) = match data {
        Data::None => (NONE, std::ptr::null_mut()),
        Data::In(bytes) => (FROM_DEVICE, bytes.as_mut_ptr()),
        // The kernel only reads what goes to the device.
        Data::Out(bytes) => (TO_DEVICE, bytes.as_ptr().cast_mut()),
    };
    let mut sense = vec![0_u8; usize::from(SENSE_MAX)];
    let mut header = raw::Header {
        interface_id: i32::from(b'S'),
        dxfer_direction: direction,
        cmd_len: u8::try_from(cdb.len()).map_err(too_long)?,
        mx_sb_len: SENSE_MAX,
        iovec_count: 0,
        dxfer_len: length,
        dxferp: address.cast(),
        cmdp: cdb.as_ptr(),
        sbp: sense.as_mut_ptr(),
        timeout: timeout_ms,
        flags: 0,
        pack_id: 0,
        usr_ptr: std::ptr::null_mut(),
        status: 0,
        masked_status: 0,
        msg_status: 0,
        sb_len_wr: 0,
        host_status: 0,
        driver_status: 0,
        resid: 0,
        duration: 0,
        info: 0,
    };
    let fd = device.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open for the call; command, data and sense are slices borrowed for it with the lengths given,
    // the latter exclusively, the data exclusively where the direction lets the kernel write to it.
    unsafe { raw::sg_io(fd, &raw mut header) }?;
    sense.truncate(usize::from(header.sb_len_wr.min(SENSE_MAX)));
    Ok(Done {
        status: header.status,
        host_status: header.host_status,
        driver_status: header.driver_status,
        left: usize::try_from(header.resid).unwrap_or(0),
        sense,
    })
}
