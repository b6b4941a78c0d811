//! The commands: device, channel, session privilege, chassis, boot options.

use std::sync::Arc;

use super::Chassis;
use super::packet::Request;

/// What a chassis is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChassisAction {
    /// Power off at once.
    Off,
    /// Power on.
    On,
    /// Off, then on.
    Cycle,
    /// Hard reset.
    Reset,
    /// Ask the operating system to power off.
    Soft,
    /// Blink.
    Identify,
}

/// Boot flags, parameter 5 (table 28-14).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BootFlags {
    /// The flags are to be used.
    pub valid: bool,
    /// For every boot, not only the next.
    pub persistent: bool,
    /// For a UEFI boot.
    pub efi: bool,
    /// Device selector: 1 network, 2 disk, 5 CD, 6 setup; 0 none.
    pub device: u8,
}

impl BootFlags {
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let first = *bytes.first()?;
        Some(Self {
            valid: first & 0x80 != 0,
            persistent: first & 0x40 != 0,
            efi: first & 0x20 != 0,
            device: (bytes.get(1)? >> 2) & 0x0f,
        })
    }

    fn bytes(self) -> [u8; 5] {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let first = bit(self.valid, 0x80) | bit(self.persistent, 0x40) | bit(self.efi, 0x20);
        [first, self.device << 2, 0, 0, 0]
    }
}

/// Completion codes (table 5-2).
pub(super) const OK: u8 = 0x00;
pub(super) const BUSY: u8 = 0xc0;
const INVALID_COMMAND: u8 = 0xc1;
const SHORT_REQUEST: u8 = 0xc7;
const INVALID_FIELD: u8 = 0xcc;
const PRIVILEGE: u8 = 0xd4;

/// Privilege levels (section 6.8: 2 user, 3 operator, 4 administrator).
const OPERATOR: u8 = 3;

/// The commands' state that outlives a session.
#[derive(Debug)]
pub(super) struct Commands {
    chassis: Arc<dyn Chassis>,
    flags: BootFlags,
    pub(super) guid: [u8; 16],
}

impl Commands {
    pub(super) fn new(chassis: Arc<dyn Chassis>) -> Self {
        Self { chassis, flags: BootFlags::default(), guid: rand::random() }
    }

    /// The answer to a request in a session of this privilege (which Set Session Privilege Level may change).
    pub(super) fn answer(
        &mut self,
        request: &Request<'_>,
        privilege: &mut u8,
        lies: bool,
    ) -> (u8, Vec<u8>) {
        match (request.net_fn, request.command) {
            // Get Device ID (20.1): IPMI 2.0, chassis device, no manufacturer.
            (0x06, 0x01) => (OK, vec![0x20, 0x01, 0x01, 0x00, 0x02, 0x80, 0, 0, 0, 0x01, 0]),
            (0x06, 0x08 | 0x37) => (OK, self.guid.to_vec()),
            (0x06, 0x38) => (OK, channel_authentication()),
            (0x06, 0x3b) => match request.bytes.first() {
                Some(0) => (OK, vec![*privilege]),
                Some(level @ 2..=4) => {
                    *privilege = *level;
                    (OK, vec![*level])
                }
                _ => (INVALID_FIELD, vec![]),
            },
            (0x00, 0x01) => (OK, vec![u8::from(self.chassis.is_on()), 0, 0]),
            (0x00, 0x02 | 0x04 | 0x08 | 0x09) if *privilege < OPERATOR => (PRIVILEGE, vec![]),
            (0x00, 0x02) => self.control(request.bytes, lies),
            (0x00, 0x04) => {
                self.chassis.act(ChassisAction::Identify);
                (OK, vec![])
            }
            (0x00, 0x08) => self.set_boot_option(request.bytes),
            (0x00, 0x09) => self.boot_option(request.bytes),
            _ => (INVALID_COMMAND, vec![]),
        }
    }

    /// Chassis Control (28.3).
    fn control(&mut self, bytes: &[u8], lies: bool) -> (u8, Vec<u8>) {
        let action = match bytes.first().map(|byte| byte & 0x0f) {
            None => return (SHORT_REQUEST, vec![]),
            Some(0) => ChassisAction::Off,
            Some(1) => ChassisAction::On,
            Some(2) => ChassisAction::Cycle,
            Some(3) => ChassisAction::Reset,
            Some(5) => ChassisAction::Soft,
            Some(_) => return (INVALID_FIELD, vec![]),
        };
        if !lies {
            self.chassis.act(action);
        }
        (OK, vec![])
    }

    /// Set System Boot Options (28.12): parameters 0, 3, 4 accepted, 5 remembered.
    fn set_boot_option(&mut self, bytes: &[u8]) -> (u8, Vec<u8>) {
        let Some((parameter, rest)) = bytes.split_first() else { return (SHORT_REQUEST, vec![]) };
        match parameter & 0x7f {
            5 => match BootFlags::from_bytes(rest) {
                Some(flags) => {
                    self.flags = flags;
                    self.chassis.boot_flags(flags);
                    (OK, vec![])
                }
                None => (SHORT_REQUEST, vec![]),
            },
            0 | 3 | 4 => (OK, vec![]),
            _ => (0x80, vec![]),
        }
    }

    /// Get System Boot Options (28.13).
    fn boot_option(&self, bytes: &[u8]) -> (u8, Vec<u8>) {
        match bytes.first().map(|byte| byte & 0x7f) {
            Some(5) => (OK, [&[0x01, 0x05][..], &self.flags.bytes()].concat()),
            Some(parameter @ (0 | 3)) => (OK, vec![0x01, parameter, 0]),
            Some(_) => (0x80, vec![]),
            None => (SHORT_REQUEST, vec![]),
        }
    }
}

/// Get Channel Authentication Capabilities (22.13): IPMI 2.0 only, non-null users.
pub(super) fn channel_authentication() -> Vec<u8> {
    vec![0x01, 0x80, 0x04, 0x02, 0, 0, 0, 0]
}

/// Get Channel Cipher Suites (22.15), list index 0: one record a suite (table 22-18).
pub(super) fn cipher_suites(suites: &[u8]) -> Vec<u8> {
    let mut out = vec![0x01];
    for suite in suites {
        match suite {
            3 => out.extend([0xc0, 3, 0x01, 0x41, 0x81]),
            17 => out.extend([0xc0, 17, 0x03, 0x44, 0x81]),
            _ => {}
        }
    }
    out
}
