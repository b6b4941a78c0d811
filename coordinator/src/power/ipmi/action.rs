//! The commands of one action, each confirmed by reading back.

use std::time::Duration;

use ironwright_ipmi::{BootDevice as Device, BootFlags, BootOptions, Control, IpmiError, Session};
use tokio::time::Instant;

use super::Trouble;
use crate::node::PowerState;
use crate::power::{BmcError, Boot, BootDevice, Command, Performed};

/// Between two readings of a state that is about to change.
pub(super) const POLL: Duration = Duration::from_secs(1);
/// What an operating system gets to shut down, as Ironic's `soft_power_off_timeout`.
pub(super) const SOFT_OFF: Duration = Duration::from_secs(600);
/// Completion code "not supported in the present state": the power already is as asked, or is changing.
const NOT_IN_THIS_STATE: u8 = 0xd5;

/// The commands of a session that are needed here.
pub(super) trait Chassis {
    async fn power(&mut self) -> Result<bool, IpmiError>;
    async fn control(&mut self, control: Control) -> Result<(), IpmiError>;
    async fn set_boot(&mut self, device: Device, flags: BootFlags) -> Result<(), IpmiError>;
    async fn boot(&mut self) -> Result<BootOptions, IpmiError>;
}

impl Chassis for Session {
    async fn power(&mut self) -> Result<bool, IpmiError> {
        self.power_state().await
    }
    async fn control(&mut self, control: Control) -> Result<(), IpmiError> {
        self.chassis_control(control).await
    }
    async fn set_boot(&mut self, device: Device, flags: BootFlags) -> Result<(), IpmiError> {
        self.set_boot_device(device, flags).await
    }
    async fn boot(&mut self) -> Result<BootOptions, IpmiError> {
        self.boot_device().await
    }
}

/// How an action is carried out.
#[derive(Debug)]
pub(super) struct Action<'a> {
    /// Names the BMC in errors.
    pub(super) address: &'a str,
    /// The longest a power change may take.
    pub(super) change: Duration,
    /// The longest an operating system may take to shut down.
    pub(super) soft: Duration,
    /// Between two readings.
    pub(super) poll: Duration,
}

/// Reads the power state.
pub(super) async fn power_state(chassis: &mut impl Chassis) -> Result<PowerState, IpmiError> {
    Ok(state(chassis.power().await?))
}

fn state(on: bool) -> PowerState {
    if on { PowerState::On } else { PowerState::Off }
}

/// The device's name in Ironic.
pub(super) fn named(device: Device) -> Option<BootDevice> {
    match device {
        Device::Network => Some(BootDevice::Pxe),
        Device::Disk => Some(BootDevice::Disk),
        Device::Cdrom => Some(BootDevice::Cdrom),
        Device::Setup => Some(BootDevice::Bios),
        Device::NoOverride => None,
    }
}

fn device(device: BootDevice) -> Option<Device> {
    match device {
        BootDevice::Pxe => Some(Device::Network),
        BootDevice::Disk => Some(Device::Disk),
        BootDevice::Cdrom => Some(Device::Cdrom),
        BootDevice::Bios => Some(Device::Setup),
        BootDevice::Safe => None,
    }
}

impl Action<'_> {
    /// How long the commands may take together, waiting included.
    pub(super) fn longest(&self, commands: &[Command]) -> Duration {
        commands
            .iter()
            .map(|command| match command {
                Command::On | Command::Off => self.change,
                Command::SoftOff => self.soft,
                Command::Boot(_) => Duration::ZERO,
            })
            .sum()
    }

    /// Performs the commands in order.
    pub(super) async fn perform(
        &self,
        chassis: &mut impl Chassis,
        commands: &[Command],
    ) -> Result<Performed, Trouble> {
        let mut performed = Performed::default();
        for command in commands {
            let (on, control, patience) = match command {
                Command::On => (true, Control::On, self.change),
                Command::Off => (false, Control::Off, self.change),
                Command::SoftOff => (false, Control::SoftOff, self.soft),
                Command::Boot(boot) => {
                    performed.remarks.extend(self.set_boot(chassis, *boot).await?);
                    continue;
                }
            };
            performed.power = Some(self.reach(chassis, on, control, patience).await?);
        }
        Ok(performed)
    }

    /// Sends `control` unless the power already is as wanted, then reads until it is.
    async fn reach(
        &self,
        chassis: &mut impl Chassis,
        on: bool,
        control: Control,
        patience: Duration,
    ) -> Result<PowerState, Trouble> {
        if chassis.power().await? == on {
            return Ok(state(on));
        }
        match chassis.control(control).await {
            Ok(()) | Err(IpmiError::Completion { code: NOT_IN_THIS_STATE, .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let deadline = Instant::now() + patience;
        loop {
            if chassis.power().await? == on {
                return Ok(state(on));
            }
            if Instant::now() >= deadline {
                return Err(self.unconfirmed(
                    format!("{} (IPMI {control:?})", state(on).text()),
                    state(!on).text(),
                    patience,
                ));
            }
            tokio::time::sleep(self.poll).await;
        }
    }

    fn unconfirmed(&self, what: String, found: &str, patience: Duration) -> Trouble {
        Trouble::Bmc(BmcError::NotConfirmed {
            address: self.address.to_owned(),
            what,
            found: found.to_owned(),
            seconds: patience.as_secs(),
        })
    }

    /// Sets the boot device and compares what reads back. Another device is a failure; flags that some BMCs cannot confirm
    /// are remarks.
    async fn set_boot(
        &self,
        chassis: &mut impl Chassis,
        boot: Boot,
    ) -> Result<Option<String>, Trouble> {
        let name = boot.device.text();
        let wanted = device(boot.device).ok_or_else(|| {
            Trouble::Bmc(BmcError::Setting {
                key: "boot_device",
                problem: format!("{name} is not supported by ipmi"),
            })
        })?;
        let flags = BootFlags { persistent: boot.persistent, efi: boot.efi };
        chassis.set_boot(wanted, flags).await?;
        let found = match chassis.boot().await {
            Ok(found) => found,
            Err(error @ IpmiError::Completion { .. }) => {
                return Ok(Some(format!(
                    "boot device {name} was set; it cannot be read back: {error}"
                )));
            }
            Err(error) => return Err(error.into()),
        };
        if found.device != Some(wanted) {
            let reads = format!("{:02x?}", found.raw);
            return Err(self.unconfirmed(
                format!("boot from {name}"),
                &format!("boot flags {reads}"),
                Duration::ZERO,
            ));
        }
        if found.valid && found.flags == flags {
            return Ok(None);
        }
        Ok(Some(format!(
            "boot device {name} reads back, but its flags do not: asked for persistent {}, UEFI {}; the BMC reports {:02x?}",
            boot.persistent, boot.efi, found.raw
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A BMC that takes some readings until a change shows, and may lie about boot flags.
    #[derive(Default)]
    struct Scripted {
        on: bool,
        /// Readings until the last control shows.
        delay: u32,
        pending: Option<bool>,
        boot: Option<(Device, BootFlags)>,
        forgets_flags: bool,
        forgets_device: bool,
        refuses: Option<u8>,
        log: Vec<String>,
    }

    impl Chassis for Scripted {
        async fn power(&mut self) -> Result<bool, IpmiError> {
            if let Some(on) = self.pending {
                self.delay = self.delay.saturating_sub(1);
                if self.delay == 0 {
                    self.on = on;
                    self.pending = None;
                }
            }
            Ok(self.on)
        }
        async fn control(&mut self, control: Control) -> Result<(), IpmiError> {
            self.log.push(format!("{control:?}"));
            if let Some(code) = self.refuses {
                self.on = control == Control::On;
                return Err(IpmiError::Completion {
                    address: "b".into(),
                    command: "chassis control",
                    code,
                });
            }
            self.pending = Some(control == Control::On);
            Ok(())
        }
        async fn set_boot(&mut self, device: Device, flags: BootFlags) -> Result<(), IpmiError> {
            self.log.push(format!("{device:?}"));
            self.boot = Some((device, flags));
            Ok(())
        }
        async fn boot(&mut self) -> Result<BootOptions, IpmiError> {
            let (device, flags) = self.boot.unwrap();
            let flags = if self.forgets_flags { BootFlags::default() } else { flags };
            let device = if self.forgets_device { Device::NoOverride } else { device };
            Ok(BootOptions { valid: !self.forgets_flags, flags, device: Some(device), raw: [0; 5] })
        }
    }

    const PXE: Command =
        Command::Boot(Boot { device: BootDevice::Pxe, persistent: false, efi: true });

    async fn perform(bmc: &mut Scripted, commands: &[Command]) -> Result<Performed, BmcError> {
        let action = Action {
            soft: SOFT_OFF,
            address: "192.0.2.7:623",
            change: Duration::from_millis(20),
            poll: Duration::ZERO,
        };
        action.perform(bmc, commands).await.map_err(BmcError::from)
    }

    #[tokio::test]
    async fn each_change_is_awaited_and_nothing_is_sent_that_is_so_already() {
        let mut bmc = Scripted { on: true, delay: 3, ..Scripted::default() };
        let performed =
            perform(&mut bmc, &[Command::Off, Command::Off, PXE, Command::On, Command::On])
                .await
                .unwrap();
        assert_eq!(bmc.log, ["Off", "Network", "On"]);
        assert_eq!(performed, Performed { power: Some(PowerState::On), remarks: Vec::new() });
    }

    #[tokio::test]
    async fn a_change_that_never_shows_is_an_error_with_the_address_and_what_is_seen() {
        let mut bmc = Scripted { on: true, delay: u32::MAX, ..Scripted::default() };
        let error = perform(&mut bmc, &[Command::Off, Command::On]).await.unwrap_err().to_string();
        assert!(
            error.contains("192.0.2.7:623") && error.contains("still reports power on"),
            "{error}"
        );
        assert_eq!(bmc.log, ["Off"], "nothing after the failure");
    }

    #[tokio::test]
    async fn not_in_this_state_is_believed_only_after_reading_the_state() {
        let mut bmc = Scripted { on: true, refuses: Some(0xd5), ..Scripted::default() };
        assert_eq!(perform(&mut bmc, &[Command::Off]).await.unwrap().power, Some(PowerState::Off));
        let mut bmc = Scripted { on: true, refuses: Some(0xd4), ..Scripted::default() };
        assert!(perform(&mut bmc, &[Command::Off]).await.is_err());
    }

    #[tokio::test]
    async fn forgotten_flags_are_remarked_and_a_forgotten_device_fails() {
        let mut bmc = Scripted { forgets_flags: true, ..Scripted::default() };
        let performed = perform(&mut bmc, &[PXE]).await.unwrap();
        assert!(performed.remarks[0].contains("flags do not"), "{:?}", performed.remarks);
        let mut bmc = Scripted { forgets_device: true, ..Scripted::default() };
        let error = perform(&mut bmc, &[PXE, Command::On]).await.unwrap_err();
        assert!(error.to_string().contains("boot from pxe"), "{error}");
        assert!(!bmc.on);
    }
}
