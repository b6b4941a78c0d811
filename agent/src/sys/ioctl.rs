//! Every ioctl, and with them every `unsafe` of this crate.
#![allow(
    unsafe_code,
    reason = "ioctls have no safe form; each is one call with a checked descriptor"
)]
#![allow(missing_docs, reason = "nix's ioctl macros cannot carry documentation lints")]

// ---- block devices (linux/fs.h) ----
pub(crate) mod block {
    //! Size, sector size and zeroing of block devices.

    use std::io;
    use std::os::fd::{AsFd, AsRawFd};

    mod raw {
        use nix::{ioctl_read_bad, ioctl_write_ptr_bad, request_code_none, request_code_read};

        ioctl_read_bad!(blkgetsize64, request_code_read!(0x12, 114, size_of::<usize>()), u64);
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

    /// Makes an aligned range read as zeros, by offload or by writing (`BLKZEROOUT`).
    pub(crate) fn zero_out(device: &impl AsFd, offset: u64, bytes: u64) -> io::Result<()> {
        let range = [offset, bytes];
        // SAFETY: the descriptor is open for the call, and the kernel reads two u64 from a valid address.
        unsafe { raw::blkzeroout(device.as_fd().as_raw_fd(), &raw const range) }?;
        Ok(())
    }
}

// ---- NVMe (linux/nvme_ioctl.h) ----
pub(crate) mod nvme {
    //! Admin commands through a namespace's block device.

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
}

// ---- SCSI generic (scsi/sg.h) ----
pub(crate) mod scsi {
    //! SCSI commands through a disk's block device.

    use std::io;
    use std::os::fd::{AsFd, AsRawFd};

    use crate::sys::command::Data;

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
    pub(crate) struct Done {
        /// SCSI status.
        pub(crate) status: u8,
        /// The adapter's status.
        pub(crate) host_status: u16,
        /// The driver's status.
        pub(crate) driver_status: u16,
        /// Bytes that were asked for and did not come or go.
        pub(crate) left: usize,
        /// Sense data.
        pub(crate) sense: Vec<u8>,
    }

    /// Performs a SCSI command (`SG_IO`).
    pub(crate) fn command(
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
}

// ---- network cards (linux/ethtool.h, linux/sockios.h, linux/if_packet.h) ----
pub(crate) mod link {
    //! The address a card was made with, and hearing a multicast group of one card.

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
}

// ---- the machine's own BMC (linux/ipmi.h) ----
pub(crate) mod ipmi {
    //! Requests to the BMC through the kernel's IPMI driver.

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

        nix::ioctl_write_ptr_bad!(
            send,
            request_code_read!(b'i', 13, size_of::<Request>()),
            Request
        );
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
            address_length: u32::try_from(size_of::<raw::SystemAddress>())
                .map_err(io::Error::other)?,
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
}

// ---- md, software RAID (linux/raid/md_u.h) ----
pub(crate) mod md {
    //! Starting an array whose members have labels.

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
        let info = raw::ArrayInfo {
            major_version: 1,
            minor_version: i32::from(minor),
            ..Default::default()
        };
        // SAFETY: the descriptor is open for the call, and the kernel reads one structure from a valid address.
        unsafe { raw::set_array_info(array.as_fd().as_raw_fd(), &raw const info) }?;
        Ok(())
    }

    /// Adds the member with this device number (`ADD_NEW_DISK`); the kernel reads its label.
    pub(crate) fn add(array: &impl AsFd, (major, minor): (u32, u32)) -> io::Result<()> {
        let number = |part: u32| i32::try_from(part).map_err(io::Error::other);
        let info =
            raw::DiskInfo { major: number(major)?, minor: number(minor)?, ..Default::default() };
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
}
