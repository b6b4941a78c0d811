//! The table, row by row, and what must hold on every path.
