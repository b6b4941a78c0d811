//! The routes, on one screen.
