//! Every ioctl, and with them every `unsafe` of this crate, one file a kind of device. Commands to storage devices themselves are
//! in `ironwright-passthrough`, which plugins use too.
#![allow(
    unsafe_code,
    reason = "ioctls have no safe form; each is one call with a checked descriptor"
)]
#![allow(missing_docs, reason = "nix's ioctl macros cannot carry documentation lints")]

pub(crate) mod block;
pub(crate) mod ipmi;
pub(crate) mod link;
pub(crate) mod md;
