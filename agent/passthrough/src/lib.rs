//! Commands to a storage device itself, past the kernel's block layer. The agent and plugins use the same: what is here is the
//! kernel's structures and nothing of what commands mean.
#![allow(
    unsafe_code,
    reason = "ioctls have no safe form; each is one call with a checked descriptor"
)]
#![allow(missing_docs, reason = "nix's ioctl macros cannot carry documentation lints")]

pub mod nvme;
pub mod scsi;

/// The data of a command, if it has any.
#[derive(Debug)]
pub enum Data<'a> {
    /// None.
    None,
    /// From the device.
    In(&'a mut [u8]),
    /// To the device.
    Out(&'a [u8]),
}

impl Data<'_> {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::In(bytes) => bytes.len(),
            Self::Out(bytes) => bytes.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
