//! PID 1: mounts, modules, network, and an agent that is always running.
