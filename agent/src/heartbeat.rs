//! The loop that must not die: beat, take the order, carry progress and reports.
