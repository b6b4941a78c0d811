//! Real parts in one process: no root, no virtual machine, seconds.
#![forbid(unsafe_code)]

#[cfg(test)]
mod bmc;
#[cfg(test)]
mod clean;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod conductor;
#[cfg(test)]
mod deploy;
#[cfg(test)]
mod fwupd;
#[cfg(test)]
mod image;
#[cfg(test)]
mod interrupted;
#[cfg(test)]
mod ipmi;
#[cfg(test)]
mod parts;
#[cfg(test)]
mod plugin;
#[cfg(test)]
mod refused;
#[cfg(test)]
mod rescue;
#[cfg(test)]
mod stage;
