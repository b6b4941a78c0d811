//! Applies the lifecycle table to a record: state, target, and what its effects leave in the record. Pure.

use ironwright_api::{CleanStep, DeployStep, Rescue, Service, Work};
use jiff::Timestamp;

use super::lifecycle::{self, Effect, Event, Refused, Target, Verb};
use super::order::{self, OrderError};
use super::program::{self, Part};
use super::{Boot, Node, Object, Outcome, Phase, ProvisionState, WorkRecord, pretend};
use crate::plugins::Plugins;
use crate::settings::CleanSettings;

/// What a transition needs to know besides the record.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The time.
    pub now: Timestamp,
    /// How nodes are cleaned, and whether those that do not say are.
    pub clean: &'a CleanSettings,
    /// The steps asked for: of a manual cleaning or a service.
    pub steps: &'a [CleanStep],
    /// The steps of a deploy besides its own, those of templates among them.
    pub deploy_steps: &'a [DeployStep],
    /// Whether they are all the coordinator's own, and no ramdisk is to be started.
    pub without_ramdisk: bool,
    /// The plugins that a cleaning may use.
    pub plugins: &'a Plugins,
    /// The hash of a rescue's password.
    pub rescue: Option<&'a str>,
}

/// Why a record did not change.
#[derive(Debug, thiserror::Error)]
pub enum TransitionError {
    /// The table has no row for it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The order cannot be made.
    #[error(transparent)]
    Order(#[from] OrderError),
}

/// Whether the node is cleaned between tenants.
#[must_use]
pub fn is_cleaned(node: &Node, automated_clean: bool) -> bool {
    node.automated_clean.unwrap_or(automated_clean)
}

/// Moves `node` by `event`.
///
/// # Errors
///
/// [`TransitionError`]; the node is unchanged.
pub fn apply(node: &mut Node, event: Event, asked: &Asked<'_>) -> Result<(), TransitionError> {
    let transition = lifecycle::next(node.provision_state, event)?;
    // The one effect that can be refused goes first.
    let deploys = transition.effects.contains(&Effect::OrderDeploy);
    let deploy = match deploys && !pretend::is_pretended(node, "deploy") {
        true => Some(deploy_parts(node, asked)?),
        false => None,
    };
    node.provision_state = transition.state;
    node.provision_updated_at = Some(asked.now);
    match transition.target {
        Target::Keep => {}
        Target::Clear => node.target_provision_state = None,
        Target::Set(state) => node.target_provision_state = Some(state),
    }
    inspection_times(node, event, transition.state, asked.now);
    if event == Event::Asked(Verb::Abort) && transition.state != ProvisionState::Active {
        node.last_error = Some(format!("{} was aborted by request.", what(transition.state)));
        if let Some(work) = &mut node.work {
            work.abort = true;
        }
    } else if matches!(event, Event::Asked(_)) {
        node.last_error = None;
    }
    match deploy {
        Some(parts) => begin(node, parts, asked),
        None if deploys => pretend::begin(node, &program::in_order(asked.deploy_steps)),
        None => {}
    }
    for effect in transition.effects {
        perform(node, *effect, asked);
    }
    Ok(())
}

/// Ironic's two times of the last inspection.
fn inspection_times(node: &mut Node, event: Event, state: ProvisionState, now: Timestamp) {
    let at = serde_json::Value::from(wire_time(now));
    if event == Event::Asked(Verb::Inspect) {
        node.other.insert("inspection_started_at".to_owned(), at);
        node.other.remove("inspection_finished_at");
    } else if event == Event::Done
        && state == ProvisionState::Manageable
        && node.other.contains_key("inspection_started_at")
        && !node.other.contains_key("inspection_finished_at")
    {
        node.other.insert("inspection_finished_at".to_owned(), at);
    }
}

/// A time as Ironic writes it: microseconds and a numeric zone.
#[must_use]
pub fn wire_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}

fn what(state: ProvisionState) -> &'static str {
    if state == ProvisionState::CleanFailed {
        "Cleaning"
    } else if state == ProvisionState::InspectFailed {
        "Inspection"
    } else if state == ProvisionState::RescueFailed {
        "Rescue"
    } else if state == ProvisionState::ServiceFailed {
        "Service"
    } else {
        "Deployment"
    }
}

/// What an effect leaves in the record; what it does to the machine is the reconciler's.
fn perform(node: &mut Node, effect: Effect, asked: &Asked<'_>) {
    match effect {
        Effect::ReadPower | Effect::OrderDeploy => {}
        Effect::OrderClean => order_clean(node, asked),
        Effect::OrderInspect if pretend::is_pretended(node, "inspect") => pretend::begin(node, &[]),
        Effect::OrderInspect => begin(node, vec![agent(Work::Inspect)], asked),
        Effect::OrderRescue | Effect::LeaveRescue if pretend::is_pretended(node, "rescue") => {
            pretend::begin(node, &[]);
        }
        Effect::OrderRescue => {
            let password_hash = asked.rescue.unwrap_or_default().to_owned();
            begin(node, vec![agent(Work::Rescue(Rescue { password_hash }))], asked);
        }
        // The machine's own disk is all that is left to start.
        Effect::LeaveRescue => forget(node),
        Effect::OrderService if pretend::is_pretended(node, "deploy") => {
            pretend::begin(node, asked.steps);
        }
        Effect::OrderService => {
            let service = order::service(node, asked.clean, &asked.plugins.bundles());
            begin(node, program::of_steps(asked.steps, asked.without_ramdisk, service), asked);
        }
        Effect::BootRamdisk => {
            if let Some(work) = &mut node.work {
                work.order.attempt += 1;
                work.restarts += u32::from(work.outcome == Some(Outcome::Reboot));
                work.boot = Boot::default();
                work.outcome = None;
            }
            enter(node, Phase::StartRamdisk, asked.now);
        }
        Effect::FinishWork => enter(node, Phase::Finish, asked.now),
        // Nothing runs where no agent was asked.
        Effect::AbandonWork if node.work.is_none() => forget(node),
        Effect::AbandonWork => enter(node, Phase::Abandon, asked.now),
        Effect::ForgetWork | Effect::TearDown => forget(node),
        Effect::MarkCleanFailure => mark(node, !node.clean_step.is_empty(), "clean failure"),
        Effect::MarkServiceFailure => {
            mark(node, node.other.contains_key("service_step"), "service failure");
        }
    }
}

/// As Ironic: where a step had begun, nobody knows in which condition the machine is.
fn mark(node: &mut Node, begun: bool, fault: &str) {
    if begun {
        node.maintenance = true;
        node.maintenance_reason.clone_from(&node.last_error);
        node.fault = Some(fault.to_owned());
    }
}

fn order_clean(node: &mut Node, asked: &Asked<'_>) {
    if pretend::is_pretended(node, "deploy") {
        pretend::begin(node, asked.steps);
    } else if node.target_provision_state == Some(ProvisionState::Manageable) {
        let clean = order::clean(node, asked.clean, &asked.plugins.bundles());
        begin(node, program::of_steps(asked.steps, asked.without_ramdisk, clean), asked);
    } else if is_cleaned(node, asked.clean.automated) {
        let clean = order::automated_clean(node, asked.clean, asked.plugins.bundles());
        begin(node, vec![agent(clean)], asked);
    } else {
        node.work = None;
    }
}

fn agent(work: Work) -> Part {
    Part::Agent(Box::new(work))
}

/// The parts of a deploy.
fn deploy_parts(node: &Node, asked: &Asked<'_>) -> Result<Vec<Part>, OrderError> {
    let deploy = order::deploy(node, asked.clean, asked.plugins.bundles())?;
    let service = order::service(node, asked.clean, &asked.plugins.bundles());
    Ok(program::of_deploy(asked.deploy_steps.to_vec(), &deploy, service))
}

/// Begins work of these parts. What begins with an order of the agent's begins with its ramdisk.
fn begin(node: &mut Node, mut parts: Vec<Part>, asked: &Asked<'_>) {
    node.end_step();
    node.evidence.clear();
    node.plan.clear();
    let first = parts.iter().find_map(|part| match part {
        Part::Agent(work) => Some((**work).clone()),
        Part::Own(_) => None,
    });
    // Without an agent there is no order; an empty one stands for it.
    let order = order::order(first.unwrap_or_else(|| Work::Service(Service::default())));
    let mut work = WorkRecord::new(order, asked.now);
    work.without_ramdisk = asked.without_ramdisk;
    if matches!(parts.first(), Some(Part::Agent(_))) {
        parts.remove(0);
    } else {
        work.phase = Phase::Between;
    }
    work.later = parts;
    node.work = Some(work);
}

fn enter(node: &mut Node, phase: Phase, now: Timestamp) {
    if let Some(work) = &mut node.work {
        work.phase = phase;
        work.since = now;
    }
}

/// Drops the work; what it proved stays.
pub(crate) fn forget(node: &mut Node) {
    pretend::end(node);
    if let Some(work) = node.work.take() {
        let steps = work.done.into_iter().chain(work.steps);
        node.evidence = steps.filter_map(|step| step.evidence).collect();
        node.plan = work.plan;
    }
    node.end_step();
}

/// Forgets the instance, as Ironic does at the end of an undeploy.
pub(crate) fn forget_instance(node: &mut Node) {
    node.instance_info = Object::new();
    node.instance_uuid = None;
    for field in ["instance_name", "allocation_uuid"] {
        node.other.remove(field);
    }
    for key in [
        "vifs",
        "instance",
        "root_uuid_or_disk_id",
        "is_whole_disk_image",
        "deploy_boot_mode",
        "agent_url",
        "agent_secret_token",
        "deploy_steps",
    ] {
        node.driver_internal_info.remove(key);
    }
}
