//! Facts about this machine in Ironic's shape. A missing fact is data, not a failure.
