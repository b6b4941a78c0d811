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
    asked.unwrap_or_else(|error| Device::Silent { why: chain(&error) })
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
            Self::Silent { why } => format!("gives no answer: {why}"),
        }
    }
}
