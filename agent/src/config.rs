//! Settings from the kernel command line (Ironic's `ipa-*` names) and from flags.
