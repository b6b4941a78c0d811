//! TLS to the coordinator, pinned to the certificate named on the kernel command line.
