//! What an unsuccessful message of the handshake means: another suite, another attempt, or an error.

use crate::error::IpmiError;
use crate::status;
use crate::target::Target;
use crate::transport::Ended;

pub(crate) const OPEN: &str = "Open Session";
pub(crate) const RAKP1: &str = "RAKP 1";
pub(crate) const RAKP3: &str = "RAKP 3";
/// RAKP status "invalid integrity check value".
pub(crate) const BAD_CODE: u8 = 0x0f;

/// Why a handshake with one suite ended.
pub(crate) enum Failure {
    /// The BMC does not have the suite: try the next.
    NotOffered(String),
    /// Nothing came back for the proposal: some BMCs ignore suites they do not know.
    Silent(IpmiError),
    /// Cut off half-way: try once more.
    Lost(IpmiError),
    /// Trying again changes nothing.
    Final(IpmiError),
}

impl Failure {
    /// A well-formed refusal.
    pub(crate) fn refused(target: &Target, message: &'static str, status: u8) -> Self {
        let address = target.endpoint();
        let username = target.username.clone();
        let evidence = || format!("{message}, status {status:#04x}");
        match status {
            0x01 | 0x0b => Self::Final(IpmiError::OutOfSessions { address, status }),
            0x04..=0x07 | 0x10..=0x12 if message == OPEN => {
                Self::NotOffered(format!("status {status:#04x}, {}", status::rakp(status)))
            }
            0x09 | 0x0a => {
                let (privilege, evidence) = (target.privilege, evidence());
                Self::Final(IpmiError::PrivilegeRefused { address, username, privilege, evidence })
            }
            0x0c | 0x0d => Self::Final(IpmiError::WrongUsername { address, username }),
            // RAKP 2 was proven, so more likely RAKP 1 was taken twice and the BMC's random number changed.
            BAD_CODE => {
                let evidence = "the BMC answers with status 0x0f";
                Self::Lost(IpmiError::WrongPassword { address, username, evidence })
            }
            _ => {
                let error = IpmiError::HandshakeRefused { address, message, status };
                if is_unknown_session(status) { Self::Lost(error) } else { Self::Final(error) }
            }
        }
    }

    /// No usable answer.
    pub(crate) fn ended(target: &Target, message: &'static str, ended: Ended) -> Self {
        let (address, username) = (target.endpoint(), target.username.clone());
        match ended {
            Ended::Error(error @ IpmiError::NoAnswer { .. }) => Self::Lost(error),
            Ended::Error(error) => Self::Final(error),
            Ended::Unproven if message == RAKP3 => Self::Final(IpmiError::WrongBmcKey { address }),
            Ended::Unproven => {
                let evidence = "the code of RAKP 2 does not match";
                Self::Final(IpmiError::WrongPassword { address, username, evidence })
            }
        }
    }
}

/// How often to start again. A lost RAKP 4 ends in a quick refusal, because the BMC takes the repeated RAKP 3 for one
/// of an unknown session; silence costs seconds, and a refused code may count towards locking the account.
pub(crate) fn patience(lost: &IpmiError) -> u8 {
    if matches!(lost, IpmiError::HandshakeRefused { .. }) { 4 } else { 1 }
}

/// RAKP status "invalid" or "inactive session id".
pub(crate) fn is_unknown_session(status: u8) -> bool {
    matches!(status, 0x02 | 0x08)
}
