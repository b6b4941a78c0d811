//! From an order and an inventory to a list of actions; pure.
