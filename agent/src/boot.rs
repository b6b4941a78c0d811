//! UEFI boot entries and their order; BIOS machines need nothing.
