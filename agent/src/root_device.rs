//! Ironic's root device hints: exactly one disk, or why not.
