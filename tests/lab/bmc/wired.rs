//! The lab's own BMC, wired to a machine in QEMU.

use std::sync::{Mutex, PoisonError};

use crate::lab_bmc::{BootFlags, Chassis, ChassisAction};
use crate::machine::{Boot, BootDevice, Machine};

/// A machine as its BMC sees it.
#[derive(Debug)]
pub(super) struct Wired {
    machine: Machine,
    /// One action at a time, in their order.
    turn: Mutex<()>,
}

impl Wired {
    pub(super) fn new(machine: Machine) -> Self {
        Self { machine, turn: Mutex::new(()) }
    }
}

impl Chassis for Wired {
    fn is_on(&self) -> bool {
        self.machine.is_on()
    }

    fn act(&self, action: ChassisAction) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let machine = &self.machine;
        let result = match action {
            ChassisAction::Off => machine.power_off(),
            ChassisAction::On => machine.power_on(),
            ChassisAction::Cycle => machine.power_off().and_then(|()| machine.power_on()),
            ChassisAction::Reset => machine.reset(),
            ChassisAction::Soft => machine.soft_off(),
            ChassisAction::Identify => Ok(()),
        };
        if let Err(error) = result {
            tracing::error!("BMC of {}: {action:?}: {error:#}", machine.spec().name);
        }
    }

    /// Table 28-14: 1 network, 2 disk, 5 CD-ROM, 6 setup.
    fn boot_flags(&self, flags: BootFlags) {
        let device = match flags.device {
            1 => BootDevice::Pxe,
            2 => BootDevice::Disk,
            5 => BootDevice::Cdrom,
            6 => BootDevice::Bios,
            _ => BootDevice::None,
        };
        let device = if flags.valid { device } else { BootDevice::None };
        if let Err(error) = self.machine.set_boot(Boot { device, persistent: flags.persistent }) {
            tracing::error!("BMC of {}: boot flags: {error:#}", self.machine.spec().name);
        }
    }
}
