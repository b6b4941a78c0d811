//! One pass from an image server to a disk: hash, decode, write, prove.
