//! Which BMC, as whom, and how long we are willing to wait. No I/O.

use std::fmt;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::auth::Suite;
use crate::error::IpmiError;

/// The UDP port of RMCP, registered with IANA.
pub(crate) const RMCP_PORT: u16 = 623;
/// Longest user name, bytes (spec table 13-11).
const USERNAME_MAX: usize = 16;
/// Longest password or BMC key, bytes (spec 13.31: 160 bits).
const KEY_MAX: usize = 20;

/// What a session may do (spec table 13-9). The BMC's user must be allowed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Privilege {
    /// Read only: power state and device id.
    User = 2,
    /// Also chassis control and boot options.
    Operator = 3,
    /// Everything; what most BMC accounts have.
    Administrator = 4,
}

impl Privilege {
    /// The number on the wire.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Operator => "operator",
            Self::Administrator => "administrator",
        })
    }
}

/// One BMC and the account to use on it.
#[derive(Clone)]
pub struct Target {
    /// Host name or IP address.
    pub address: String,
    /// UDP port, normally 623.
    pub port: u16,
    /// At most 16 bytes.
    pub username: String,
    /// At most 20 bytes.
    pub password: SecretString,
    /// The BMC key Kg, at most 20 bytes, where the BMC has one set. All zeros is the same as `None`.
    pub kg: Option<Vec<u8>>,
    /// What the session asks for.
    pub privilege: Privilege,
    /// Cipher suites, tried in this order.
    pub suites: Vec<Suite>,
}

impl Target {
    /// Port 623, administrator, no Kg, suite 17 then 3.
    #[must_use]
    pub fn new(
        address: impl Into<String>,
        username: impl Into<String>,
        password: SecretString,
    ) -> Self {
        Self {
            address: address.into(),
            port: RMCP_PORT,
            username: username.into(),
            password,
            kg: None,
            privilege: Privilege::Administrator,
            suites: vec![Suite::Suite17, Suite::Suite3],
        }
    }

    /// `host:port` as messages name it; IPv6 addresses in brackets.
    pub(crate) fn endpoint(&self) -> String {
        let Self { address, port, .. } = self;
        if address.contains(':') {
            format!("[{address}]:{port}")
        } else {
            format!("{address}:{port}")
        }
    }

    /// Refuses what the protocol cannot carry, before anything is sent.
    pub(crate) fn check(&self) -> Result<(), IpmiError> {
        let bad = |reason: String| Err(IpmiError::BadTarget { address: self.endpoint(), reason });
        let (name, password) = (self.username.len(), self.password.expose_secret().len());
        let kg = self.kg.as_ref().map_or(0, Vec::len);
        if name > USERNAME_MAX {
            return bad(format!("the username has {name} bytes, IPMI allows {USERNAME_MAX}"));
        }
        if password > KEY_MAX {
            return bad(format!("the password has {password} bytes, IPMI allows {KEY_MAX}"));
        }
        if kg > KEY_MAX {
            return bad(format!("the BMC key has {kg} bytes, IPMI allows {KEY_MAX}"));
        }
        if self.suites.is_empty() {
            return bad("no cipher suite is allowed; allow 17 or 3".to_owned());
        }
        Ok(())
    }

    /// Kuid: the password, which the HMAC pads with zeros.
    pub(crate) fn user_key(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.password.expose_secret().as_bytes().to_vec())
    }

    /// The key the session key is derived from: Kg, or Kuid where no Kg is set (spec 13.33).
    pub(crate) fn session_root(&self) -> Zeroizing<Vec<u8>> {
        match &self.kg {
            Some(kg) if kg.iter().any(|byte| *byte != 0) => Zeroizing::new(kg.clone()),
            Some(_) | None => self.user_key(),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("address", &self.address)
            .field("port", &self.port)
            .field("username", &self.username)
            .field("kg_set", &self.kg.is_some())
            .field("privilege", &self.privilege)
            .field("suites", &self.suites)
            .finish_non_exhaustive()
    }
}

/// How long to wait. The defaults suit a management network with slow BMCs and some loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Before a message is sent again the first time; grows by half each time. Default 1 s.
    pub reply: Duration,
    /// For one message with all its repetitions. Default 6 s: four sendings.
    pub message: Duration,
    /// For the whole session, from name resolution to the last command. Default 30 s.
    pub total: Duration,
    /// Before a command is repeated that the BMC was too busy for; doubles each time. Default 250 ms.
    pub busy: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            reply: Duration::from_secs(1),
            message: Duration::from_secs(6),
            total: Duration::from_secs(30),
            busy: Duration::from_millis(250),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target::new("192.0.2.7", "admin", "hunter2".into())
    }

    #[test]
    fn what_the_protocol_cannot_carry_is_refused_without_naming_the_password() {
        let long = |n: usize| "x".repeat(n);
        let cases = [
            (Target { username: long(17), ..target() }, "username has 17 bytes"),
            (Target { password: long(21).into(), ..target() }, "password has 21 bytes"),
            (Target { kg: Some(vec![1; 21]), ..target() }, "BMC key has 21 bytes"),
            (Target { suites: vec![], ..target() }, "no cipher suite"),
        ];
        for (target, expected) in cases {
            let message = target.check().unwrap_err().to_string();
            assert!(message.contains(expected) && message.contains("192.0.2.7:623"), "{message}");
            assert!(!message.contains(&long(21)), "{message}");
        }
        assert!(
            Target { username: long(16), password: long(20).into(), ..target() }.check().is_ok()
        );
    }

    #[test]
    fn debug_output_has_neither_password_nor_bmc_key() {
        let text = format!("{:?}", Target { kg: Some(b"kgsecret".to_vec()), ..target() });
        assert!(
            !text.contains("hunter2") && !text.contains("kgsecret") && !text.contains("107"),
            "{text}"
        );
    }

    #[test]
    fn a_zero_bmc_key_means_none() {
        assert_eq!(*Target { kg: Some(vec![0; 20]), ..target() }.session_root(), b"hunter2");
        assert_eq!(*Target { kg: Some(vec![1]), ..target() }.session_root(), [1]);
    }

    #[test]
    fn an_ipv6_address_is_bracketed_in_messages() {
        assert_eq!(Target::new("fe80::1", "", "".into()).endpoint(), "[fe80::1]:623");
    }
}
