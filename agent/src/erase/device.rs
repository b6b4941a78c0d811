//! What a disk says about erasing itself, by its own IDENTIFY data.

pub mod ata;
mod field;
pub mod nvme;
pub mod scsi;

use std::time::Duration;

pub(super) use field::hex;

use crate::report::chain;
use crate::sys::command::{CommandError, DeviceCommands};

/// How long a question to a device may take: a disk that spins up needs half a minute.
pub(super) const ASK: Duration = Duration::from_secs(60);

/// A disk, as far as it can be asked.
#[derive(Debug, Clone)]
pub enum Device {
    /// An NVMe namespace and its controller.
    Nvme(nvme::Controller),
    /// An ATA disk, also behind a SAS adapter.
    Ata(ata::Identity),
    /// A SCSI disk.
    Scsi(scsi::Unit),
    /// Takes no commands, or gives no answer that can be used.
    Silent {
        /// Why.
        why: String,
        /// It should have answered: what it offers is not known, which is something else than nothing.
        broken: bool,
    },
}

/// Asks a device what it is. Nothing is changed by it.
#[must_use]
pub fn ask(commands: &dyn DeviceCommands) -> Device {
    let asked = match commands.nvme_namespace() {
        Ok(nsid) => nvme::identify(commands, nsid).map(Device::Nvme),
        Err(CommandError::NotOffered) => scsi_or_ata(commands),
        Err(error) => Err(error),
    };
    asked.unwrap_or_else(|error| Device::Silent {
        why: chain(&error),
        broken: !matches!(error, CommandError::NotOffered),
    })
}

fn scsi_or_ata(commands: &dyn DeviceCommands) -> Result<Device, CommandError> {
    let unit = scsi::ask(commands)?;
    if unit.is_ata {
        return ata::identify(commands).map(Device::Ata);
    }
    Ok(Device::Scsi(unit))
}

impl Device {
    /// What the ladder was made from, for the certificate.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Self::Nvme(nvme) => format!(
                "NVMe namespace {}, OACS {:#x}, ONCS {:#x}, FNA {:#x}, SANICAP {:#x}, DLFEAT {:#x}",
                nvme.nsid, nvme.oacs, nvme.oncs, nvme.fna, nvme.sanicap, nvme.namespace.dlfeat
            ),
            Self::Ata(ata) => format!("ATA {:?}, {:?}", ata.sanitize, ata.security),
            Self::Scsi(scsi) => format!("SCSI {scsi:?}"),
            Self::Silent { why, .. } => format!("gives no answer: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::erase::ladder::{Ladder, Medium};
    use crate::sys::command::Sense;

    proptest! {
        #[test]
        fn whatever_a_device_answers_is_read_without_harm(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            let controller = nvme::Controller {
                namespace: nvme::Namespace::parse(&bytes),
                sanitize: Some(nvme::SanitizeStatus::parse(&bytes)),
                ..nvme::Controller::parse(&bytes, 1)
            };
            let mut devices = vec![Device::Nvme(controller)];
            devices.extend(ata::Identity::parse(&bytes).ok().map(Device::Ata));
            for device in devices {
                let ladder = Ladder::of(&device, Medium { transport: "", rotational: true });
                prop_assert_eq!(ladder.rungs.last().unwrap().method, ironwright_api::EraseMethod::Overwrite);
                let falls = ladder.rungs.windows(2).all(|pair| {
                    let (one, next) = (pair[0], pair[1]);
                    one.method < next.method && one.category >= next.category
                });
                prop_assert!(falls);
            }
            if let Some(sense) = Sense::parse(&bytes) {
                prop_assert!(sense.key.0 < 16 && !sense.to_string().is_empty());
            }
        }
    }
}
