//! Tests on whole virtual machines. They run inside the lab's own namespaces: `cargo lab test [FILTER]`.
#![forbid(unsafe_code)]

#[cfg(test)]
mod bmc;
#[cfg(test)]
mod clean;
#[cfg(test)]
mod client;
#[cfg(test)]
mod conductor;
#[cfg(test)]
mod deploy;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod image;
#[cfg(test)]
mod lockdown;
#[cfg(test)]
mod plugin;
#[cfg(test)]
mod raid;
#[cfg(test)]
mod ramdisk;
#[cfg(test)]
mod rescue;
#[cfg(test)]
mod run;
#[cfg(test)]
mod stage;
