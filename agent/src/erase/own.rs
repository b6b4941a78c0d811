//! Has a device erase itself, by one method, and follows that to its end. What it says of itself is believed only as far as
//! "it is done"; whether it is done is for the samples to show.
//!
//! Three things outlive this process and this boot: an NVMe or ATA sanitize goes on after a reset or a power cut
//! ([`nvme::Pending`] and [`ata::Pending`] find it at the next boot); a sanitize that failed leaves a device that refuses
//! reads and writes until it leaves that state, which is why every sanitize here is started in its unrestricted form (AUSE,
//! FAILURE MODE): only that can be left without another sanitize; and the password of an ATA security erase, see [`security`].

pub(in crate::erase) mod ata;
pub(in crate::erase) mod nvme;
pub(in crate::erase) mod recover;
pub(in crate::erase) mod scsi;
pub(in crate::erase) mod security;

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ironwright_api::EraseMethod;

use super::device::Device;
use super::overwrite::Follow;
use crate::sys::command::{CommandError, DeviceCommands};

/// Between two looks at a running operation.
const PAUSE: Duration = Duration::from_secs(2);
/// Looks in a row that may fail: a device that is being reset is away for some seconds, a slow one for minutes.
const BLIND: u32 = 90;
/// Looks without any progress after which a device is given up: a day. A terabyte disk moves one 65536th in two seconds.
const STALLED: u32 = 24 * 60 * 60 / 2;

/// How a sanitize erases; the three standards agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::erase) enum Sanitize {
    /// The key of everything is changed.
    Crypto,
    /// Flash blocks are erased.
    Block,
    /// Zeros are written, once.
    Overwrite,
}

/// Bytes a second that a device without an estimate is supposed to erase: less than any disk of today writes.
const USUAL_SPEED: u64 = 100_000_000;

/// What the device said, for the certificate: status and log pages before and after, by name.
pub(in crate::erase) type DeviceLog = BTreeMap<String, String>;

/// One disk that erases itself.
#[derive(Clone, Copy)]
pub(in crate::erase) struct Own<'a> {
    /// The door to it.
    pub commands: &'a dyn DeviceCommands,
    /// Its size, bytes: progress is said in bytes.
    pub bytes: u64,
    /// Who follows.
    pub follow: &'a dyn Follow,
}

impl std::fmt::Debug for Own<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Own").field("commands", &self.commands).finish_non_exhaustive()
    }
}

/// Why a device did not erase itself.
#[derive(Debug, thiserror::Error)]
pub(in crate::erase) enum OwnError {
    /// A command was not done.
    #[error("the device was asked and did not do it")]
    Command(#[from] CommandError),
    /// The device says that it failed.
    #[error("the device says that its erase failed{at}: {why}")]
    Failed {
        /// How far it was: ` at 70 %`, or nothing.
        at: String,
        /// Its words.
        why: String,
    },
    /// It takes the command and does nothing.
    #[error("the device took the command and does not say that an erase began or ended")]
    NotBegun,
    /// No progress for a day.
    #[error("the device's erase has stood still at {percent} % for a day")]
    Stalled {
        /// How far it was.
        percent: u64,
    },
    /// Somebody asked to stop. A sanitize or a security erase cannot be stopped.
    #[error(
        "stopped on request at {percent} %; the device goes on erasing itself and answers nothing else until that has ended; it must be erased again to be certified"
    )]
    Stopped {
        /// How far it was.
        percent: u64,
    },
    /// An ATA disk whose password may still be set.
    #[error("{what}; {password}")]
    Password {
        /// What failed.
        what: String,
        /// What became of the password, and its value.
        password: String,
        /// Why.
        source: Box<OwnError>,
    },
    /// A method that is none of this device's.
    #[error("{method:?} is no method of this device")]
    Foreign {
        /// The method.
        method: EraseMethod,
    },
}

impl OwnError {
    /// Whether somebody asked to stop: then nothing else is tried.
    #[must_use]
    pub(in crate::erase) fn is_stopped(&self) -> bool {
        matches!(self, Self::Stopped { .. })
    }
}

impl Own<'_> {
    /// Has the device erase itself by `method`.
    ///
    /// # Errors
    /// [`OwnError`].
    pub(in crate::erase) fn erase(
        &self,
        device: &Device,
        method: EraseMethod,
        estimate: Option<Duration>,
        log: &mut DeviceLog,
    ) -> Result<(), OwnError> {
        use EraseMethod as M;
        use Sanitize::{Block, Crypto, Overwrite};
        match (device, method) {
            (Device::Nvme(_), M::NvmeSanitizeCrypto) => nvme::sanitize(self, Crypto, log),
            (Device::Nvme(_), M::NvmeSanitizeBlock) => nvme::sanitize(self, Block, log),
            (Device::Nvme(_), M::NvmeSanitizeOverwrite) => nvme::sanitize(self, Overwrite, log),
            (Device::Nvme(nvme), M::NvmeFormatCrypto) => nvme::format(self, nvme, nvme::CRYPTO),
            (Device::Nvme(nvme), M::NvmeFormatUserData) => {
                nvme::format(self, nvme, nvme::USER_DATA)
            }
            (Device::Ata(_), M::AtaSanitizeCrypto) => ata::sanitize(self, Crypto, log),
            (Device::Ata(_), M::AtaSanitizeBlock) => ata::sanitize(self, Block, log),
            (Device::Ata(_), M::AtaSanitizeOverwrite) => ata::sanitize(self, Overwrite, log),
            (Device::Ata(_), M::AtaSecurityEraseEnhanced) => {
                security::erase(self, true, estimate, log)
            }
            (Device::Ata(_), M::AtaSecurityErase) => security::erase(self, false, estimate, log),
            (Device::Scsi(_), M::ScsiSanitizeCrypto) => scsi::sanitize(self, Crypto, log),
            (Device::Scsi(_), M::ScsiSanitizeBlock) => scsi::sanitize(self, Block, log),
            (Device::Scsi(_), M::ScsiSanitizeOverwrite) => scsi::sanitize(self, Overwrite, log),
            _ => Err(OwnError::Foreign { method }),
        }
    }

    /// Follows a running operation until it ended well. `look` says how it stands.
    pub(super) fn follow_to_end(
        &self,
        mut look: impl FnMut() -> Result<Stand, CommandError>,
    ) -> Result<(), OwnError> {
        let (mut last, mut blind, mut still) = (0_u16, 0_u32, 0_u32);
        loop {
            match look() {
                Ok(Stand::Done) => {
                    self.follow.go_on("erase", self.bytes);
                    return Ok(());
                }
                Ok(Stand::Running(progress)) => {
                    still = if progress == last { still + 1 } else { 0 };
                    (last, blind) = (progress, 0);
                }
                Ok(Stand::Failed(why)) => {
                    let at =
                        if last > 0 { format!(" at {} %", percent(last)) } else { String::new() };
                    return Err(OwnError::Failed { at, why });
                }
                Ok(Stand::NotBegun) => return Err(OwnError::NotBegun),
                // A reset in the middle: the operation goes on, the device answers again later.
                Err(error) if blind < BLIND => {
                    tracing::debug!("no look at the running erase: {error}");
                    blind += 1;
                }
                Err(error) => return Err(error.into()),
            }
            let percent = percent(last);
            if still >= STALLED {
                return Err(OwnError::Stalled { percent });
            }
            if !self.follow.go_on("erase", part(self.bytes, u64::from(last), 1 << 16)) {
                return Err(OwnError::Stopped { percent });
            }
            self.commands.wait(PAUSE);
        }
    }

    /// Performs a command that answers only at its end, in a thread of its own, and says how far it must be by the device's
    /// estimate, or by the disk's size where it gives none. Such a command cannot be stopped: who asks for that waits for its end.
    pub(super) fn follow_estimate<T: Send>(
        &self,
        estimate: Option<Duration>,
        command: impl FnOnce() -> Result<T, CommandError> + Send,
    ) -> Result<T, CommandError> {
        let began = Instant::now();
        let estimate = estimate.unwrap_or(Duration::from_secs(self.bytes / USUAL_SPEED));
        std::thread::scope(|scope| {
            let (done, end) = mpsc::channel();
            scope.spawn(move || {
                // The receiver lives until this has sent.
                done.send(command()).ok();
            });
            loop {
                match end.recv_timeout(PAUSE) {
                    Ok(result) => return result,
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) => {
                        let source = std::io::Error::other("the thread that carried it died");
                        return Err(CommandError::Transport { command: "erase", source });
                    }
                }
                self.follow.go_on("erase", supposed(self.bytes, began.elapsed(), estimate));
            }
        })
    }
}

/// Bytes that must be done after `gone`: nine tenths by the end of the estimate, the rest ever more slowly and never wholly, so
/// that nobody takes a device that is slower than it said for one that stands still.
fn supposed(bytes: u64, gone: Duration, estimate: Duration) -> u64 {
    let (gone, estimate) = (gone.as_secs(), estimate.as_secs().max(1));
    let most = part(bytes, 9, 10);
    match gone.checked_sub(estimate) {
        None => part(most, gone, estimate),
        Some(over) => most + part(part(bytes, 9, 100), over, over.saturating_add(estimate)),
    }
}

/// How a running operation stands.
#[derive(Debug)]
pub(super) enum Stand {
    /// Ended well.
    Done,
    /// Running, 65536ths.
    Running(u16),
    /// Ended badly.
    Failed(String),
    /// There is none.
    NotBegun,
}

fn percent(progress: u16) -> u64 {
    u64::from(progress) * 100 / (1 << 16)
}

/// `whole * of / by`, without overflow.
fn part(whole: u64, of: u64, by: u64) -> u64 {
    let part = u128::from(whole) * u128::from(of) / u128::from(by.max(1));
    u64::try_from(part).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supposed_progress_always_grows_and_is_never_the_whole() {
        let at =
            |seconds| supposed(1 << 40, Duration::from_secs(seconds), Duration::from_secs(600));
        assert_eq!((at(0), at(600)), (0, part(1 << 40, 9, 10)));
        let times = [0, 2, 300, 599, 600, 602, 3600, 36_000, 360_000];
        assert!(times.windows(2).all(|pair| at(pair[0]) < at(pair[1])));
        assert!(at(u64::MAX) < 1 << 40);
        assert_eq!(part(u64::MAX, u64::MAX, 1), u64::MAX);
    }
}
