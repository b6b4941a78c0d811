//! Erasing disks, and what was proven of it.
//!
//! Two steps. `erase_devices_metadata` zeroes what makes a disk look used ([`metadata`]). `erase_devices` asks every disk what it
//! can do ([`device`]), makes a ladder of that, best method first ([`ladder`]), and goes down it until one is done and verified:
//! the device erases itself and samples of before show it ([`samples`]), or every byte is overwritten and read back
//! ([`overwrite`]). What was not used, and why, is in the certificate, also in that of a failure.

mod attempt;
pub(crate) mod carry_out;
pub mod certificate;
pub mod device;
mod disk;
#[cfg(test)]
mod fake;
pub mod ladder;
pub mod metadata;
pub mod overwrite;
mod own;
pub mod protect;
pub mod pstore;
pub mod samples;
mod words;

pub use carry_out::{carry_out, sentences};
pub use disk::{NotErased, Task};
