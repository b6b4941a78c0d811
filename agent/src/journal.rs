//! What must survive a restart of the agent within one boot: token, boot identifier, unacknowledged reports, order.
