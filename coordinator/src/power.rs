//! Power and boot device of one machine through its BMC.
