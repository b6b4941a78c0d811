//! The virtual bare-metal lab: machines in QEMU with BMCs, a provisioning network, real images, and the commands around it.
#![forbid(unsafe_code)]

pub mod artifacts;
pub mod packages;
