//! Hardware steps as programs of their own: trusted by signature, confined, bounded (DESIGN 6, `plugins/README.md`).
//!
//! ```text
//! order ─ supply::load (fetch) ─┐
//! file ─ bundle::verify (sha256, Ed25519) ─ unpack ─ Folder (manifest) ─ Plugin::{describe, plan, run} ─ process (caps) ─ launch
//! ```

pub mod bundle;
mod carried;
pub mod cpio;
pub mod device;
mod error;
mod folder;
pub mod key;
pub mod launch;
mod output;
mod process;
mod reply;
mod run;
mod scratch;
pub mod step;
pub mod supply;

pub use error::CallError;
pub use folder::{Folder, FolderError};
pub use process::{Confinement, Device, Watch};
pub use run::{Planned, Plugin};
pub use scratch::Scratch;
