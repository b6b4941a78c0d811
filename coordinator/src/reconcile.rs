//! The only place that performs effects; feeds their results back as events.
