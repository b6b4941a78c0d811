//! Commands that this crate has no name for, and the reset of the BMC itself (spec 5.1, 20.2 and 20.3).
//!
//! Nobody knows whether such a command may happen twice, so it is sent once.

use std::fmt;

use crate::error::IpmiError;
use crate::message::Command;
use crate::session::Session;

/// Most data bytes of a raw command: with header and checksums the message stays below the 255 bytes that a BMC's buffer
/// of an IPMI message commonly has.
pub const RAW_DATA_MAX: usize = 240;

/// Network functions have six bits; even ones are requests (spec 5.1).
const NET_FN_MAX: u8 = 0x3e;

const COLD_RESET: Command = Command { net_fn: 6, number: 0x02, name: "cold reset" };
const WARM_RESET: Command = Command { net_fn: 6, number: 0x03, name: "warm reset" };

/// A raw command within bounds. Its data is not in its debug output: it may be a password.
#[derive(Clone, PartialEq, Eq)]
pub struct RawRequest {
    net_fn: u8,
    command: u8,
    data: Vec<u8>,
}

/// Why bytes are no raw command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RawError {
    /// No request has this network function.
    #[error(
        "network function {0:#04x} is not that of a request; use an even one from 0x00 to 0x3e"
    )]
    NetFn(u8),
    /// Too many data bytes.
    #[error("{0} data bytes are too many; a raw command has at most {RAW_DATA_MAX}")]
    Data(usize),
}

impl RawRequest {
    /// Network function, command and data, for the BMC's LUN 0.
    ///
    /// # Errors
    ///
    /// [`RawError`].
    pub fn new(net_fn: u8, command: u8, data: Vec<u8>) -> Result<Self, RawError> {
        if net_fn > NET_FN_MAX || !net_fn.is_multiple_of(2) {
            return Err(RawError::NetFn(net_fn));
        }
        if data.len() > RAW_DATA_MAX {
            return Err(RawError::Data(data.len()));
        }
        Ok(Self { net_fn, command, data })
    }

    /// Network function, even, at most 0x3e.
    #[must_use]
    pub fn net_fn(&self) -> u8 {
        self.net_fn
    }

    /// Command.
    #[must_use]
    pub fn command(&self) -> u8 {
        self.command
    }

    /// Data, at most [`RAW_DATA_MAX`] bytes.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }
}

impl fmt::Debug for RawRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawRequest")
            .field("net_fn", &self.net_fn)
            .field("command", &self.command)
            .field("data_bytes", &self.data.len())
            .finish()
    }
}

/// How a BMC is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// It starts anew as after power on; its sessions are lost.
    Cold,
    /// It starts anew and keeps what it was set to.
    Warm,
}

/// What a BMC said to its reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resetting {
    /// It agreed.
    Agreed,
    /// Nothing: many are gone before they answer. Whether it was reset must be seen.
    Silent,
}

impl Session {
    /// Sends any command once and returns the data of the reply, without its completion code.
    ///
    /// # Errors
    ///
    /// [`IpmiError`]; after [`IpmiError::NoAnswer`] nobody knows whether the BMC did it.
    pub async fn raw(&mut self, request: &RawRequest) -> Result<Vec<u8>, IpmiError> {
        let command =
            Command { net_fn: request.net_fn, number: request.command, name: "the raw command" };
        self.call_once(command, &request.data).await
    }

    /// Resets the BMC, not the machine. The session may be lost with it.
    ///
    /// # Errors
    ///
    /// [`IpmiError`], but not for silence.
    pub async fn reset(&mut self, reset: Reset) -> Result<Resetting, IpmiError> {
        let command = match reset {
            Reset::Cold => COLD_RESET,
            Reset::Warm => WARM_RESET,
        };
        match self.call_once(command, &[]).await {
            Ok(_) => Ok(Resetting::Agreed),
            Err(IpmiError::NoAnswer { message, .. }) if message == command.name => {
                Ok(Resetting::Silent)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_of_a_bounded_size_are_raw_commands() {
        assert!(RawRequest::new(0x06, 0x01, vec![]).is_ok());
        assert!(RawRequest::new(0x3e, 0xff, vec![0; RAW_DATA_MAX]).is_ok());
        for (net_fn, bytes, error) in [
            (0x07, 0, RawError::NetFn(7)),
            (0x40, 0, RawError::NetFn(0x40)),
            (0xff, 0, RawError::NetFn(0xff)),
            (0x06, RAW_DATA_MAX + 1, RawError::Data(RAW_DATA_MAX + 1)),
        ] {
            assert_eq!(RawRequest::new(net_fn, 1, vec![0; bytes]), Err(error));
        }
        let request = RawRequest::new(0x06, 0x47, vec![201]).unwrap();
        assert!(!format!("{request:?}").contains("201"), "data may be a password");
    }
}
