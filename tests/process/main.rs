//! Real parts in one process: no root, no virtual machine, seconds.
#![forbid(unsafe_code)]

mod deploy;
mod image;
mod interrupted;
mod ipmi;
mod refused;
mod stage;
