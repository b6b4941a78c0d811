//! Error chains, throttled progress, the tail of the log.
