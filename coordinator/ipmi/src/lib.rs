//! An asynchronous client for IPMI 2.0 over LAN (RMCP+): chassis power, boot device, identify, raw commands.
//!
//! It speaks cipher suites 17 and 3 only, authenticated and encrypted, each session on a socket of its own, and
//! knows nothing of nodes, pacing or stores: how often a BMC may be asked is the caller's rule.
//! "spec" in the comments is the IPMI specification, version 2.0, revision 1.1.
//!
//! ```no_run
//! # async fn example() -> Result<(), ironwright_ipmi::IpmiError> {
//! use ironwright_ipmi::{BootDevice, BootFlags, Control, Limits, Session, Target};
//!
//! let target = Target::new("192.0.2.7", "admin", "secret".into());
//! let mut session = Session::open(&target, &Limits::default()).await?;
//! session.set_boot_device(BootDevice::Network, BootFlags::default()).await?;
//! session.chassis_control(Control::Cycle).await?;
//! session.close().await
//! # }
//! ```
#![forbid(unsafe_code)]

mod auth;
mod command;
mod error;
mod failure;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod fault_tests;
mod handshake;
mod message;
mod rakp;
mod raw;
mod session;
mod status;
mod target;
mod transport;
mod window;
mod wire;

pub use auth::Suite;
pub use command::{BootDevice, BootFlags, BootOptions, Control, DeviceId};
pub use error::IpmiError;
pub use raw::{RAW_DATA_MAX, RawError, RawRequest, Reset, Resetting};
pub use session::Session;
pub use target::{Limits, Privilege, Target};
