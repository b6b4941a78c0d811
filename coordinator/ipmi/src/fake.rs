//! A fake BMC for fault injection, in the test's own process on 127.0.0.1. It uses this crate's framing and key
//! derivation, so it proves nothing about them: the known answers, `ipmi_sim` and `ipmitool -C 17` do.
//!
//! Stricter than most BMCs: commands above user level need the privilege raise, a session sequence number counts
//! once, and a repeated RAKP 3 is answered with "invalid session id".

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::auth::{Algorithms, Keys, Suite, Transcript};
use crate::message::checksum;
use crate::rakp;
use crate::target::Target;
use crate::window::Window;
use crate::wire::{self, Packet, Payload};

pub(crate) const PASSWORD: &str = "hunter2";
const USERNAME: &[u8] = b"admin";

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// RAKP 2 carries a 20-byte code in any suite.
    ShortRakp2,
    /// Grants suite 3 whatever was asked for, as pyghmi does.
    GrantsOnlySuite3,
    /// Ignores proposals of a suite it lacks.
    IgnoresUnknownSuites,
    /// Answers these payload types or commands never.
    Silent(u8),
    /// Ignores each command the first time.
    IgnoresFirst,
    /// Sends every answer twice.
    Duplicates,
    /// Sends its first answer to a command again before every later one.
    Replays,
    /// Before every answer: a cut one, one with a flipped byte, noise.
    Mangles,
    /// Loses that share of datagrams in each direction, percent.
    Loses(u8),
    /// Answers the command (function, number) that many times with a completion code.
    Completes(u8, u8, u8, u32),
    /// Refuses a handshake message with a status.
    Refuses(Payload, u8),
    /// Allows no more than user privilege.
    OnlyUser,
}

/// What the BMC is.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) suites: Vec<Suite>,
    pub(crate) kg: Option<Vec<u8>>,
    pub(crate) slots: usize,
    pub(crate) fault: Fault,
}

impl Default for Setup {
    fn default() -> Self {
        Self { suites: vec![Suite::Suite3, Suite::Suite17], kg: None, slots: 4, fault: Fault::None }
    }
}

/// A command the BMC has taken: function, number, body; and the two sequence numbers it came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) net_fn: u8,
    pub(crate) number: u8,
    pub(crate) body: Vec<u8>,
    pub(crate) session_sequence: u32,
    pub(crate) request_sequence: u8,
}

struct Login {
    suite: Suite,
    console: u32,
    bmc_random: [u8; 16],
    console_random: [u8; 16],
    role: u8,
    username: Vec<u8>,
    keys: Option<Keys>,
    level: u8,
    sent: u32,
    window: Window,
}

#[derive(Default)]
pub(crate) struct State {
    logins: HashMap<u32, Login>,
    next_id: u32,
    pub(crate) on: bool,
    boot: [u8; 5],
    pub(crate) commands: Vec<Taken>,
    /// Sessions that reached RAKP 4, and those ended by Close Session.
    pub(crate) opened: usize,
    pub(crate) closed: usize,
    /// Half-open sessions the console gave up with RAKP 3 and a status.
    pub(crate) given_up: usize,
    pub(crate) proposals: Vec<u8>,
    first_answer: Option<Vec<u8>>,
    dice: u64,
}

/// A running fake; stops when dropped.
pub(crate) struct Fake {
    pub(crate) port: u16,
    pub(crate) state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Fake {
    pub(crate) async fn start(setup: Setup) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let task = tokio::spawn(serve(socket, setup, Arc::clone(&state)));
        Self { port, state, task }
    }

    pub(crate) async fn with(fault: Fault) -> Self {
        Self::start(Setup { fault, ..Setup::default() }).await
    }

    pub(crate) fn target(&self) -> Target {
        Target { port: self.port, ..Target::new("127.0.0.1", "admin", PASSWORD.into()) }
    }

    /// Sessions that reached RAKP 4, were closed, and are still held.
    pub(crate) fn sessions(&self) -> (usize, usize, usize) {
        let state = self.state.lock().unwrap();
        (state.opened, state.closed, state.logins.values().filter(|l| l.keys.is_some()).count())
    }

    pub(crate) fn commands(&self) -> Vec<Taken> {
        self.state.lock().unwrap().commands.clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, setup: Setup, state: Arc<Mutex<State>>) {
    let mut datagram = [0; 2048];
    loop {
        let Ok((bytes, peer)) = socket.recv_from(&mut datagram).await else { continue };
        let answers = {
            let mut state = state.lock().unwrap();
            if state.loses(setup.fault) {
                vec![]
            } else {
                state.answers(&setup, &datagram[..bytes])
            }
        };
        for answer in answers {
            let lost = state.lock().unwrap().loses(setup.fault);
            if !lost {
                send(&socket, peer, &answer).await;
            }
        }
    }
}

async fn send(socket: &UdpSocket, peer: SocketAddr, datagram: &[u8]) {
    // The client may be gone: that is its right.
    socket.send_to(datagram, peer).await.ok();
}

impl State {
    /// A fixed sequence of throws (Knuth's MMIX generator), so that a failure repeats.
    fn loses(&mut self, fault: Fault) -> bool {
        let Fault::Loses(percent) = fault else { return false };
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % 100 < u64::from(percent)
    }

    fn answers(&mut self, setup: &Setup, datagram: &[u8]) -> Vec<Vec<u8>> {
        let Some(answer) = self.answer(setup, datagram) else { return vec![] };
        if setup.fault == Fault::Mangles {
            let mut flipped = answer.clone();
            let at = answer.len() - 3;
            flipped[at] ^= 0x20;
            return vec![answer[..answer.len() / 2].to_vec(), flipped, vec![0xff; 7], answer];
        }
        if setup.fault == Fault::Replays && Packet::decode(datagram).is_some_and(|p| p.session != 0)
        {
            let first = self.first_answer.get_or_insert_with(|| answer.clone()).clone();
            return vec![first, answer];
        }
        let copies = if setup.fault == Fault::Duplicates { 2 } else { 1 };
        vec![answer; copies]
    }

    fn answer(&mut self, setup: &Setup, datagram: &[u8]) -> Option<Vec<u8>> {
        if datagram.get(4) == Some(&0) {
            return Some(channel_capabilities(datagram));
        }
        let packet = Packet::decode(datagram)?;
        let kinds = [
            (Payload::OpenRequest, Payload::OpenResponse, Self::open as fn(&mut Self, _, _) -> _),
            (Payload::Rakp1, Payload::Rakp2, Self::rakp2),
            (Payload::Rakp3, Payload::Rakp4, Self::rakp4),
        ];
        for (kind, answer, perform) in kinds {
            let Some(payload) = packet.plain(kind) else { continue };
            if setup.fault == Fault::Silent(kind as u8) {
                return None;
            }
            if let Fault::Refuses(refused, status) = setup.fault
                && refused == kind
            {
                return Some(wire::plain(answer, &[payload[0], status]));
            }
            return perform(self, setup, payload).map(|payload| wire::plain(answer, &payload));
        }
        self.command(setup, &packet)
    }

    fn open(&mut self, setup: &Setup, payload: &[u8]) -> Option<Vec<u8>> {
        let asked = Algorithms {
            authentication: payload[12],
            integrity: payload[20],
            confidentiality: payload[28],
        };
        let console = le(&payload[4..8]);
        let known = setup.suites.iter().copied().find(|suite| suite.algorithms() == asked);
        self.proposals.push(asked.authentication);
        let suite = match (known, setup.fault) {
            (_, Fault::GrantsOnlySuite3) => Suite::Suite3,
            (Some(suite), _) => suite,
            (None, Fault::IgnoresUnknownSuites) => return None,
            (None, _) => return Some(vec![payload[0], 0x04]),
        };
        if self.logins.values().filter(|login| login.keys.is_some()).count() >= setup.slots {
            return Some(vec![payload[0], 0x01, 0, 0, 0, 0, 0, 0]);
        }
        self.next_id += 1;
        let login = Login {
            suite,
            console,
            bmc_random: rand::random(),
            console_random: [0; 16],
            role: 0,
            username: vec![],
            keys: None,
            level: 2,
            sent: 0,
            window: Window::default(),
        };
        self.logins.insert(self.next_id, login);
        let granted = rakp::open_request(payload[0], 0, console, suite.algorithms());
        let (head, records) = granted.split_at(8);
        Some([head, &self.next_id.to_le_bytes(), records].concat())
    }

    fn rakp2(&mut self, setup: &Setup, payload: &[u8]) -> Option<Vec<u8>> {
        let id = le(&payload[4..8]);
        let Some(login) = self.logins.get_mut(&id) else { return Some(vec![payload[0], 0x02]) };
        login.console_random = payload[8..24].try_into().unwrap();
        login.role = payload[24];
        login.username = payload[28..].to_vec();
        if login.username != USERNAME {
            return Some(vec![payload[0], 0x0d, 0, 0, 0, 0, 0, 0]);
        }
        let mut code = login.transcript(id).rakp2_code(PASSWORD.as_bytes());
        if setup.fault == Fault::ShortRakp2 {
            code.truncate(20);
        }
        let head = [payload[0], 0, 0, 0];
        Some([&head, &login.console.to_le_bytes()[..], &login.bmc_random, &[7; 16], &code].concat())
    }

    fn rakp4(&mut self, setup: &Setup, payload: &[u8]) -> Option<Vec<u8>> {
        let id = le(&payload[4..8]);
        if payload[1] != 0 {
            self.given_up += usize::from(self.logins.remove(&id).is_some());
            return None;
        }
        let login = self.logins.get_mut(&id).filter(|login| login.keys.is_none());
        let Some(login) = login else { return Some(vec![payload[0], 0x02]) };
        let transcript = login.transcript(id);
        if payload[8..] != **transcript.rakp3_code(PASSWORD.as_bytes()) {
            return Some(vec![payload[0], 0x0f]);
        }
        let root = setup.kg.clone().unwrap_or_else(|| PASSWORD.into());
        let session_key = transcript.session_key(&root);
        let code = transcript.rakp4_code(&session_key);
        let answer = [&[payload[0], 0, 0, 0], &login.console.to_le_bytes()[..], &code].concat();
        login.keys = Some(Keys::derive(login.suite, &session_key));
        self.opened += 1;
        Some(answer)
    }

    fn command(&mut self, setup: &Setup, packet: &Packet<'_>) -> Option<Vec<u8>> {
        let login = self.logins.get_mut(&packet.session)?;
        let clear = packet.unseal(login.keys.as_ref()?)?;
        if !login.window.admit(packet.sequence) {
            return None;
        }
        let [_, net_fn, _, _, sequence, number, body @ .., _] = clear.as_slice() else {
            return None;
        };
        let taken = Taken {
            net_fn: net_fn >> 2,
            number: *number,
            body: body.to_vec(),
            session_sequence: packet.sequence,
            request_sequence: sequence >> 2,
        };
        let first = !self.commands.iter().any(|old| old.request_sequence == taken.request_sequence);
        self.commands.push(taken.clone());
        if setup.fault == Fault::Silent(taken.number)
            || (first && setup.fault == Fault::IgnoresFirst)
        {
            return (taken.number == 0x3c).then(|| self.forget(packet.session)).flatten();
        }
        let reply = self.perform(setup, packet.session, &taken);
        let login = self.logins.get_mut(&packet.session)?;
        login.sent += 1;
        let head = [0x81, (taken.net_fn | 1) << 2];
        let tail = [&[0x20, sequence & 0xfc, *number], &*reply].concat();
        let message = [&head, &[checksum(&head)][..], &tail, &[checksum(&tail)]].concat();
        let keys = login.keys.as_ref()?;
        let sealed = wire::seal(keys, login.console, login.sent, rand::random(), &message);
        if taken.number == 0x3c {
            self.forget(packet.session);
        }
        Some(sealed)
    }

    fn forget(&mut self, session: u32) -> Option<Vec<u8>> {
        self.closed += usize::from(self.logins.remove(&session).is_some());
        None
    }

    /// Completion code and body.
    fn perform(&mut self, setup: &Setup, session: u32, taken: &Taken) -> Vec<u8> {
        let (net_fn, number) = (taken.net_fn, taken.number);
        if let Fault::Completes(function, command, code, times) = setup.fault {
            let came =
                self.commands.iter().filter(|old| (old.net_fn, old.number) == (net_fn, number));
            if (function, command) == (net_fn, number) && came.count() <= times as usize {
                return vec![code];
            }
        }
        let level = &mut self.logins.get_mut(&session).unwrap().level;
        match (net_fn, number, taken.body.as_slice()) {
            (6, 0x3b, [wanted]) if setup.fault == Fault::OnlyUser && *wanted > 2 => vec![0x81],
            (6, 0x3b, [wanted]) => {
                *level = *wanted;
                vec![0, *wanted]
            }
            (6, 0x3c, _) => vec![0],
            (6, 0x01, _) => vec![0, 0x20, 1, 2, 0x31, 2, 0, 0x7c, 0x2a, 0, 1, 0],
            (0, 0x01, _) => vec![0, u8::from(self.on), 0, 0],
            (0, _, _) | (6, 0x02 | 0x03, _) if *level < 3 => vec![0xd4],
            (6, 0x02 | 0x03, _) => vec![0],
            (0, 0x02, [order]) => {
                self.on = *order != 0 && *order != 5;
                vec![0]
            }
            (0, 0x04, _) | (0, 0x08, [3, ..]) => vec![0],
            (0, 0x08, [5, flags @ ..]) => {
                self.boot = flags.try_into().unwrap();
                vec![0]
            }
            (0, 0x09, [5, ..]) => [&[0, 1, 5], &self.boot[..]].concat(),
            _ => vec![0xc1],
        }
    }
}

impl Login {
    fn transcript(&self, id: u32) -> Transcript<'_> {
        Transcript {
            suite: self.suite,
            console_session: self.console,
            bmc_session: id,
            console_random: self.console_random,
            bmc_random: self.bmc_random,
            bmc_guid: [7; 16],
            role: self.role,
            username: &self.username,
        }
    }
}

/// The one message outside RMCP+ that ipmitool begins with: this BMC speaks IPMI 2.0.
fn channel_capabilities(request: &[u8]) -> Vec<u8> {
    let head = [0x81, 0x1c];
    let tail = [0x20, request[18], 0x38, 0, 1, 0x80, 0x04, 0x02, 0, 0, 0, 0];
    let message = [&head, &[checksum(&head)][..], &tail, &[checksum(&tail)]].concat();
    let length = u8::try_from(message.len()).unwrap();
    [&request[..13], &[length], &message].concat()
}

fn le(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().unwrap())
}
