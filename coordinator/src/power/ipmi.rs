//! Driver `ipmi`: one session an action, one session a BMC, with a pause between two.
//!
//! The password comes from `driver_info` alone and goes into the session's keys alone; nothing here prints it.

mod action;
mod target;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ironwright_ipmi::{Control, IpmiError, Limits, RawRequest, Resetting, Session, Suite, Target};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{Answer, Bmc, BmcError, BootDevice, Command, Performed, Vendor, VendorReply};
use crate::node::{Node, PowerState};
use crate::settings::Settings;

/// How long an action is tried again while its failures may pass (a BMC that restarts, a lost session).
const RETRY: Duration = Duration::from_secs(30);

/// All BMCs that are spoken to by IPMI.
#[derive(Debug)]
pub struct IpmiBmcs {
    lines: Mutex<HashMap<String, Arc<Line>>>,
    interval: Duration,
    change: Duration,
}

/// What is remembered of a BMC between two sessions.
#[derive(Debug)]
struct Line {
    turn: Semaphore,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Memory {
    /// When the last session ended.
    ended: Option<Instant>,
    /// The suite it spoke.
    suite: Option<Suite>,
}

impl IpmiBmcs {
    /// With the pacing and limits of `settings`.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            lines: Mutex::default(),
            interval: Duration::from_millis(settings.ipmi.min_command_interval_ms),
            change: settings.power_change(),
        }
    }

    /// The BMC that `driver_info` names.
    ///
    /// # Errors
    ///
    /// [`BmcError::Setting`].
    pub fn of(&self, node: &Node) -> Result<IpmiBmc, BmcError> {
        let target = target::from_driver_info(&node.driver_info)?;
        let address = format!("{}:{}", target.address, target.port);
        let line = {
            let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Line { turn: Semaphore::new(1), memory: Mutex::default() });
            lines.entry(address.clone()).or_insert_with(new).clone()
        };
        let asked = node.power_request.and(node.power_timeout).map(Duration::from_secs);
        let change = asked.unwrap_or(self.change);
        let soft = asked.unwrap_or(action::SOFT_OFF);
        Ok(IpmiBmc { target, address, line, interval: self.interval, change, soft })
    }
}

/// One BMC.
#[derive(Debug)]
pub struct IpmiBmc {
    target: Target,
    address: String,
    line: Arc<Line>,
    interval: Duration,
    change: Duration,
    soft: Duration,
}

/// Why an action in a session failed, before it is turned into ours.
#[derive(Debug)]
enum Trouble {
    Ipmi(IpmiError),
    Bmc(BmcError),
}

impl From<IpmiError> for Trouble {
    fn from(error: IpmiError) -> Self {
        Self::Ipmi(error)
    }
}

impl Trouble {
    fn passes(&self) -> bool {
        match self {
            Self::Ipmi(error) => error.is_transient(),
            Self::Bmc(_) => false,
        }
    }
}

impl From<Trouble> for BmcError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Ipmi(error) => Self::Client(Box::new(error)),
            Trouble::Bmc(error) => error,
        }
    }
}

impl IpmiBmc {
    fn memory<T>(&self, act: impl FnOnce(&mut Memory) -> T) -> T {
        act(&mut self.line.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for this BMC's turn and its pause, opens a session that may take `total`, and lets `act` use it.
    async fn session<T>(
        &self,
        total: Duration,
        act: impl AsyncFnOnce(&mut Session) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        // The semaphore is never closed; without a permit there would only be no queue.
        let turn = self.line.turn.acquire().await.ok();
        let memory = self.memory(|memory| *memory);
        if let Some(ended) = memory.ended {
            tokio::time::sleep_until(ended + self.interval).await;
        }
        let mut target = self.target.clone();
        if let Some(suite) = memory.suite {
            target.suites.sort_by_key(|known| *known != suite);
        }
        let limits = Limits { total, ..Limits::default() };
        let result = match Session::open(&target, &limits).await {
            Ok(mut session) => {
                let suite = session.suite();
                self.memory(|memory| memory.suite = Some(suite));
                let result = act(&mut session).await;
                if let Err(error) = session.close().await {
                    tracing::debug!(%error, "session not closed");
                }
                result
            }
            Err(error) => Err(error.into()),
        };
        self.memory(|memory| memory.ended = Some(Instant::now()));
        drop(turn);
        result
    }
}

impl Bmc for IpmiBmc {
    fn power_state(&self) -> Answer<'_, PowerState> {
        Box::pin(async {
            let read = async |session: &mut Session| Ok(action::power_state(session).await?);
            Ok(self.session(Limits::default().total, read).await?)
        })
    }

    fn perform<'a>(&'a self, commands: &'a [Command]) -> Answer<'a, Performed> {
        Box::pin(async move {
            let start = Instant::now();
            let action = action::Action {
                address: &self.address,
                change: self.change,
                soft: self.soft,
                poll: action::POLL,
            };
            let total = Limits::default().total + action.longest(commands);
            loop {
                let perform = async |session: &mut Session| action.perform(session, commands).await;
                match self.session(total, perform).await {
                    Err(trouble) if trouble.passes() && start.elapsed() < RETRY => {
                        if let Trouble::Ipmi(error) = &trouble {
                            tracing::debug!(%error, "trying the action again");
                        }
                        tokio::time::sleep(action::POLL).await;
                    }
                    result => return Ok(result?),
                }
            }
        })
    }

    fn boot_device(&self) -> Answer<'_, (Option<BootDevice>, Option<bool>)> {
        Box::pin(async {
            let read = async |session: &mut Session| Ok(session.boot_device().await?);
            let options = self.session(Limits::default().total, read).await?;
            let device = options.device.and_then(action::named);
            Ok((device, device.map(|_| options.flags.persistent)))
        })
    }

    fn vendor<'a>(&'a self, command: &'a Vendor) -> Answer<'a, VendorReply> {
        Box::pin(async move {
            let send = async |session: &mut Session| {
                Ok(match command {
                    Vendor::Raw(request) => VendorReply::Data(session.raw(request).await?),
                    Vendor::Interrupt => {
                        session.chassis_control(Control::Diagnostic).await?;
                        VendorReply::Data(Vec::new())
                    }
                    Vendor::Identify(on) => VendorReply::Data(session.raw(&light(*on)?).await?),
                    Vendor::Reset(reset) => match session.reset(*reset).await? {
                        Resetting::Agreed => VendorReply::Data(Vec::new()),
                        Resetting::Silent => VendorReply::Silent,
                    },
                })
            };
            // Not tried again: nobody knows whether it may happen twice.
            Ok(self.session(Limits::default().total, send).await?)
        })
    }
}

/// Chassis identify (spec 28.5): on until switched off, or off.
fn light(on: bool) -> Result<RawRequest, Trouble> {
    let data = if on { vec![0, 1] } else { vec![0] };
    RawRequest::new(0x00, 0x04, data)
        .map_err(|error| Trouble::Bmc(BmcError::Client(Box::new(error))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::node::PowerTarget;
    use crate::node::tests::node_with;

    #[tokio::test]
    async fn where_nothing_listens_the_error_names_the_address_and_no_secret() {
        let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut node = node_with(json!({}));
        let info = json!({"ipmi_address": "127.0.0.1", "ipmi_port": closed.port(), "ipmi_username": "admin", "ipmi_password": "hunter2"});
        node.driver_info = info.as_object().unwrap().clone();
        let bmc = IpmiBmcs::new(&Settings::default()).of(&node).unwrap();
        let error = bmc.power_state().await.unwrap_err().to_string();
        assert!(error.contains(&closed.to_string()), "{error}");
        assert!(!format!("{error} {bmc:?}").contains("hunter2"));
    }

    #[test]
    fn a_request_s_own_timeout_counts_for_that_request_alone() {
        let bmcs = IpmiBmcs::new(&Settings::default());
        let mut node = node_with(json!({}));
        node.driver_info = json!({"ipmi_address": "192.0.2.7"}).as_object().unwrap().clone();
        node.power_timeout = Some(7);
        for (request, change, soft) in [(None, 60, 600), (Some(PowerTarget::SoftOff), 7, 7)] {
            node.power_request = request;
            let bmc = bmcs.of(&node).unwrap();
            assert_eq!((bmc.change.as_secs(), bmc.soft.as_secs()), (change, soft));
        }
    }

    #[test]
    fn nodes_of_one_bmc_share_its_turn() {
        let bmcs = IpmiBmcs::new(&Settings::default());
        let mut node = node_with(json!({}));
        node.driver_info = json!({"ipmi_address": "192.0.2.7"}).as_object().unwrap().clone();
        let (one, other) = (bmcs.of(&node).unwrap(), bmcs.of(&node).unwrap());
        assert!(Arc::ptr_eq(&one.line, &other.line));
    }
}
