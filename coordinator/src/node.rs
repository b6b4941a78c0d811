//! The node record: Ironic's fields under Ironic's names, plus what we track of the work in progress.
//!
//! The record is stored as one document (its serde form) beside the columns that lists and filters need.
//! Nothing here does I/O; [`lifecycle`] is the only place that changes `provision_state`.

pub mod attributes;
pub mod deadline;
pub mod explain;
pub mod interfaces;
pub mod lifecycle;
pub mod order;
pub mod patch;
mod port;
mod power;
pub mod pretend;
pub mod program;
#[cfg(test)]
pub(crate) mod sample;
pub mod transition;
pub mod validate;
mod work;

use std::collections::BTreeMap;

use ironwright_api::{CleanStep, Evidence, PlannedStep};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

pub use lifecycle::ProvisionState;
pub use port::Port;
pub use power::{PowerState, PowerTarget};
pub use work::{Boot, Outcome, Phase, WorkRecord};

/// What stands for a secret in answers.
pub const MASK: &str = "******";

/// A JSON object.
pub type Object = Map<String, Value>;

/// One enrolled machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Node {
    /// Identifier.
    pub uuid: Uuid,
    /// Unique name.
    pub name: Option<String>,
    /// Hardware type; `ipmi` or `fake-hardware`.
    pub driver: String,
    /// BMC address and credentials, boot settings.
    #[serde(default)]
    pub driver_info: Object,
    /// What drivers and the agent remember (masked on the wire).
    #[serde(default)]
    pub driver_internal_info: Object,
    /// Facts about the hardware; `root_device` hints and `capabilities` live here.
    #[serde(default)]
    pub properties: Object,
    /// What to deploy.
    #[serde(default)]
    pub instance_info: Object,
    /// The operator's own notes.
    #[serde(default)]
    pub extra: Object,
    /// The instance on it.
    #[serde(default)]
    pub instance_uuid: Option<Uuid>,
    /// Where in the lifecycle.
    pub provision_state: ProvisionState,
    /// Where it is going.
    #[serde(default)]
    pub target_provision_state: Option<ProvisionState>,
    /// When `provision_state` last changed.
    #[serde(default)]
    pub provision_updated_at: Option<Timestamp>,
    /// Last known power state.
    #[serde(default)]
    pub power_state: Option<PowerState>,
    /// Power state being reached.
    #[serde(default)]
    pub target_power_state: Option<PowerState>,
    /// The operator's request that is to be carried out.
    #[serde(default)]
    pub power_request: Option<PowerTarget>,
    /// Seconds that a change for this request may take; none: the setting, and ten minutes for an operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_timeout: Option<u64>,
    /// Why the last action failed; cleared when the next one starts.
    #[serde(default)]
    pub last_error: Option<String>,
    /// Whether automation keeps its hands off.
    #[serde(default)]
    pub maintenance: bool,
    /// Why.
    #[serde(default)]
    pub maintenance_reason: Option<String>,
    /// What set maintenance: `power failure`, `clean failure`.
    #[serde(default)]
    pub fault: Option<String>,
    /// Whether cleaning runs between tenants; none: the coordinator's setting.
    #[serde(default)]
    pub automated_clean: Option<bool>,
    /// Scheduling class.
    #[serde(default)]
    pub resource_class: Option<String>,
    /// Refuses undeploy and rebuild.
    #[serde(default)]
    pub protected: bool,
    /// Why.
    #[serde(default)]
    pub protected_reason: Option<String>,
    /// Whether it is on its way out.
    #[serde(default)]
    pub retired: bool,
    /// Why.
    #[serde(default)]
    pub retired_reason: Option<String>,
    /// The clean step in progress.
    #[serde(default)]
    pub clean_step: Object,
    /// The deploy step in progress.
    #[serde(default)]
    pub deploy_step: Object,
    /// Fields of Ironic's record that nothing of ours acts on yet (owner, lessee, description, `*_interface`, …): kept
    /// and shown as the operator set them.
    #[serde(default)]
    pub other: BTreeMap<String, Value>,
    /// Created.
    pub created_at: Timestamp,
    /// Last changed by a request.
    #[serde(default)]
    pub updated_at: Option<Timestamp>,
    /// The work in progress and the machine's boot. It outlives a failed order until the machine is powered off.
    #[serde(default)]
    pub work: Option<WorkRecord>,
    /// What the last finished work proved, by step.
    #[serde(default)]
    pub evidence: Vec<Evidence>,
    /// What the last finished work had planned.
    #[serde(default)]
    pub plan: Vec<PlannedStep>,
    /// What is left of the steps that a fake interface walks through.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pretended_steps: Vec<CleanStep>,
    /// Compare-and-set version; the store counts it up at each write.
    #[serde(default)]
    pub version: i64,
}

impl Node {
    /// Shows a step as the one in progress, in the field of what the node is doing.
    pub(crate) fn show_step(&mut self, shown: Object) {
        use ProvisionState as State;
        self.end_step();
        let state = self.provision_state;
        if matches!(state, State::Cleaning | State::CleanWait | State::CleanHold) {
            self.clean_step = shown;
        } else if matches!(state, State::Servicing | State::ServiceWait | State::ServiceHold) {
            self.other.insert("service_step".to_owned(), Value::Object(shown));
        } else if matches!(state, State::Deploying | State::WaitCallBack | State::DeployHold) {
            self.deploy_step = shown;
        }
    }

    /// No step is in progress.
    pub(crate) fn end_step(&mut self) {
        self.clean_step = Object::new();
        self.deploy_step = Object::new();
        self.other.remove("service_step");
    }

    /// The node it is a part of (a blade of a chassis, a DPU of a server).
    #[must_use]
    pub fn parent(&self) -> Option<Uuid> {
        self.other.get("parent_node").and_then(Value::as_str)?.parse().ok()
    }

    /// Where its BMC is: address in lower case and port; none for other drivers and without an address.
    #[must_use]
    pub fn bmc_place(&self) -> Option<(String, u16)> {
        let info = (self.driver == "ipmi").then_some(&self.driver_info)?;
        let address = info.get("ipmi_address")?.as_str()?.to_ascii_lowercase();
        let port = match info.get("ipmi_port") {
            None | Some(serde_json::Value::Null) => 623,
            Some(port) => port.to_string().trim_matches('"').parse().ok()?,
        };
        Some((address, port))
    }
}
#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A node of driver `fake-hardware` with this `instance_info`, whose deploys and inspections are an agent's.
    #[expect(clippy::needless_pass_by_value, reason = "reads better with json! at every call")]
    pub(crate) fn node_with(instance_info: Value) -> Node {
        let mut node: Node = serde_json::from_value(json!({
            "uuid": Uuid::now_v7(),
            "name": "n1",
            "driver": "fake-hardware",
            "provision_state": "enroll",
            "created_at": "2026-01-01T00:00:00Z",
        }))
        .unwrap();
        node.instance_info = instance_info.as_object().unwrap().clone();
        for (field, class) in [("deploy_interface", "direct"), ("inspect_interface", "agent")] {
            node.other.insert(field.to_owned(), Value::from(class));
        }
        node
    }

    #[test]
    fn what_an_agent_reported_survives_storage() {
        for outcome in
            [None, Some(Outcome::Finished), Some(Outcome::Reboot), Some(Outcome::Failed(failure()))]
        {
            let mut node = working_node(Timestamp::UNIX_EPOCH);
            if let Some(work) = &mut node.work {
                work.outcome = outcome.clone();
            }
            let stored = serde_json::to_string(&node).unwrap();
            let read: Node = serde_json::from_str(&stored).unwrap();
            assert_eq!(read.work.unwrap().outcome, outcome, "{stored}");
        }
    }

    fn failure() -> ironwright_api::Failure {
        ironwright_api::Failure {
            step: "write_image".into(),
            message: "disk is on fire".into(),
            remedy: "replace it".into(),
            blame: ironwright_api::Blame::Hardware,
        }
    }

    /// A node in `wait call-back` whose agent works since `since`.
    pub(crate) fn working_node(since: Timestamp) -> Node {
        let mut node = node_with(json!({}));
        node.provision_state = ProvisionState::WaitCallBack;
        node.target_provision_state = Some(ProvisionState::Active);
        let work = WorkRecord::new(order::inspect(), since);
        node.work = Some(WorkRecord { phase: Phase::Working, ..work });
        node
    }

    #[test]
    fn a_node_survives_its_document() {
        let node = working_node(Timestamp::UNIX_EPOCH);
        let text = serde_json::to_string(&node).unwrap();
        let again: Node = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), text);
    }
}
