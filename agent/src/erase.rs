//! Erasing disks, and what was proven of it.
