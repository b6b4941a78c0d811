//! Names of the numbers a BMC answers with.

/// RMCP+ and RAKP status: why the BMC refused a message of the handshake (spec table 13-15).
pub(crate) fn rakp(status: u8) -> &'static str {
    match status {
        0x00 => "no errors",
        0x01 => "insufficient resources to create a session",
        0x02 => "invalid session id",
        0x03 => "invalid payload type",
        0x04 => "invalid authentication algorithm",
        0x05 => "invalid integrity algorithm",
        0x06 => "no matching authentication payload",
        0x07 => "no matching integrity payload",
        0x08 => "inactive session id",
        0x09 => "invalid role",
        0x0a => "unauthorized role or privilege level requested",
        0x0b => "insufficient resources to create a session at the requested role",
        0x0c => "invalid name length",
        0x0d => "unauthorized name",
        0x0e => "unauthorized GUID",
        0x0f => "invalid integrity check value",
        0x10 => "invalid confidentiality algorithm",
        0x11 => "no cipher suite match with proposed security algorithms",
        0x12 => "illegal or unrecognized parameter",
        _ => "unknown status",
    }
}

/// Completion code of a command (spec table 5-2).
pub(crate) fn completion(code: u8) -> &'static str {
    match code {
        0x00 => "command completed normally",
        0x01..=0x7e => "device-specific (OEM) code",
        0x80..=0xbe => "command-specific code",
        0xc0 => "node busy",
        0xc1 => "invalid command",
        0xc2 => "command invalid for given LUN",
        0xc3 => "timeout while processing command",
        0xc4 => "out of space",
        0xc5 => "reservation cancelled or invalid",
        0xc6 => "request data truncated",
        0xc7 => "request data length invalid",
        0xc8 => "request data field length limit exceeded",
        0xc9 => "parameter out of range",
        0xca => "cannot return number of requested data bytes",
        0xcb => "requested sensor, data, or record not present",
        0xcc => "invalid data field in request",
        0xcd => "command illegal for specified sensor or record type",
        0xce => "command response could not be provided",
        0xcf => "cannot execute duplicated request",
        0xd0 => "SDR repository in update mode",
        0xd1 => "device in firmware update mode",
        0xd2 => "BMC initialization in progress",
        0xd3 => "destination unavailable",
        0xd4 => "insufficient privilege level",
        0xd5 => "command not supported in present state",
        0xd6 => "command sub-function disabled or unavailable",
        0xff => "unspecified error",
        _ => "reserved code",
    }
}

/// Whether the BMC says that it did not begin: busy, starting. After a timeout or without a response it may have.
pub(crate) fn is_untouched(completion: u8) -> bool {
    matches!(completion, 0xc0 | 0xd2)
}

/// Whether the same command may succeed a moment later: busy, timed out, no response to give, starting.
pub(crate) fn is_busy(completion: u8) -> bool {
    matches!(completion, 0xc0 | 0xc3 | 0xce | 0xd2)
}
