//! Real parts in one process: no root, no virtual machine, seconds.
#![forbid(unsafe_code)]

mod ipmi;
