//! The kernel's doors: `NVME_IOCTL_ADMIN_CMD` and `SG_IO` on the disk's own block device.

use std::fs::File;
use std::io;
use std::time::Duration;

use ironwright_passthrough::{nvme, scsi};

use super::{CommandError, DATA_MAX, Data, DeviceCommands, NvmeCommand, ScsiAnswer, ScsiCommand};

/// A disk's own descriptor, so that commands go where the writes go, also after the node was renamed.
#[derive(Debug)]
pub struct RealCommands {
    file: File,
    /// Regular files have no device behind them.
    is_device: bool,
}

impl RealCommands {
    /// Commands through `file`.
    #[must_use]
    pub fn new(file: File, is_device: bool) -> Self {
        Self { file, is_device }
    }

    fn check(&self, command: &'static str, data: &Data<'_>) -> Result<(), CommandError> {
        if !self.is_device {
            return Err(CommandError::NotOffered);
        }
        if data.len() > DATA_MAX {
            let source = io::Error::other(format!("{} bytes of data are too many", data.len()));
            return Err(CommandError::Transport { command, source });
        }
        Ok(())
    }
}

/// Milliseconds, as the kernel's structures hold them.
fn millis(timeout: Duration) -> u32 {
    u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX)
}

/// A door that is not there, as opposed to a command that failed. `EINVAL` of `SG_IO` means that the request queue takes no such
/// requests (virtio-blk, device-mapper without a target that does).
fn refused(command: &'static str, source: io::Error) -> CommandError {
    let missing = [nix::libc::ENOTTY, nix::libc::EOPNOTSUPP, nix::libc::ENOSYS, nix::libc::EINVAL];
    if source.raw_os_error().is_some_and(|code| missing.contains(&code)) {
        return CommandError::NotOffered;
    }
    CommandError::Transport { command, source }
}

impl DeviceCommands for RealCommands {
    fn nvme_namespace(&self) -> Result<u32, CommandError> {
        const NAME: &str = "namespace identifier";
        self.check(NAME, &Data::None)?;
        nvme::namespace(&self.file).map_err(|error| refused(NAME, error))
    }

    fn nvme_admin(
        &self,
        name: &'static str,
        command: &NvmeCommand,
        data: Data<'_>,
    ) -> Result<u32, CommandError> {
        self.check(name, &data)?;
        let &NvmeCommand { opcode, nsid, cdw, timeout } = command;
        let request = nvme::Request { opcode, nsid, cdw, timeout_ms: millis(timeout) };
        let (status, result) =
            nvme::admin(&self.file, &request, data).map_err(|error| refused(name, error))?;
        if status == 0 {
            return Ok(result);
        }
        Err(CommandError::Nvme { command: name, status })
    }

    fn scsi(
        &self,
        name: &'static str,
        command: &ScsiCommand<'_>,
        data: Data<'_>,
    ) -> Result<ScsiAnswer, CommandError> {
        self.check(name, &data)?;
        let wanted = data.len();
        let done = scsi::command(&self.file, command.cdb, data, millis(command.timeout))
            .map_err(|error| refused(name, error))?;
        // The adapter's own words (Linux include/scsi/scsi_status.h, DID_*): anything but 0 means that the device's answer is
        // not known, even where the kernel calls the request done. `DRIVER_SENSE` (8) only says that there is sense data.
        if done.host_status != 0 || done.driver_status & !8 != 0 {
            let source = io::Error::other(format!(
                "host status {:#x}, driver status {:#x}",
                done.host_status, done.driver_status
            ));
            return Err(CommandError::Transport { command: name, source });
        }
        Ok(ScsiAnswer {
            status: done.status,
            transferred: wanted.saturating_sub(done.left),
            sense: done.sense,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_a_device_without_the_door_offer_nothing_and_that_is_no_failure() {
        let file = tempfile::tempfile().unwrap();
        for (is_device, file) in
            [(false, file.try_clone().unwrap()), (true, File::open("/dev/null").unwrap())]
        {
            let commands = RealCommands::new(file, is_device);
            assert!(matches!(commands.nvme_namespace(), Err(CommandError::NotOffered)));
            let command = NvmeCommand { opcode: 6, ..NvmeCommand::default() };
            let answer = commands.nvme_admin("Identify", &command, Data::In(&mut [0; 4096]));
            assert!(matches!(answer, Err(CommandError::NotOffered)), "{answer:?}");
            let inquiry = ScsiCommand { cdb: &[0x12, 0, 0, 0, 36, 0], timeout: Duration::ZERO };
            let answer = commands.scsi("INQUIRY", &inquiry, Data::In(&mut [0; 36]));
            assert!(matches!(answer, Err(CommandError::NotOffered)), "{answer:?}");
        }
    }
}
