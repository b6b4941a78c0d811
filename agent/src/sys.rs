//! The one door to the machine.
//!
//! Two ways in: [`System::machine`] only when PID 1 is our supervisor and `/` is our initrd; [`System::sandbox`]
//! everywhere else, where power, reboot, modules, links, EFI variables and `/etc` are recorded and not done.

pub mod disk;
mod ioctl;
