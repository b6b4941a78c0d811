//! The routes, on one screen.

pub mod error;
pub mod fields;
pub mod mask;
pub mod representation;
pub mod version;
