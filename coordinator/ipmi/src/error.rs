//! Why a BMC could not be used, so that a caller can decide and a person knows what to do.

use std::io;
use std::time::Duration;

use crate::auth::Suite;
use crate::target::Privilege;

/// A failed session or command. Every message names the BMC as `host:port`; none contains a secret.
#[derive(Debug, thiserror::Error)]
pub enum IpmiError {
    /// The settings cannot be used with any BMC.
    #[error("BMC {address}: {reason}")]
    BadTarget {
        /// `host:port`.
        address: String,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// The host name has no address.
    #[error("BMC {address}: cannot resolve the name; check the BMC address and DNS")]
    Resolve {
        /// `host:port`.
        address: String,
        /// The resolver's answer.
        source: io::Error,
    },
    /// No local socket could be made.
    #[error("BMC {address}: cannot open a UDP socket; check this host's limit of open files")]
    Socket {
        /// `host:port`.
        address: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The network said so at once: nothing listens there, or no route.
    #[error(
        "BMC {address} is unreachable; check the address and port and that IPMI over LAN is enabled"
    )]
    Unreachable {
        /// `host:port`.
        address: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Silence.
    #[error(
        "BMC {address} did not answer {message} within {:.1} s ({sent} sent); check the address, firewall and that IPMI over LAN is enabled",
        waited.as_secs_f64()
    )]
    NoAnswer {
        /// `host:port`.
        address: String,
        /// What was not answered: a handshake message or a command.
        message: &'static str,
        /// From the first sending.
        waited: Duration,
        /// Datagrams sent for it.
        sent: u32,
    },
    /// The session lived for all of [`crate::Limits::total`].
    #[error("BMC {address}: no time left for {message}, the session may take {:.1} s; open a new session", limit.as_secs_f64())]
    OutOfTime {
        /// `host:port`.
        address: String,
        /// What could not be sent or retried any more.
        message: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The BMC does not know the user.
    #[error(
        "BMC {address} does not know the user {username:?}; check the username and that the account is enabled"
    )]
    WrongUsername {
        /// `host:port`.
        address: String,
        /// As sent.
        username: String,
    },
    /// Password and BMC's record of it differ.
    #[error(
        "BMC {address} does not accept the password of {username:?} ({evidence}); check the password"
    )]
    WrongPassword {
        /// `host:port`.
        address: String,
        /// As sent.
        username: String,
        /// How we know: a code that does not match, or a status.
        evidence: &'static str,
    },
    /// The user is right, the session key is not: the BMC has another Kg.
    #[error("BMC {address} derives another session key; check the BMC key (Kg)")]
    WrongBmcKey {
        /// `host:port`.
        address: String,
    },
    /// The user may not do this.
    #[error(
        "BMC {address} refuses {privilege} privilege to {username:?} ({evidence}); raise the account's privilege or ask for less"
    )]
    PrivilegeRefused {
        /// `host:port`.
        address: String,
        /// As sent.
        username: String,
        /// What was asked for.
        privilege: Privilege,
        /// The message or command and the BMC's answer.
        evidence: String,
    },
    /// None of the allowed suites is offered. Suites without encryption or password check are never tried.
    #[error(
        "BMC {address} offers none of the allowed cipher suites ({}); enable suite 17 or 3 on the BMC",
        list(tried)
    )]
    NoCommonSuite {
        /// `host:port`.
        address: String,
        /// Each suite tried and the BMC's answer.
        tried: Vec<(Suite, String)>,
    },
    /// All sessions are taken.
    #[error("BMC {address} has no free session (status {status:#04x}: {}); wait, or close other sessions", crate::status::rakp(*status))]
    OutOfSessions {
        /// `host:port`.
        address: String,
        /// RAKP status.
        status: u8,
    },
    /// Still busy after the retries: completion code 0xC0, 0xC3, 0xCE or 0xD2.
    #[error("BMC {address} is too busy for {command} (completion code {code:#04x}: {}); try again later", crate::status::completion(*code))]
    Busy {
        /// `host:port`.
        address: String,
        /// The command.
        command: &'static str,
        /// The last completion code.
        code: u8,
    },
    /// The BMC refuses the command.
    #[error("BMC {address} refuses {command} (completion code {code:#04x}: {}); see the BMC's manual", crate::status::completion(*code))]
    Completion {
        /// `host:port`.
        address: String,
        /// The command.
        command: &'static str,
        /// Completion code.
        code: u8,
    },
    /// The BMC refuses the handshake for a reason without an own variant.
    #[error("BMC {address} refuses {message} (status {status:#04x}: {}); try again, then restart the BMC", crate::status::rakp(*status))]
    HandshakeRefused {
        /// `host:port`.
        address: String,
        /// The handshake message.
        message: &'static str,
        /// RAKP status.
        status: u8,
    },
    /// Authentic but senseless, or only unusable answers until the deadline.
    #[error(
        "BMC {address} violates the protocol: {reason}; check what listens there and update the BMC's firmware"
    )]
    Protocol {
        /// `host:port`.
        address: String,
        /// What was wrong.
        reason: String,
    },
}

impl IpmiError {
    /// Whether the same request may succeed later without anyone changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Resolve { .. }
            | Self::Socket { .. }
            | Self::Unreachable { .. }
            | Self::NoAnswer { .. }
            | Self::OutOfTime { .. }
            | Self::OutOfSessions { .. }
            | Self::Busy { .. }
            | Self::HandshakeRefused { .. }
            | Self::Protocol { .. } => true,
            Self::BadTarget { .. }
            | Self::WrongUsername { .. }
            | Self::WrongPassword { .. }
            | Self::WrongBmcKey { .. }
            | Self::PrivilegeRefused { .. }
            | Self::NoCommonSuite { .. }
            | Self::Completion { .. } => false,
        }
    }
}

fn list(tried: &[(Suite, String)]) -> String {
    let each: Vec<_> = tried.iter().map(|(suite, answer)| format!("{suite}: {answer}")).collect();
    each.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_bmc_the_number_its_name_and_what_to_do() {
        let address = || "192.0.2.7:623".to_owned();
        let waited = Duration::from_millis(6040);
        let errors = [
            (
                IpmiError::NoAnswer { address: address(), message: "RAKP 1", waited, sent: 4 },
                "BMC 192.0.2.7:623 did not answer RAKP 1 within 6.0 s (4 sent); check the address, firewall and that IPMI over LAN is enabled",
            ),
            (
                IpmiError::Completion {
                    address: address(),
                    command: "chassis control",
                    code: 0xd5,
                },
                "BMC 192.0.2.7:623 refuses chassis control (completion code 0xd5: command not supported in present state); see the BMC's manual",
            ),
            (
                IpmiError::NoCommonSuite {
                    address: address(),
                    tried: vec![
                        (Suite::Suite17, "refused".to_owned()),
                        (Suite::Suite3, "silent".to_owned()),
                    ],
                },
                "BMC 192.0.2.7:623 offers none of the allowed cipher suites (suite 17: refused; suite 3: silent); enable suite 17 or 3 on the BMC",
            ),
            (
                IpmiError::OutOfSessions { address: address(), status: 1 },
                "BMC 192.0.2.7:623 has no free session (status 0x01: insufficient resources to create a session); wait, or close other sessions",
            ),
        ];
        for (error, expected) in errors {
            assert_eq!(error.to_string(), expected);
        }
    }
}
