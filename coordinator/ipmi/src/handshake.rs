//! From nothing to a session: Open Session, RAKP 1-4, for one suite after the other.
//!
//! ```text
//!   Open Session ──▶ RAKP 1 ──▶ RAKP 3 ──▶ Session
//!    │ refused or      │ unknown id, silence: again from Open Session
//!    │ silent          │ wrong code, refused: the error
//!    ▼
//!   next suite
//! ```
//! Handshake answers carry no proof of origin, so one that is mangled or fails its check is not believed at once:
//! the exchange goes on until the deadline, three such answers, or a well-formed refusal.

use std::net::SocketAddr;

use tokio::net::lookup_host;
use tokio::time::{Instant, timeout_at};

use crate::auth::{self, Keys, Suite, Transcript};
use crate::error::IpmiError;
use crate::failure::{BAD_CODE, Failure, OPEN, RAKP1, RAKP3, is_unknown_session, patience};
use crate::rakp::{self, Answer, Opened, Rakp2};
use crate::session::Session;
use crate::target::{Limits, Target};
use crate::transport::{Ended, Transport, Verdict};
use crate::wire::{self, Packet, Payload};

/// Look the user up by name only, not by name and privilege (spec 13.20, role byte).
const NAME_ONLY: u8 = 0x10;

/// Opens a session.
pub(crate) async fn open(target: &Target, limits: Limits) -> Result<Session, IpmiError> {
    target.check()?;
    let deadline = Instant::now() + limits.total;
    let addresses = resolve(target, &limits, deadline).await?;
    let (mut tried, mut silent) = (Vec::new(), None);
    for &suite in &target.suites {
        let attempt = Attempt { target, suite, limits, deadline, addresses: &addresses };
        if silent.is_some() && !attempt.has_time() {
            break;
        }
        match attempt.insist().await {
            Ok(session) => return Ok(session),
            Err(Failure::NotOffered(answer)) => {
                tracing::debug!(bmc = target.endpoint(), %suite, answer, "suite not offered");
                tried.push((suite, answer));
            }
            // Keep the first: the second may already lack time.
            Err(Failure::Silent(error)) => silent = silent.or(Some(error)),
            Err(Failure::Lost(error) | Failure::Final(error)) => return Err(error),
        }
    }
    Err(silent.unwrap_or(IpmiError::NoCommonSuite { address: target.endpoint(), tried }))
}

async fn resolve(
    target: &Target,
    limits: &Limits,
    deadline: Instant,
) -> Result<Vec<SocketAddr>, IpmiError> {
    let address = target.endpoint();
    let host = (target.address.as_str(), target.port);
    match timeout_at(deadline, lookup_host(host)).await {
        Ok(Ok(addresses)) => Ok(addresses.collect()),
        Ok(Err(source)) => Err(IpmiError::Resolve { address, source }),
        Err(_) => {
            Err(IpmiError::OutOfTime { address, message: "name resolution", limit: limits.total })
        }
    }
}

/// What every message of a handshake needs.
struct Attempt<'a> {
    target: &'a Target,
    suite: Suite,
    limits: Limits,
    deadline: Instant,
    addresses: &'a [SocketAddr],
}

impl Attempt<'_> {
    /// Handshakes until one is not cut off half-way.
    async fn insist(&self) -> Result<Session, Failure> {
        let mut restarts = 0;
        loop {
            match self.run().await {
                Err(Failure::Lost(error)) if restarts < patience(&error) && self.has_time() => {
                    tracing::debug!(%error, restarts, "handshake cut off, starting again");
                    restarts += 1;
                }
                ended => return ended,
            }
        }
    }

    fn has_time(&self) -> bool {
        Instant::now() < self.deadline
    }

    /// One handshake, on a socket of its own.
    async fn run(&self) -> Result<Session, Failure> {
        let transport = Transport::connect(self.target, self.addresses, self.limits, self.deadline)
            .await
            .map_err(Failure::Final)?;
        let console_session = rand::random_range(1..=u32::MAX);
        // A late answer to another attempt has another tag.
        let tag = rand::random_range(0..64);
        let bmc_session = self.propose(&transport, tag, console_session).await?;
        let mut transcript = Transcript {
            suite: self.suite,
            console_session,
            bmc_session,
            console_random: rand::random(),
            bmc_random: [0; 16],
            bmc_guid: [0; 16],
            role: NAME_ONLY | self.target.privilege.code(),
            username: self.target.username.as_bytes(),
        };
        self.authenticate(&transport, tag + 1, &mut transcript).await?;
        self.confirm(transport, tag + 2, &transcript).await
    }

    /// Open Session: the BMC's session id, where it grants just this suite.
    async fn propose(
        &self,
        transport: &Transport,
        tag: u8,
        console_session: u32,
    ) -> Result<u32, Failure> {
        let offer = self.suite.algorithms();
        let request = rakp::open_request(tag, self.target.privilege.code(), console_session, offer);
        let answer = transport
            .exchange(
                OPEN,
                self.limits.message,
                || wire::plain(Payload::OpenRequest, &request),
                |datagram| {
                    take(
                        plain(datagram, Payload::OpenResponse)
                            .and_then(|payload| rakp::open_response(payload, tag, console_session)),
                    )
                },
            )
            .await;
        match answer {
            Ok(Answer::Granted(Opened { bmc_session, algorithms })) if algorithms == offer => {
                Ok(bmc_session)
            }
            // pyghmi (VirtualBMC) answers every proposal with suite 3 and status 0.
            Ok(Answer::Granted(opened)) => Err(Failure::NotOffered(format!(
                "offers algorithms {}/{}/{} instead",
                opened.algorithms.authentication,
                opened.algorithms.integrity,
                opened.algorithms.confidentiality,
            ))),
            Ok(Answer::Refused(status)) => Err(Failure::refused(self.target, OPEN, status)),
            Err(Ended::Error(error @ IpmiError::NoAnswer { .. })) => Err(Failure::Silent(error)),
            Err(ended) => Err(Failure::ended(self.target, OPEN, ended)),
        }
    }

    /// RAKP 1 and 2: fills in the BMC's half of the transcript, once it is proven that the BMC knows the password.
    async fn authenticate(
        &self,
        transport: &Transport,
        tag: u8,
        transcript: &mut Transcript<'_>,
    ) -> Result<(), Failure> {
        let Transcript { console_session, bmc_session, console_random, role, .. } = *transcript;
        let request = rakp::rakp1(tag, bmc_session, console_random, role, transcript.username);
        let user_key = self.target.user_key();
        let mut short = None;
        let judge = |datagram: &[u8]| {
            let answer = plain(datagram, Payload::Rakp2)
                .and_then(|payload| rakp::rakp2(payload, tag, console_session));
            let Some(Answer::Granted(Rakp2 { random, guid, code })) = answer else {
                return take(answer.map(|answer| answer.map(|_| ())));
            };
            (transcript.bmc_random, transcript.bmc_guid) = (random, guid);
            short = (code.len() < self.suite.digest_bytes()).then_some(code.len());
            if auth::matches(&transcript.rakp2_code(&user_key), &code) {
                Verdict::Done(Answer::Granted(()))
            } else {
                Verdict::Unproven
            }
        };
        let encode = || wire::plain(Payload::Rakp1, &request);
        let ended = match transport.exchange(RAKP1, self.limits.message, encode, judge).await {
            Ok(Answer::Granted(())) => return Ok(()),
            Ok(Answer::Refused(status)) => {
                return Err(Failure::refused(self.target, RAKP1, status));
            }
            Err(ended) => ended,
        };
        if let Ended::Unproven = ended {
            // The way to give the half-open session back (spec 13.22).
            let give_up = rakp::rakp3(tag + 1, BAD_CODE, bmc_session, &[]);
            transport.send_and_forget(&wire::plain(Payload::Rakp3, &give_up));
            if let Some(bytes) = short {
                let needed = self.suite.digest_bytes();
                return Err(Failure::NotOffered(format!(
                    "RAKP 2 has a code of {bytes} bytes, not {needed}"
                )));
            }
        }
        Err(Failure::ended(self.target, RAKP1, ended))
    }

    /// RAKP 3 and 4: the session, once it is proven that both sides have the same key.
    async fn confirm(
        &self,
        transport: Transport,
        tag: u8,
        transcript: &Transcript<'_>,
    ) -> Result<Session, Failure> {
        let code = transcript.rakp3_code(&self.target.user_key());
        let request = rakp::rakp3(tag, 0, transcript.bmc_session, &code);
        let session_key = transcript.session_key(&self.target.session_root());
        let expected = transcript.rakp4_code(&session_key);
        let keys = Keys::derive(self.suite, &session_key);
        let mut session =
            Session::new(transport, keys, self.suite, self.target, transcript.bmc_session);
        let mut doubtful = false;
        let judge = |datagram: &[u8]| {
            let answer = plain(datagram, Payload::Rakp4)
                .and_then(|payload| rakp::rakp4(payload, tag, transcript.console_session));
            match answer {
                Some(Answer::Granted(code)) if auth::matches(&expected, &code) => {
                    Verdict::Done(Answer::Granted(()))
                }
                Some(Answer::Granted(_)) => {
                    doubtful = true;
                    Verdict::Unproven
                }
                // Says only that the session is not half-open any more.
                Some(Answer::Refused(_)) if doubtful => Verdict::Unproven,
                refused => take(refused.map(|answer| answer.map(|_| ()))),
            }
        };
        let encode = || wire::plain(Payload::Rakp3, &request);
        match session.transport().exchange(RAKP3, self.limits.message, encode, judge).await {
            Ok(Answer::Granted(())) => Ok(session),
            Ok(Answer::Refused(status)) => {
                // An unknown id may mean: RAKP 4 was lost and the session is established. Then it is closed by drop.
                if !is_unknown_session(status) {
                    session.forget();
                }
                Err(Failure::refused(self.target, RAKP3, status))
            }
            Err(ended) => Err(Failure::ended(self.target, RAKP3, ended)),
        }
    }
}

/// The payload of a handshake packet of type `kind`.
fn plain(datagram: &[u8], kind: Payload) -> Option<&[u8]> {
    Packet::decode(datagram)?.plain(kind)
}

fn take<T>(answer: Option<T>) -> Verdict<T> {
    answer.map_or(Verdict::Ignore, Verdict::Done)
}
