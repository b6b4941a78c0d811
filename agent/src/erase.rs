//! Erasing disks, and what was proven of it.
//!
//! Two steps: `erase_devices` writes zeros to every byte of every disk and reads all of it back ([`overwrite`]);
//! `erase_devices_metadata` does that to what makes a disk look used ([`metadata`]). What a device could do better by itself
//! (sanitize, format, security erase) this version does not ask it to, and says so in every certificate.

mod carry_out;
pub mod certificate;
mod disk;
pub mod metadata;
pub mod overwrite;

pub use carry_out::carry_out;
pub use disk::{Task, passed_over};
