//! Checks an image source before a node is touched.
