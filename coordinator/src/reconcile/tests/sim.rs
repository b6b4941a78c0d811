//! A machine, its BMC and its agent, simulated; and a coordinator over them that can be killed and started again.
//!
//! Time is a manual clock, and every call is ready at once or never: a look that is not ready hangs in a BMC call, and
//! dropping it is killing the coordinator there.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::FutureExt;
use ironwright_api::{
    Beat, CleanStep, Event, Heartbeat, HeartbeatReply, PROTOCOL, Progress, Report, Work,
};
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::actions::{self, Request};
use crate::agent::{self, BootDecision, Lookup, Peer};
use crate::app::{App, Clock};
use crate::node::lifecycle::Verb;
use crate::node::tests::node_with;
use crate::node::{Node, Port, PowerState, ProvisionState};
use crate::power::{Answer, Bmc, BmcError, Boot, BootDevice, Command, Performed, Power};
use crate::settings::Settings;
use crate::store::Store;
use crate::store::memory::Memory;

pub(super) const MAC: &str = "52:54:00:00:00:01";
/// The virtual time of one beat of the simulation.
const TICK: Duration = Duration::from_secs(2);

/// What goes wrong.
#[derive(Debug, Default, Clone)]
pub(super) struct Faults {
    /// The BMC does not answer.
    pub(super) bmc_silent: bool,
    /// The machine never fetches its boot script.
    pub(super) no_network: bool,
    /// The n-th BMC call (from 0) never returns: the coordinator is stopped there.
    pub(super) hang_at: Option<usize>,
    /// Whether the hanging call has its effect first.
    pub(super) hang_after_effect: bool,
    /// Power is lost once, when the agent has begun its step.
    pub(super) power_cut: bool,
    /// The agent is cut off once it has begun its step, but keeps its power.
    pub(super) agent_dies: bool,
    /// The reply to the final report is lost so many times.
    pub(super) final_replies_lost: u32,
    /// What the agent reports instead of `Finished`.
    pub(super) failure: Option<ironwright_api::Failure>,
}

#[derive(Debug)]
pub(super) struct SimAgent {
    pub(super) boot_id: Uuid,
    pub(super) token: String,
    pub(super) seq: u64,
    /// Sent, but not acknowledged.
    pub(super) pending: Vec<Report>,
    /// The order it works on.
    order: Option<Uuid>,
    /// How far: every step is begun and ended, then comes the final report.
    stage: usize,
    finished: bool,
    pub(super) last: HeartbeatReply,
}

#[derive(Debug)]
pub(super) struct Machine {
    pub(super) power: PowerState,
    pub(super) boot: Option<Boot>,
    /// What runs: none (off or booting), or the agent, or the disk.
    pub(super) agent: Option<SimAgent>,
    pub(super) runs_from_disk: bool,
    pub(super) log: Vec<Command>,
    pub(super) calls: usize,
    pub(super) faults: Faults,
}

impl Machine {
    fn execute(&mut self, command: Command) {
        self.log.push(command);
        match command {
            Command::On => {
                if self.power == PowerState::Off {
                    self.power = PowerState::On;
                    let network = self.boot.is_some_and(|boot| boot.device == BootDevice::Pxe);
                    self.runs_from_disk = !network;
                    if self.boot.is_some_and(|boot| !boot.persistent) {
                        self.boot = None;
                    }
                }
            }
            Command::Off | Command::SoftOff => self.off(),
            Command::Boot(boot) => self.boot = Some(boot),
        }
    }

    pub(super) fn off(&mut self) {
        self.power = PowerState::Off;
        self.agent = None;
        self.runs_from_disk = false;
    }
}

#[derive(Debug, Clone)]
pub(super) struct SimBmc(Arc<Mutex<Machine>>);

impl SimBmc {
    async fn call<T>(&self, act: impl FnOnce(&mut Machine) -> T) -> Result<T, BmcError> {
        let (hangs, answer) = {
            let mut machine = self.0.lock().unwrap();
            if machine.faults.bmc_silent {
                return Err(BmcError::Client(
                    "BMC 192.0.2.7:623 did not answer RAKP 1 within 6.0 s".into(),
                ));
            }
            let hangs = machine.faults.hang_at == Some(machine.calls);
            machine.calls += 1;
            let answer = (!hangs || machine.faults.hang_after_effect).then(|| act(&mut machine));
            (hangs, answer)
        };
        match answer {
            Some(answer) if !hangs => Ok(answer),
            _ => std::future::pending().await,
        }
    }
}

impl Bmc for SimBmc {
    fn power_state(&self) -> Answer<'_, PowerState> {
        Box::pin(self.call(|machine| machine.power))
    }

    fn perform<'a>(&'a self, commands: &'a [Command]) -> Answer<'a, Performed> {
        Box::pin(self.call(move |machine| {
            for command in commands {
                machine.execute(*command);
            }
            Performed { power: Some(machine.power), remarks: Vec::new() }
        }))
    }

    fn boot_device(&self) -> Answer<'_, (Option<BootDevice>, Option<bool>)> {
        Box::pin(self.call(|machine| {
            (machine.boot.map(|boot| boot.device), machine.boot.map(|boot| boot.persistent))
        }))
    }
}

impl Power for SimBmc {
    fn bmc(&self, _node: &Node) -> Result<Arc<dyn Bmc>, BmcError> {
        Ok(Arc::new(self.clone()))
    }
}

/// One coordinator, one machine.
pub(super) struct Rig {
    pub(super) app: App,
    pub(super) node: Uuid,
    machine: Arc<Mutex<Machine>>,
    pub(super) restarts: u32,
}

pub(super) fn peer(last: u8) -> Peer {
    Peer { address: [192, 0, 2, last].into(), secure: true }
}

impl Rig {
    /// A node in `state`, its machine off.
    pub(super) async fn new(state: ProvisionState, faults: Faults) -> Self {
        let machine = Machine {
            power: PowerState::Off,
            boot: None,
            agent: None,
            runs_from_disk: false,
            log: Vec::new(),
            calls: 0,
            faults,
        };
        let machine = Arc::new(Mutex::new(machine));
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let mut node = node_with(json!({
            "image_source": "http://h/debian.qcow2",
            "image_checksum": "0".repeat(64),
            "configdrive": {"meta_data": {"hostname": "n1"}},
        }));
        node.provision_state = state;
        store.create_node(&node).await.unwrap();
        let port: Port = serde_json::from_value(json!({
            "uuid": Uuid::now_v7(), "node_uuid": node.uuid, "address": MAC, "created_at": "2026-01-01T00:00:00Z",
        }))
        .unwrap();
        store.create_port(&port).await.unwrap();
        let mut settings = Settings::default();
        // The simulated agent knows one step, and it is no erase of data.
        settings.clean.erase_devices_priority = Some(0);
        let app = app(store, settings, &machine, Timestamp::from_second(1_800_000_000).unwrap());
        Self { app, node: node.uuid, machine, restarts: 0 }
    }

    pub(super) fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap()
    }

    /// Forgets everything but the store, as a killed coordinator does.
    pub(super) fn restart(&mut self) {
        self.restarts += 1;
        let settings = (*self.app.settings).clone();
        let clock = self.app.clock.clone();
        self.app = app(self.app.store.clone(), settings, &self.machine, clock.now());
        self.app.clock = clock;
    }

    /// What the scheduler does: looks at woken and due nodes.
    pub(super) async fn coordinate(&mut self) {
        let mut nodes = self.app.waker.take();
        nodes.extend(self.app.store.due(self.app.clock.now(), 10).await.unwrap());
        for node in nodes {
            match super::super::look(&self.app, node).now_or_never() {
                Some(result) => result.unwrap(),
                None => self.restart(),
            }
        }
    }

    pub(super) async fn record(&self) -> Node {
        self.app.store.node(&self.node.to_string()).await.unwrap().unwrap()
    }

    pub(super) async fn ask(&self, verb: Verb) {
        self.request(Request::plain(verb)).await;
    }

    pub(super) async fn request(&self, request: Request) {
        actions::provision(&self.app, &self.node.to_string(), request).await.unwrap();
    }

    /// Lets virtual time pass until the node is in `state` and at rest there.
    pub(super) async fn until(&mut self, state: ProvisionState) -> Node {
        for _ in 0..5_000 {
            self.tick().await;
            let node = self.record().await;
            let rests = node.work.is_none() || state.is_waiting();
            if node.provision_state == state && rests {
                return node;
            }
        }
        panic!("never {state}: {:?}", self.record().await);
    }

    /// Lets virtual time pass while `waits` says so.
    pub(super) async fn pass_while(&mut self, waits: impl Fn(&Machine, &Node) -> bool) {
        for _ in 0..5_000 {
            let node = self.record().await;
            if !waits(&self.machine(), &node) {
                return;
            }
            self.tick().await;
        }
        panic!("it never happened: {:?}", self.record().await);
    }

    /// Lets virtual time pass until the agent has its order.
    pub(super) async fn until_ordered(&mut self) {
        self.pass_while(|machine, _| {
            machine.agent.as_ref().is_none_or(|agent| agent.last.order.is_none())
        })
        .await;
    }

    pub(super) async fn history(&self) -> String {
        let lines = self.app.store.history(self.node).await.unwrap();
        lines.into_iter().map(|line| line.event).collect::<Vec<_>>().join("\n")
    }

    /// One step of the machine's life.
    pub(super) async fn tick(&mut self) {
        self.app.clock.advance(TICK);
        self.coordinate().await;
        let (on, has_agent, from_disk, no_network) = {
            let machine = self.machine();
            (
                machine.power == PowerState::On,
                machine.agent.is_some(),
                machine.runs_from_disk,
                machine.faults.no_network,
            )
        };
        if !on || from_disk || no_network {
            return;
        }
        if has_agent { self.beat().await } else { self.boot().await }
    }

    async fn boot(&self) {
        match agent::expect_boot(&self.app, MAC).await.unwrap() {
            BootDecision::LocalDisk => self.machine().runs_from_disk = true,
            BootDecision::Ramdisk { nonce, .. } => {
                let boot_id = Uuid::new_v4();
                let reply =
                    agent::lookup(&self.app, &lookup(&nonce, boot_id), peer(7)).await.unwrap();
                self.machine().agent = Some(SimAgent {
                    boot_id,
                    token: reply.config.agent_token.unwrap(),
                    seq: 0,
                    pending: Vec::new(),
                    order: None,
                    stage: 0,
                    finished: false,
                    last: HeartbeatReply::default(),
                });
            }
        }
    }

    /// One heartbeat, and then what the agent does about the reply.
    async fn beat(&self) {
        let Some(beat) = self.machine().agent.as_ref().map(heartbeat) else { return };
        let reply = agent::heartbeat(&self.app, self.node, beat, peer(7)).await;
        let mut machine = self.machine();
        let faults = machine.faults.clone();
        let Some(agent) = machine.agent.as_mut() else { return };
        let Ok(reply) = reply else { return };
        let final_sent = agent.finished;
        if final_sent && faults.final_replies_lost > 0 {
            machine.faults.final_replies_lost -= 1;
            return;
        }
        agent.pending.retain(|report| report.seq > reply.acknowledged);
        agent.work(&reply, &faults);
        agent.last = reply;
        let begun = agent.stage == 2;
        if begun && faults.power_cut {
            machine.faults.power_cut = false;
            machine.off();
        } else if begun && faults.agent_dies {
            machine.faults.agent_dies = false;
            machine.agent = None;
            machine.runs_from_disk = true;
        }
    }
}

impl SimAgent {
    /// One more stage of the order, once everything before is acknowledged.
    fn work(&mut self, reply: &HeartbeatReply, faults: &Faults) {
        let Some(order) = reply.order.as_ref().filter(|_| self.pending.is_empty()) else { return };
        if self.order != Some(order.order_id) {
            (self.order, self.stage, self.finished) = (Some(order.order_id), 0, false);
        }
        let steps = steps(&order.work);
        let event = match (steps.get(self.stage / 2).cloned(), self.stage % 2) {
            (Some(step), 0) => Event::StepStarted { step },
            (Some(step), _) => Event::StepEnded { step, evidence: None },
            (None, _) if self.finished => return,
            (None, _) => {
                self.finished = true;
                faults.failure.clone().map_or(Event::Finished, Event::Failed)
            }
        };
        self.stage += 1;
        self.seq += 1;
        self.pending.push(Report {
            seq: self.seq,
            order_id: order.order_id,
            attempt: order.attempt,
            event,
        });
    }
}

/// What an agent of this order begins and ends; one step where nobody names any.
fn steps(work: &Work) -> Vec<String> {
    let named = |steps: &[CleanStep]| steps.iter().map(|step| step.step.clone()).collect();
    match work {
        Work::Clean(clean) if clean.automated.is_none() => named(&clean.steps),
        Work::Service(service) => named(&service.steps),
        Work::Deploy(deploy) if !deploy.steps.is_empty() => {
            let extra = deploy.steps.iter().map(|step| step.step.clone());
            extra.chain(["work".to_owned()]).collect()
        }
        Work::Inspect | Work::Clean(_) | Work::Deploy(_) | Work::Rescue(_) | Work::Unknown => {
            vec!["work".to_owned()]
        }
    }
}

pub(super) fn lookup(nonce: &str, boot_id: Uuid) -> Lookup {
    Lookup {
        addresses: vec![MAC.into()],
        node_uuid: None,
        nonce: Some(nonce.into()),
        boot_id: Some(boot_id),
    }
}

pub(super) fn heartbeat(agent: &SimAgent) -> Heartbeat {
    Heartbeat {
        callback_url: String::new(),
        agent_token: agent.token.clone(),
        agent_version: "0.1.0".into(),
        ironwright: Some(Beat {
            protocol: PROTOCOL,
            boot_id: agent.boot_id,
            reports: agent.pending.clone(),
            progress: Some(Progress::default()),
            inventory: None,
            timing: None,
            erase_key: None,
        }),
    }
}

fn app(
    store: Arc<dyn Store>,
    settings: Settings,
    machine: &Arc<Mutex<Machine>>,
    now: Timestamp,
) -> App {
    let mut app = App::new(store, Arc::new(settings), Arc::new(SimBmc(machine.clone())));
    app.clock = Clock::manual(now);
    app.live = Arc::new(crate::app::Live::new(now));
    app
}
