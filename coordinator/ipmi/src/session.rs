//! An established session: one command at a time, and always a Close Session at the end.

use std::fmt;
use std::time::Duration;

use crate::auth::{Keys, Suite};
use crate::error::IpmiError;
use crate::handshake;
use crate::message::{self, Command, Reply};
use crate::status;
use crate::target::{Limits, Privilege, Target};
use crate::transport::{Ended, Transport, Verdict};
use crate::window::Window;
use crate::wire::{self, Packet};

const SET_PRIVILEGE: Command =
    Command { net_fn: 6, number: 0x3b, name: "set session privilege level" };
const CLOSE: Command = Command { net_fn: 6, number: 0x3c, name: "close session" };
/// Completion codes of Set Session Privilege Level: not available to the user, above the session's limit.
const PRIVILEGE_LIMITS: [u8; 2] = [0x80, 0x81];
const INSUFFICIENT_PRIVILEGE: u8 = 0xd4;
/// Completion code of Close Session: the BMC does not know the session, so it is closed.
const NO_SUCH_SESSION: u8 = 0x87;
/// Times a command is sent to a BMC that says it is busy.
const BUSY_MAX: u32 = 5;
/// rqSeq has six bits.
const REQUEST_SEQUENCES: u8 = 64;

/// How often a command may reach the BMC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// Sent again when no answer comes.
    UntilAnswered,
    /// Sent once.
    Once,
}

/// A session with one BMC. Call [`Session::close`] at the end; a dropped session sends a close without waiting.
///
/// A command that the BMC executed but whose answer was lost is sent again: over UDP no command happens exactly
/// once. Every command here leads to the same state when repeated, but raw ones and resets: those are sent once.
pub struct Session {
    transport: Transport,
    keys: Keys,
    suite: Suite,
    username: String,
    privilege: Privilege,
    id: u32,
    /// Session sequence number of the last packet sent.
    sequence: u32,
    /// rqSeq of the last command.
    request: u8,
    window: Window,
    /// The session has been raised to `privilege`.
    raised: bool,
    /// The BMC may hold the session: it is owed a close.
    owed_close: bool,
}

impl Session {
    /// Logs in to the BMC, with the first of the target's suites that it offers.
    ///
    /// # Errors
    ///
    /// Any [`IpmiError`] but those of commands ([`IpmiError::Completion`], [`IpmiError::Busy`]).
    pub async fn open(target: &Target, limits: &Limits) -> Result<Self, IpmiError> {
        handshake::open(target, *limits).await
    }

    /// A session whose RAKP 3 is about to be sent. From then on the BMC may hold it.
    pub(crate) fn new(
        transport: Transport,
        keys: Keys,
        suite: Suite,
        target: &Target,
        id: u32,
    ) -> Self {
        Self {
            transport,
            keys,
            suite,
            username: target.username.clone(),
            privilege: target.privilege,
            id,
            sequence: 0,
            request: 0,
            window: Window::default(),
            raised: false,
            owed_close: true,
        }
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The BMC has said that there is no session.
    pub(crate) fn forget(&mut self) {
        self.owed_close = false;
    }

    /// The suite the BMC granted; worth remembering.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Ends the session. Silence counts as closed: a lost answer looks the same.
    ///
    /// # Errors
    ///
    /// [`IpmiError::Completion`] where the BMC refuses to close it.
    pub async fn close(mut self) -> Result<(), IpmiError> {
        let answer = self
            .send(
                CLOSE,
                &self.id.to_le_bytes(),
                2 * self.transport.limits.reply,
                Sending::UntilAnswered,
            )
            .await;
        match answer {
            // No time was left to send it: `drop` does.
            Err(IpmiError::OutOfTime { .. }) => Ok(()),
            Err(error) => {
                tracing::debug!(%error, "session counts as closed");
                self.forget();
                Ok(())
            }
            Ok(Reply { code, .. }) => {
                self.forget();
                if code == 0 || code == NO_SUCH_SESSION {
                    Ok(())
                } else {
                    Err(self.refused(CLOSE, code))
                }
            }
        }
    }

    /// Sends `command`, again while the BMC is busy, and returns the reply's body.
    pub(crate) async fn call(
        &mut self,
        command: Command,
        body: &[u8],
    ) -> Result<Vec<u8>, IpmiError> {
        self.repeat(command, body, Sending::UntilAnswered).await
    }

    async fn repeat(
        &mut self,
        command: Command,
        body: &[u8],
        sending: Sending,
    ) -> Result<Vec<u8>, IpmiError> {
        let mut pause = self.transport.limits.busy;
        let mut tries = 1;
        loop {
            let reply = self.send(command, body, self.transport.limits.message, sending).await?;
            if reply.code == 0 {
                return Ok(reply.body);
            }
            let undone = match sending {
                Sending::UntilAnswered => status::is_busy(reply.code),
                Sending::Once => status::is_untouched(reply.code),
            };
            let again = undone && tries < BUSY_MAX;
            if !again || !self.transport.pause(pause).await {
                return Err(self.refused(command, reply.code));
            }
            tries += 1;
            pause *= 2;
        }
    }

    /// As [`Self::call`], for commands above user level: a session starts there, whatever was asked for.
    pub(crate) async fn call_privileged(
        &mut self,
        command: Command,
        body: &[u8],
    ) -> Result<Vec<u8>, IpmiError> {
        self.raise().await?;
        self.call(command, body).await
    }

    /// As [`Self::call_privileged`], for what must not happen twice: it is sent again only where the BMC says that it was too
    /// busy for it.
    pub(crate) async fn call_once(
        &mut self,
        command: Command,
        body: &[u8],
    ) -> Result<Vec<u8>, IpmiError> {
        self.raise().await?;
        self.repeat(command, body, Sending::Once).await
    }

    async fn raise(&mut self) -> Result<(), IpmiError> {
        if !self.raised && self.privilege > Privilege::User {
            self.call(SET_PRIVILEGE, &[self.privilege.code()]).await?;
            self.raised = true;
        }
        Ok(())
    }

    /// One command and its reply, whatever the completion code.
    async fn send(
        &mut self,
        command: Command,
        body: &[u8],
        allowed: Duration,
        sending: Sending,
    ) -> Result<Reply, IpmiError> {
        self.request = (self.request + 1) % REQUEST_SEQUENCES;
        let request = self.request;
        let message = message::request(command, request, body);
        let Self { transport, keys, id, sequence, window, .. } = self;
        let mut encode = || {
            *sequence += 1;
            wire::seal(keys, *id, *sequence, rand::random(), &message)
        };
        let judge = |datagram: &[u8]| match receive(keys, window, datagram)
            .and_then(|clear| message::reply(&clear, command, request))
        {
            Some(reply) => Verdict::Done(reply),
            None => Verdict::Ignore,
        };
        let ended = match sending {
            Sending::UntilAnswered => {
                transport.exchange(command.name, allowed, encode, judge).await
            }
            Sending::Once => transport.exchange_once(command.name, allowed, &encode(), judge).await,
        };
        match ended {
            Ok(reply) => Ok(reply),
            Err(Ended::Error(error)) => Err(error),
            Err(Ended::Unproven) => Err(self.violation("an unauthenticated reply".to_owned())),
        }
    }

    /// The error for a completion code that is not 0.
    fn refused(&self, command: Command, code: u8) -> IpmiError {
        let address = self.transport.address.clone();
        let limited = command == SET_PRIVILEGE && PRIVILEGE_LIMITS.contains(&code);
        if limited || code == INSUFFICIENT_PRIVILEGE {
            let evidence = format!("{}, completion code {code:#04x}", command.name);
            let (username, privilege) = (self.username.clone(), self.privilege);
            return IpmiError::PrivilegeRefused { address, username, privilege, evidence };
        }
        if status::is_busy(code) {
            return IpmiError::Busy { address, command: command.name, code };
        }
        IpmiError::Completion { address, command: command.name, code }
    }

    /// The error for an authentic answer that makes no sense.
    pub(crate) fn violation(&self, reason: String) -> IpmiError {
        IpmiError::Protocol { address: self.transport.address.clone(), reason }
    }
}

/// The clear message in a datagram of this session; `None` for anything forged, repeated or foreign.
fn receive(keys: &Keys, window: &mut Window, datagram: &[u8]) -> Option<Vec<u8>> {
    let packet = Packet::decode(datagram)?;
    let clear = packet.unseal(keys)?;
    window.admit(packet.sequence).then_some(clear)
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.owed_close {
            self.request = (self.request + 1) % REQUEST_SEQUENCES;
            let message = message::request(CLOSE, self.request, &self.id.to_le_bytes());
            self.sequence += 1;
            let packet = wire::seal(&self.keys, self.id, self.sequence, rand::random(), &message);
            self.transport.send_and_forget(&packet);
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("bmc", &self.transport.address)
            .field("suite", &self.suite)
            .field("username", &self.username)
            .field("privilege", &self.privilege)
            .finish_non_exhaustive()
    }
}
