//! Hundreds of qcow2 images, good and hostile: what the agent writes must be what QEMU reads.
//!
//! The good ones are made by QEMU's own tools ([`good`]), the hostile ones from them by changing bytes ([`hostile`]). Each
//! goes through the agent's image path over HTTP, with `Range` and without, onto a disk full of old bytes. Where the agent
//! and `qemu-img convert` do not agree, the rule is in [`differences`]; anything else fails.
#![forbid(unsafe_code)]

#[cfg(test)]
mod differences;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod good;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod judge;
#[cfg(test)]
mod qemu;
#[cfg(test)]
mod run;
#[cfg(test)]
mod server;
