//! The machine's own BMC, through the kernel's IPMI driver: no tool, no password, every answer awaited for a bounded time.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::ioctl;

/// How long one answer may take: a BMC that has to ask its own network is slow.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks for an answer.
const LOOK: Duration = Duration::from_millis(2);

/// Why the BMC did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BmcError {
    /// The kernel's driver.
    #[error("the kernel's IPMI driver failed")]
    Driver(#[from] io::Error),
    /// No answer in time.
    #[error("the BMC did not answer command {command:#04x} within {} s", PATIENCE.as_secs())]
    Silent {
        /// The command.
        command: u8,
    },
    /// A completion code other than success (IPMI 2.0, 5.2).
    #[error("the BMC answered command {command:#04x} with completion code {code:#04x}")]
    Refused {
        /// The command.
        command: u8,
        /// The code.
        code: u8,
    },
}

/// Whoever answers IPMI requests: the machine's BMC, or a captured one.
pub trait Bmc {
    /// The data of the answer, without its completion code.
    ///
    /// # Errors
    /// [`BmcError`].
    fn ask(&mut self, net_fn: u8, command: u8, data: &[u8]) -> Result<Vec<u8>, BmcError>;
}

/// The BMC behind `/dev/ipmi0`.
#[derive(Debug)]
pub struct InBand {
    device: File,
    id: i64,
}

impl InBand {
    /// Opens the first IPMI device below `root`; none where there is none.
    #[must_use]
    pub fn open(root: &Path) -> Option<Self> {
        let open = |name: &str| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).custom_flags(nix::libc::O_NONBLOCK);
            options.open(root.join(name)).ok()
        };
        let device = ["dev/ipmi0", "dev/ipmi/0", "dev/ipmidev/0"].into_iter().find_map(open)?;
        Some(Self { device, id: 0 })
    }
}

impl Bmc for InBand {
    fn ask(&mut self, net_fn: u8, command: u8, data: &[u8]) -> Result<Vec<u8>, BmcError> {
        self.id += 1;
        ioctl::ipmi::send(&self.device, self.id, net_fn, command, data)?;
        let end = Instant::now() + PATIENCE;
        loop {
            match ioctl::ipmi::receive(&self.device) {
                // An answer that comes after its patience ended is not for this request.
                Ok((id, _)) if id != self.id => {}
                Ok((_, answer)) => {
                    return match answer.split_first() {
                        Some((0, data)) => Ok(data.to_vec()),
                        Some((code, _)) => Err(BmcError::Refused { command, code: *code }),
                        None => Err(BmcError::Silent { command }),
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if Instant::now() >= end {
                        return Err(BmcError::Silent { command });
                    }
                    std::thread::sleep(LOOK);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
