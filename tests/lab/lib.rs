//! The virtual bare-metal lab: machines in QEMU with BMCs, a provisioning network, real images, and the commands around it.
//!
//! Everything of one run lives in network, process and mount namespaces of its own ([`inside`]); when the run ends, however it
//! ends, the kernel removes them. That is why addresses are constants, and why nothing here cleans up after itself.
#![forbid(unsafe_code)]

pub mod api;
pub mod artifacts;
pub mod bench;
pub mod bmc;
pub mod chassis;
pub mod cli;
pub mod client;
pub mod coordinator;
pub mod demo;
pub mod dnsmasq;
pub mod host;
pub mod image_server;
pub mod initrd;
pub mod inside;
pub mod ironic;
pub mod lab;
pub mod lab_bmc;
pub mod machine;
pub mod matrix;
pub mod net;
pub mod packages;
pub mod runs;
pub mod serial;
pub mod test_runner;
pub mod up;
pub mod venv;

pub use lab::{Lab, LabSpec};
pub use machine::{Bus, DiskSpec, Firmware, Machine, Spec};
