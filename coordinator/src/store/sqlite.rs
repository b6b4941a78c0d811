//! SQLite: WAL, synchronous=FULL.
