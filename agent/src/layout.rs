//! Partition tables in memory: where the config drive goes and what is written last.
