//! The client of the coordinator: lookup and heartbeat, with their retry rules.
