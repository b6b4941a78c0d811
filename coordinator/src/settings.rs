//! The settings file and flags.
