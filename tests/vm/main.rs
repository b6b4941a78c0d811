//! Tests on whole virtual machines. They run inside the lab's own namespaces: `cargo lab test [FILTER]`.
#![forbid(unsafe_code)]

mod bmc;
mod client;
mod deploy;
mod faults;
mod stage;
