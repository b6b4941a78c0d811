//! The thin coordinator: node records, one lifecycle table, power and boot device by IPMI, heartbeats, the operator's API.
#![forbid(unsafe_code)]

pub mod actions;
pub mod agent;
pub mod allocation;
pub mod app;
pub mod boot;
pub mod certificate;
pub mod http;
pub mod images;
pub mod inventory;
pub mod node;
pub mod plugins;
pub mod power;
pub mod reconcile;
pub mod serve;
pub mod settings;
pub mod store;
