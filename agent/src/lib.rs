//! The Ironwright agent: everything that needs the hardware. `main.rs` only picks what to run.

pub mod boot;
pub mod clean;
pub mod cli;
pub mod config;
pub mod configdrive;
pub mod coordinator;
pub mod deploy;
pub mod erase;
pub mod heartbeat;
pub mod image;
pub mod inventory;
pub mod ironic;
pub mod journal;
pub mod layout;
pub mod order;
pub mod plugin;
pub mod raid;
pub mod report;
pub mod rescue;
pub mod root_device;
pub mod steps;
pub mod supervisor;
pub mod sys;
pub mod tls;
mod vfat;
