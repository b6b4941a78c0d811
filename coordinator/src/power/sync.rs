//! The power status loop.
