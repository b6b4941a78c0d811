//! Driver `fake-hardware`: a machine that exists only here. For demonstrations and tests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::{Answer, Bmc, Boot, BootDevice, Command, Performed};
use crate::node::PowerState;

#[derive(Debug, Clone, Copy)]
struct Machine {
    power: PowerState,
    boot: Option<Boot>,
}

/// All fake machines; a new one is off.
#[derive(Debug, Clone, Default)]
pub struct FakeBmcs {
    machines: Arc<Mutex<HashMap<Uuid, Machine>>>,
}

impl FakeBmcs {
    /// The BMC of one fake machine.
    #[must_use]
    pub fn of(&self, node: Uuid) -> FakeBmc {
        FakeBmc { all: self.clone(), node }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Machine>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The BMC of one fake machine.
#[derive(Debug)]
pub struct FakeBmc {
    all: FakeBmcs,
    node: Uuid,
}

impl FakeBmc {
    fn with<T>(&self, act: impl FnOnce(&mut Machine) -> T) -> T {
        let mut machines = self.all.lock();
        act(machines.entry(self.node).or_insert(Machine { power: PowerState::Off, boot: None }))
    }
}

impl Bmc for FakeBmc {
    fn power_state(&self) -> Answer<'_, PowerState> {
        Box::pin(async { Ok(self.with(|machine| machine.power)) })
    }

    fn perform<'a>(&'a self, commands: &'a [Command]) -> Answer<'a, Performed> {
        Box::pin(async move {
            let power = self.with(|machine| {
                for command in commands {
                    match command {
                        Command::On => machine.power = PowerState::On,
                        Command::Off | Command::SoftOff => machine.power = PowerState::Off,
                        Command::Boot(boot) => machine.boot = Some(*boot),
                    }
                }
                machine.power
            });
            Ok(Performed { power: Some(power), remarks: Vec::new() })
        })
    }

    fn boot_device(&self) -> Answer<'_, (Option<BootDevice>, Option<bool>)> {
        Box::pin(async {
            let boot = self.with(|machine| machine.boot);
            Ok((boot.map(|boot| boot.device), boot.map(|boot| boot.persistent)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fake_machine_remembers_power_and_boot_device_by_node() {
        let all = FakeBmcs::default();
        let (one, other) = (Uuid::now_v7(), Uuid::now_v7());
        let boot = Boot { device: BootDevice::Pxe, persistent: false, efi: true };
        all.of(one).perform(&[Command::Boot(boot), Command::On]).await.unwrap();
        assert_eq!(all.of(one).power_state().await.unwrap(), PowerState::On);
        assert_eq!(all.of(one).boot_device().await.unwrap(), (Some(BootDevice::Pxe), Some(false)));
        assert_eq!(all.of(other).power_state().await.unwrap(), PowerState::Off);
    }
}
