//! The thin coordinator: node records, one lifecycle table, power and boot device by IPMI, heartbeats, the operator's API.
#![forbid(unsafe_code)]

pub mod agent;
pub mod boot;
pub mod http;
pub mod images;
pub mod node;
pub mod power;
pub mod reconcile;
pub mod serve;
pub mod settings;
pub mod store;
