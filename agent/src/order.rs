//! From an order to the call that carries it out.
