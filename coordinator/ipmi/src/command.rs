//! The commands: chassis power, boot device, identify, device id (spec 28 and 20.1).

use crate::error::IpmiError;
use crate::message::Command;
use crate::session::Session;

const DEVICE_ID: Command = Command { net_fn: 6, number: 0x01, name: "get device id" };
const STATUS: Command = Command { net_fn: 0, number: 0x01, name: "get chassis status" };
const CONTROL: Command = Command { net_fn: 0, number: 0x02, name: "chassis control" };
const IDENTIFY: Command = Command { net_fn: 0, number: 0x04, name: "chassis identify" };
const SET_BOOT: Command = Command { net_fn: 0, number: 0x08, name: "set system boot options" };
const GET_BOOT: Command = Command { net_fn: 0, number: 0x09, name: "get system boot options" };

/// Boot option parameter: when the BMC forgets the boot flags by itself.
const FLAG_VALIDITY: u8 = 3;
/// Not after 60 s without a chassis control command. Of the other reasons (power button, reset button, watchdog,
/// event filter) none is switched off.
const KEEP_PAST_60_S: u8 = 0x08;
/// Boot option parameter: the boot flags.
const BOOT_FLAGS: u8 = 5;

/// What to do with the chassis (spec table 28-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Control {
    /// Off at once, without the operating system.
    Off,
    /// On.
    On,
    /// Off, at least a second, on. Many BMCs refuse it (0xD5) while the power is off.
    Cycle,
    /// Reset without a power cut.
    Reset,
    /// Non-maskable interrupt, for a crash dump.
    Diagnostic,
    /// Asks the operating system to shut down (ACPI).
    SoftOff,
}

impl Control {
    fn code(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::On => 1,
            Self::Cycle => 2,
            Self::Reset => 3,
            Self::Diagnostic => 4,
            Self::SoftOff => 5,
        }
    }
}

/// Where to boot from (spec table 28-14, parameter 5, data 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BootDevice {
    /// As the firmware is configured.
    NoOverride,
    /// Network (PXE).
    Network,
    /// The default disk.
    Disk,
    /// CD or DVD, also a virtual one of the BMC.
    Cdrom,
    /// The firmware's setup.
    Setup,
}

impl BootDevice {
    const ALL: [Self; 5] = [Self::NoOverride, Self::Network, Self::Disk, Self::Cdrom, Self::Setup];

    fn selector(self) -> u8 {
        match self {
            Self::NoOverride => 0,
            Self::Network => 1,
            Self::Disk => 2,
            Self::Cdrom => 5,
            Self::Setup => 6,
        }
    }
}

/// How the boot device is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct BootFlags {
    /// For every boot, not only the next.
    pub persistent: bool,
    /// Boot in UEFI mode, not the legacy BIOS's.
    pub efi: bool,
}

/// The boot flags as the BMC reports them. Some BMCs forget some: the caller judges which matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootOptions {
    /// The BMC says the flags are in force. `ipmi_sim`, for one, never does.
    pub valid: bool,
    /// As set, where the BMC keeps them.
    pub flags: BootFlags,
    /// `None`: a device this crate has no name for, see `raw`.
    pub device: Option<BootDevice>,
    /// The five bytes of parameter 5.
    pub raw: [u8; 5],
}

/// Who made the BMC (spec 20.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceId {
    /// Chosen by the manufacturer.
    pub device_id: u8,
    /// Revision of the device.
    pub revision: u8,
    /// Major and minor, as in "2.31".
    pub firmware: (u8, u8),
    /// Major and minor, (2, 0) for IPMI 2.0.
    pub ipmi_version: (u8, u8),
    /// IANA enterprise number: 674 Dell, 11 HPE, 10876 Supermicro, 19046 Lenovo …
    pub manufacturer: u32,
    /// Chosen by the manufacturer.
    pub product: u16,
}

impl Session {
    /// Whether the chassis is on. Needs user privilege only, so it costs one round trip.
    ///
    /// # Errors
    ///
    /// [`IpmiError`].
    pub async fn power_state(&mut self) -> Result<bool, IpmiError> {
        let body = self.call(STATUS, &[]).await?;
        let [power, ..] = body.as_slice() else { return Err(self.short(STATUS, &body)) };
        Ok(power & 1 != 0)
    }

    /// Orders a change of power. The BMC's consent does not mean it is done: read the state.
    ///
    /// # Errors
    ///
    /// [`IpmiError`]; [`IpmiError::Completion`] with 0xD5 where the present state forbids it.
    pub async fn chassis_control(&mut self, control: Control) -> Result<(), IpmiError> {
        self.call_privileged(CONTROL, &[control.code()]).await.map(drop)
    }

    /// Sets the boot device. BMCs may accept it and forget parts: read [`Session::boot_device`] back.
    ///
    /// # Errors
    ///
    /// [`IpmiError`].
    pub async fn set_boot_device(
        &mut self,
        device: BootDevice,
        flags: BootFlags,
    ) -> Result<(), IpmiError> {
        match self.call_privileged(SET_BOOT, &[FLAG_VALIDITY, KEEP_PAST_60_S]).await {
            Ok(_) => {}
            Err(error @ IpmiError::Completion { .. }) => {
                tracing::debug!(%error, "the BMC may forget the boot device after 60 s");
            }
            Err(error) => return Err(error),
        }
        let body = [BOOT_FLAGS, mode(flags), device.selector() << 2, 0, 0, 0];
        self.call_privileged(SET_BOOT, &body).await.map(drop)
    }

    /// Reads the boot device.
    ///
    /// # Errors
    ///
    /// [`IpmiError`].
    pub async fn boot_device(&mut self) -> Result<BootOptions, IpmiError> {
        let body = self.call_privileged(GET_BOOT, &[BOOT_FLAGS, 0, 0]).await?;
        boot_options(&body).ok_or_else(|| self.short(GET_BOOT, &body))
    }

    /// Lights the chassis' identify light for that many seconds; 0 turns it off.
    ///
    /// # Errors
    ///
    /// [`IpmiError`].
    pub async fn identify(&mut self, seconds: u8) -> Result<(), IpmiError> {
        self.call_privileged(IDENTIFY, &[seconds]).await.map(drop)
    }

    /// Reads who made the BMC. Needs user privilege only.
    ///
    /// # Errors
    ///
    /// [`IpmiError`].
    pub async fn device_id(&mut self) -> Result<DeviceId, IpmiError> {
        let body = self.call(DEVICE_ID, &[]).await?;
        device_id(&body).ok_or_else(|| self.short(DEVICE_ID, &body))
    }

    fn short(&self, command: Command, body: &[u8]) -> IpmiError {
        let (name, bytes) = (command.name, body.len());
        self.violation(format!("the reply to {name} has only {bytes} bytes or another parameter"))
    }
}

/// Byte 1 of the boot flags: valid, persistent, UEFI.
fn mode(flags: BootFlags) -> u8 {
    0x80 | u8::from(flags.persistent) << 6 | u8::from(flags.efi) << 5
}

fn boot_options(body: &[u8]) -> Option<BootOptions> {
    let [_version, parameter, rest @ ..] = body else { return None };
    let raw: [u8; 5] = *rest.first_chunk()?;
    if parameter & 0x7f != BOOT_FLAGS {
        return None;
    }
    let selector = raw[1] >> 2 & 0x0f;
    Some(BootOptions {
        // Bit 7 of the parameter: the BMC marks the whole parameter invalid or locked.
        valid: raw[0] & 0x80 != 0 && parameter & 0x80 == 0,
        flags: BootFlags { persistent: raw[0] & 0x40 != 0, efi: raw[0] & 0x20 != 0 },
        device: BootDevice::ALL.into_iter().find(|device| device.selector() == selector),
        raw,
    })
}

fn device_id(body: &[u8]) -> Option<DeviceId> {
    let &[device_id, revision, major, minor, version, _, m0, m1, m2, p0, p1, ..] = body else {
        return None;
    };
    Some(DeviceId {
        device_id,
        revision: revision & 0x0f,
        // The minor number is two decimal digits.
        firmware: (major & 0x7f, (minor >> 4) * 10 + (minor & 0x0f)),
        ipmi_version: (version & 0x0f, version >> 4),
        manufacturer: u32::from_le_bytes([m0, m1, m2 & 0x0f, 0]),
        product: u16::from_le_bytes([p0, p1]),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn boot_flags_read_back_are_the_bytes_of_real_bmcs() {
        let flags = |persistent, efi| BootFlags { persistent, efi };
        for (body, valid, expected_flags, device) in [
            // ipmi_sim after "pxe", pyghmi after "disk", a full set of flags, a locked parameter, a floppy.
            ([1, 5, 0x00, 0x04, 0, 0, 0], false, flags(false, false), Some(BootDevice::Network)),
            ([1, 5, 0x80, 0x08, 0, 0, 0], true, flags(false, false), Some(BootDevice::Disk)),
            ([1, 5, 0xe0, 0x08, 0, 0, 0], true, flags(true, true), Some(BootDevice::Disk)),
            ([1, 0x85, 0xc0, 0x14, 0, 0, 0], false, flags(true, false), Some(BootDevice::Cdrom)),
            ([1, 5, 0x80, 0x3c, 0, 0, 0], true, flags(false, false), None),
        ] {
            let options = boot_options(&body).unwrap();
            assert_eq!(
                (options.valid, options.flags, options.device),
                (valid, expected_flags, device)
            );
        }
        assert_eq!(boot_options(&[1, 5, 0x80, 4, 0, 0]), None, "cut");
        assert_eq!(boot_options(&[1, 4, 0x80, 4, 0, 0, 0]), None, "another parameter");
    }

    #[test]
    fn a_device_id_is_decoded() {
        // As ipmi_sim answers for "0x23 9 8 0x9f 0x1291 0xf02".
        let body = [0x23, 0x89, 0x08, 0x31, 0x02, 0x9f, 0x91, 0x12, 0, 0x02, 0x0f, 0, 0, 0, 0];
        let expected = DeviceId {
            device_id: 0x23,
            revision: 9,
            firmware: (8, 31),
            ipmi_version: (2, 0),
            manufacturer: 0x1291,
            product: 0xf02,
        };
        assert_eq!(device_id(&body), Some(expected));
        assert_eq!(device_id(&body[..10]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body: Vec<u8>) {
            prop_assert!(boot_options(&body).is_none() || body.len() >= 7);
            prop_assert!(device_id(&body).is_none() || body.len() >= 11);
        }
    }
}
