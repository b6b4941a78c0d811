//! The command line: run, inventory, write-image, erase (DESIGN 7).
