//! Sessions: Open Session, RAKP 1 to 4 (13.17 to 13.23), then sealed messages.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::command::{self, Commands};
use super::crypto::{Keys, Suite};
use super::packet::{self, Packet, Request};
use super::{Account, Chassis, Counters, Faults};

/// Status codes of RMCP+ (table 13-15).
const NO_RESOURCES: u8 = 0x01;
const INVALID_SESSION: u8 = 0x02;
const NO_USER: u8 = 0x0d;
const BAD_INTEGRITY: u8 = 0x0f;
const NO_SUITE: u8 = 0x11;

/// Payload types (table 13-16).
const IPMI: u8 = 0x00;
const OPEN_REQUEST: u8 = 0x10;
const RAKP_1: u8 = 0x12;
const RAKP_3: u8 = 0x14;

/// A session from Open Session on.
#[derive(Debug)]
struct Session {
    suite: Suite,
    console: u32,
    /// Console's and our random numbers, role byte: known after RAKP 1.
    randoms: Option<([u8; 16], [u8; 16], u8)>,
    keys: Option<Keys>,
    privilege: u8,
    sequence: u32,
    /// Highest sequence number taken, and the window below it (6.12.13: 16 values).
    received: u32,
    seen: u32,
}

/// The state of the whole BMC.
#[derive(Debug)]
pub(super) struct Bmc {
    account: Account,
    suites: Vec<u8>,
    commands: Commands,
    faults: Arc<Faults>,
    counters: Arc<Counters>,
    sessions: HashMap<u32, Session>,
    next: u32,
}

impl Bmc {
    pub(super) fn new(
        account: Account,
        suites: Vec<u8>,
        chassis: Arc<dyn Chassis>,
        faults: Arc<Faults>,
        counters: Arc<Counters>,
    ) -> Self {
        let commands = Commands::new(chassis);
        Self {
            account,
            suites,
            commands,
            faults,
            counters,
            sessions: HashMap::new(),
            next: 0x0200_0001,
        }
    }

    /// The datagram to send back, if any.
    pub(super) fn answer(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        match packet::parse(datagram)? {
            Packet::Plain { message } => self.outside(message),
            Packet::Plus { kind: IPMI, session: 0, payload, authenticated: false, .. } => {
                let reply = self.outside_reply(payload)?;
                Some(packet::open(IPMI, &reply))
            }
            Packet::Plus { kind: OPEN_REQUEST, payload, .. } => self.open(payload),
            Packet::Plus { kind: RAKP_1, payload, .. } => self.rakp_1(payload),
            Packet::Plus { kind: RAKP_3, payload, .. } => self.rakp_3(payload),
            Packet::Plus {
                kind: IPMI,
                session,
                sequence,
                payload,
                encrypted: true,
                sealed: Some((covered, code)),
                ..
            } => self.inside(session, sequence, payload, covered, code),
            Packet::Plus { .. } => None,
        }
    }

    fn outside(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.outside_reply(message).map(|reply| packet::plain(&reply))
    }

    /// What may be asked without a session.
    fn outside_reply(&self, message: &[u8]) -> Option<Vec<u8>> {
        let request = Request::parse(message)?;
        match (request.net_fn, request.command) {
            (0x06, 0x38) => Some(request.reply(command::OK, &command::channel_authentication())),
            (0x06, 0x54) => Some(request.reply(command::OK, &command::cipher_suites(&self.suites))),
            _ => None,
        }
    }

    fn open(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let tag = *payload.first()?;
        let console = u32::from_le_bytes(payload.get(4..8)?.try_into().ok()?);
        if take(&self.faults.no_sessions) {
            return Some(packet::open(0x11, &[tag, NO_RESOURCES, 0, 0]));
        }
        let numbers = [*payload.get(12)?, *payload.get(20)?, *payload.get(28)?];
        let suite =
            Suite::from_algorithms(numbers).filter(|suite| self.suites.contains(&suite.id()));
        let Some(suite) = suite else {
            return Some(packet::open(0x11, &[tag, NO_SUITE, 0, 0]));
        };
        let id = self.next;
        self.next = self.next.wrapping_add(1).max(1);
        let session = Session {
            suite,
            console,
            randoms: None,
            keys: None,
            privilege: 2,
            sequence: 0,
            received: 0,
            seen: 0,
        };
        self.sessions.insert(id, session);
        let mut out = vec![tag, 0, 4, 0];
        out.extend(console.to_le_bytes());
        out.extend(id.to_le_bytes());
        out.extend(payload.get(8..32)?);
        Some(packet::open(0x11, &out))
    }

    fn rakp_1(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let tag = *payload.first()?;
        let id_bytes: [u8; 4] = payload.get(4..8)?.try_into().ok()?;
        let Some(session) = self.sessions.get_mut(&u32::from_le_bytes(id_bytes)) else {
            return Some(packet::open(0x13, &[tag, INVALID_SESSION, 0, 0]));
        };
        let theirs: [u8; 16] = payload.get(8..24)?.try_into().ok()?;
        let role = *payload.get(24)?;
        let name_len = usize::from(*payload.get(27)?);
        let name = payload.get(28..28 + name_len)?;
        let console = session.console.to_le_bytes();
        let mut out = vec![tag, 0, 0, 0];
        out.extend(console);
        if name != self.account.username.as_bytes() {
            return Some(packet::open(0x13, &[&[tag, NO_USER, 0, 0][..], &console].concat()));
        }
        let ours: [u8; 16] = session.randoms.map_or_else(rand::random, |(_, ours, _)| ours);
        session.randoms = Some((theirs, ours, role));
        out.extend(ours);
        out.extend(self.commands.guid);
        let tail = [&[role, *payload.get(27)?][..], name].concat();
        let parts = [&console[..], &id_bytes, &theirs, &ours, &self.commands.guid, &tail];
        out.extend(session.suite.hmac(&padded(&self.account.password), &parts));
        Some(packet::open(0x13, &out))
    }

    fn rakp_3(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let tag = *payload.first()?;
        let id_bytes: [u8; 4] = payload.get(4..8)?.try_into().ok()?;
        let id = u32::from_le_bytes(id_bytes);
        let refuse = |status| Some(packet::open(0x15, &[tag, status, 0, 0]));
        let Some(session) = self.sessions.get_mut(&id) else { return refuse(INVALID_SESSION) };
        let Some((theirs, ours, role)) = session.randoms else { return refuse(INVALID_SESSION) };
        let key = padded(&self.account.password);
        let name = self.account.username.as_bytes();
        let tail = [&[role, u8::try_from(name.len()).unwrap_or_default()][..], name].concat();
        let console = session.console.to_le_bytes();
        let expected = session.suite.hmac(&key, &[&ours, &console, &tail]);
        if payload.get(1) != Some(&0) || payload.get(8..) != Some(&expected) {
            self.sessions.remove(&id);
            return refuse(BAD_INTEGRITY);
        }
        let sik = session.suite.hmac(&key, &[&theirs, &ours, &tail]);
        let keys = Keys::derive(session.suite, sik);
        let mut check = session.suite.hmac(&keys.sik, &[&theirs, &id_bytes, &self.commands.guid]);
        check.truncate(session.suite.code_len());
        if session.keys.is_none() {
            self.counters.opened.fetch_add(1, Ordering::Relaxed);
        }
        session.keys = Some(keys);
        Some(packet::open(0x15, &[&[tag, 0, 0, 0][..], &console, &check].concat()))
    }

    fn inside(
        &mut self,
        id: u32,
        sequence: u32,
        payload: &[u8],
        covered: &[u8],
        code: &[u8],
    ) -> Option<Vec<u8>> {
        let session = self.sessions.get_mut(&id)?;
        let keys = session.keys.clone()?;
        if keys.code(covered) != code || !session.accept(sequence) {
            return None;
        }
        let message = keys.decrypt(payload)?;
        let request = Request::parse(&message)?;
        self.counters.commands.fetch_add(1, Ordering::Relaxed);
        let closes = (request.net_fn, request.command) == (0x06, 0x3c);
        let (status, bytes) = if closes {
            self.counters.closed.fetch_add(1, Ordering::Relaxed);
            (command::OK, vec![])
        } else if take(&self.faults.busy) {
            (command::BUSY, vec![])
        } else {
            let lies = self.faults.ignores_power.load(Ordering::Relaxed);
            self.commands.answer(&request, &mut session.privilege, lies)
        };
        session.sequence = session.sequence.wrapping_add(1);
        let reply = request.reply(status, &bytes);
        let datagram = packet::sealed(IPMI, session.console, session.sequence, &reply, &keys);
        if closes {
            self.sessions.remove(&id);
        }
        Some(datagram)
    }
}

impl Session {
    /// Whether a sequence number is new and in the window; remembers it.
    fn accept(&mut self, sequence: u32) -> bool {
        if sequence > self.received {
            let ahead = sequence - self.received;
            self.seen = if ahead < 32 { (self.seen << ahead) | 1 } else { 1 };
            self.received = sequence;
            return true;
        }
        let behind = self.received - sequence;
        let fresh = sequence > 0 && behind < 16 && self.seen & (1 << behind) == 0;
        if fresh {
            self.seen |= 1 << behind;
        }
        fresh
    }
}

/// Counts a fault down; true while there is one left.
fn take(counter: &AtomicU32) -> bool {
    counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

/// A password as the 20-byte key of RAKP (13.31).
fn padded(password: &str) -> [u8; 20] {
    let mut key = [0; 20];
    for (to, from) in key.iter_mut().zip(password.bytes()) {
        *to = from;
    }
    key
}
