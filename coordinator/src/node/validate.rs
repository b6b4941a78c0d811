//! Whether a node could be deployed: every problem of its record at once, sorted by interface as Ironic shows them. Pure; what
//! has to ask the network (the BMC, the image server) adds its findings to the same [`Report`].

mod access;
mod configdrive;
mod image;
mod ipmi;
mod partition;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use uuid::Uuid;

pub use access::access;
pub use configdrive::check as configdrive;
pub use image::image;

use super::interfaces::{KINDS, class_of, hardware_type};
use super::{Node, Object, Port, pretend};

/// Interfaces that a deploy needs in order.
pub const FOR_DEPLOY: [&str; 4] = ["power", "management", "boot", "deploy"];

/// One interface's verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// What is wrong; empty: nothing.
    pub problems: Vec<String>,
    /// What is allowed but should be known.
    pub notes: Vec<String>,
}

/// The verdict on a node, by interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    rows: BTreeMap<&'static str, Row>,
}

/// What is known beside the record.
#[derive(Debug, Clone, Default)]
pub struct Surroundings<'a> {
    /// The node's ports.
    pub ports: &'a [Port],
    /// The coordinator's own kernel and ramdisk: what is wrong with each; empty: both can be served.
    pub ramdisk_problems: &'a [String],
    /// Other nodes with the same BMC.
    pub bmc_sharers: &'a [Uuid],
    /// Secrets travel in the clear because the settings say so.
    pub insecure_plain_http: bool,
}

impl Report {
    /// Adds a problem to an interface.
    pub fn problem(&mut self, interface: &'static str, text: impl Into<String>) {
        self.rows.entry(interface).or_default().problems.push(text.into());
    }

    /// Adds something worth knowing to an interface.
    pub fn note(&mut self, interface: &'static str, text: impl Into<String>) {
        self.rows.entry(interface).or_default().notes.push(text.into());
    }

    /// Whether this interface has no problem.
    #[must_use]
    pub fn is_good(&self, interface: &str) -> bool {
        self.rows.get(interface).is_none_or(|row| row.problems.is_empty())
    }

    /// All problems of these interfaces.
    #[must_use]
    pub fn problems(&self, interfaces: &[&str]) -> Vec<String> {
        let rows = interfaces.iter().filter_map(|interface| self.rows.get(interface));
        rows.flat_map(|row| row.problems.iter().cloned()).collect()
    }

    /// Ironic's answer of `GET …/validate`: a row for each interface but `vendor`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut answer = Map::new();
        for kind in KINDS.iter().filter(|kind| **kind != "vendor") {
            let row = self.rows.get(kind).cloned().unwrap_or_default();
            let result = row.problems.is_empty();
            let reasons = if result { row.notes } else { row.problems };
            let mut shown = json!({"result": result});
            if !reasons.is_empty() {
                shown["reason"] = Value::from(reasons.join(" "));
            }
            answer.insert((*kind).to_owned(), shown);
        }
        Value::Object(answer)
    }
}

/// Everything that can be said without asking anybody.
#[must_use]
pub fn local(node: &Node, around: &Surroundings<'_>) -> Report {
    let mut report = Report::default();
    unsupported(node, &mut report);
    if node.driver == "ipmi" {
        for problem in ipmi::problems(&node.driver_info) {
            report.problem("power", problem.clone());
            report.problem("management", problem);
        }
        for other in around.bmc_sharers {
            report.problem("power", format!("Node {other} has the same ipmi_address and ipmi_port: both would act on one machine. Correct one of them."));
        }
    }
    if class_of(node, "boot") != Some("fake") {
        boot(node, around, &mut report);
    }
    let pretended = pretend::is_pretended(node, "deploy");
    if let (false, Err(problems)) = (pretended, image(node)) {
        for problem in problems {
            report.problem("deploy", problem);
        }
    }
    if let Some(drive) = node.instance_info.get("configdrive")
        && let Err(problem) = configdrive(drive)
    {
        report.problem("deploy", problem);
    }
    hints(node, &mut report);
    if around.insecure_plain_http {
        report.note(
            "deploy",
            "insecure_plain_http is on: config drive, token and orders travel unencrypted on the provisioning network.",
        );
    }
    report
}

/// Interfaces set to a class that does nothing are reported as Ironic does.
fn unsupported(node: &Node, report: &mut Report) {
    if hardware_type(&node.driver).is_none() {
        report.problem("power", super::interfaces::unknown_driver(&node.driver));
        return;
    }
    for kind in ["bios", "console", "firmware", "inspect", "raid", "rescue"] {
        let class = class_of(node, kind).unwrap_or_default();
        if class.starts_with("no-") {
            report.problem(
                kind,
                format!(
                    "Driver {} does not support {kind} (disabled or not implemented).",
                    node.driver
                ),
            );
        }
    }
}

/// Ramdisk, ports, boot mode.
fn boot(node: &Node, around: &Surroundings<'_>, report: &mut Report) {
    let info = &node.driver_info;
    let (kernel, ramdisk) = (text(info, "deploy_kernel"), text(info, "deploy_ramdisk"));
    for (key, value) in [("deploy_kernel", kernel), ("deploy_ramdisk", ramdisk)] {
        if let Some(problem) = value.and_then(|value| artefact_problem(key, value)) {
            report.problem("boot", problem);
        }
    }
    match (kernel, ramdisk) {
        // A fake machine loads nothing.
        (None, None) if node.driver == "fake-hardware" => {}
        (None, None) => {
            for problem in around.ramdisk_problems {
                report.problem("boot", problem.clone());
            }
        }
        (Some(_), None) => {
            report
                .problem("boot", missing("deploy ramdisk", node, &["driver_info.deploy_ramdisk"]));
        }
        (None, Some(_)) => {
            report.problem("boot", missing("deploy ramdisk", node, &["driver_info.deploy_kernel"]));
        }
        (Some(_), Some(_)) => {}
    }
    if let Some(problem) = text(info, "kernel_append_params")
        .and_then(|line| crate::boot::script::parameters(line).err())
    {
        report.problem("boot", format!("driver_info.kernel_append_params: {problem}"));
    }
    if around.ports.is_empty() {
        report.problem(
            "boot",
            format!("Node {} does not have any port associated with it.", node.uuid),
        );
    } else if !around.ports.iter().any(|port| port.pxe_enabled) {
        report.problem(
            "boot",
            format!("Node {} has no port with pxe_enabled: it cannot boot the ramdisk.", node.uuid),
        );
    }
    match boot_mode(node) {
        Err(problem) => report.problem("boot", problem),
        Ok(Some(mode)) if mode == "bios" && matches!(partition::partition(node), Ok(Some(_))) => {
            report.problem(
                "deploy",
                "A partition image needs UEFI; properties.capabilities says boot_mode:bios. Use a whole-disk image, or boot the machine by UEFI."
                    .to_owned(),
            );
        }
        Ok(_) => {}
    }
}

/// Why a kernel or ramdisk of the node's own cannot be booted.
fn artefact_problem(key: &str, value: &str) -> Option<String> {
    match url::Url::parse(value) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => None,
        _ => Some(format!(
            "driver_info.{key} must be an http or https URL that iPXE can load; it is '{value}'."
        )),
    }
}

/// `capabilities` may be Ironic's text (`boot_mode:uefi,…`) or an object.
fn boot_mode(node: &Node) -> Result<Option<String>, String> {
    let mode = match node.properties.get("capabilities") {
        None => None,
        Some(Value::String(text)) => text
            .split(',')
            .filter_map(|pair| pair.trim().split_once(':'))
            .find(|pair| pair.0 == "boot_mode")
            .map(|pair| pair.1.to_owned()),
        Some(Value::Object(object)) => object
            .get("boot_mode")
            .map(|mode| mode.as_str().map_or_else(|| mode.to_string(), str::to_owned)),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_)) => {
            return Err(
                "properties.capabilities must be text like 'boot_mode:uefi' or an object.".into()
            );
        }
    };
    match mode.as_deref() {
        None | Some("uefi" | "bios") => Ok(mode),
        Some(mode) => {
            Err(format!("properties.capabilities: boot_mode must be uefi or bios; it is '{mode}'."))
        }
    }
}

fn hints(node: &Node, report: &mut Report) {
    for (place, info) in [("properties", &node.properties), ("instance_info", &node.instance_info)]
    {
        if let Some(hints) =
            info.get("root_device").filter(|hints| !hints.is_object() && !hints.is_null())
        {
            report.problem(
                "deploy",
                format!("{place}.root_device must be an object of hints; it is {hints}."),
            );
        }
    }
}

/// Ironic's sentence for missing parameters.
fn missing(what: &str, node: &Node, parameters: &[&str]) -> String {
    let list = parameters.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    format!(
        "Node {} failed to validate {what} info. Some parameters were missing. Missing are: [{list}].",
        node.uuid
    )
}

/// The text under `key`; an empty one counts as none.
fn text<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::sample::{node, object, port};

    const SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn complete() -> Node {
        let mut record = node();
        record.driver = "ipmi".into();
        record.driver_info = object(
            json!({"ipmi_address": "192.0.2.3", "ipmi_username": "admin", "ipmi_password": "x"}),
        );
        record.instance_info =
            object(json!({"image_source": "http://h/x.qcow2", "image_checksum": SHA256}));
        record
    }

    fn rows(node: &Node, ports: &[Port]) -> Value {
        local(node, &Surroundings { ports, ..Surroundings::default() }).to_json()
    }

    #[test]
    fn a_complete_node_is_good_for_a_deploy() {
        let answer = rows(&complete(), &[port()]);
        for kind in FOR_DEPLOY.iter().chain(&["network", "storage", "inspect"]) {
            assert_eq!(answer[kind], json!({"result": true}), "{kind}");
        }
        assert!(answer.get("vendor").is_none());
        assert_eq!(answer["console"]["result"], false);
        assert!(answer["console"]["reason"].as_str().unwrap().contains("does not support console"));
    }

    #[test]
    fn an_empty_node_is_told_everything_at_once() {
        let mut record = node();
        record.driver = "ipmi".into();
        let answer = rows(&record, &[]);
        let reason = |kind: &str| answer[kind]["reason"].as_str().unwrap_or_default().to_owned();
        for part in ["'ipmi_address'", "'ipmi_username'", "'ipmi_password'"] {
            assert!(
                reason("power").contains(part) && reason("management").contains(part),
                "{answer}"
            );
        }
        assert!(
            reason("deploy").contains(
                "Missing are: ['instance_info.image_source', 'instance_info.image_checksum']"
            ),
            "{answer}"
        );
        assert!(reason("boot").contains("does not have any port"), "{answer}");
    }

    #[test]
    fn what_is_wrong_with_the_boot_is_named() {
        let cases = [
            (
                json!({"deploy_kernel": "http://h/k"}),
                json!({}),
                "Missing are: ['driver_info.deploy_ramdisk']",
            ),
            (
                json!({"deploy_ramdisk": "http://h/r"}),
                json!({}),
                "Missing are: ['driver_info.deploy_kernel']",
            ),
            (
                json!({"deploy_kernel": "file:///k", "deploy_ramdisk": "http://h/r"}),
                json!({}),
                "driver_info.deploy_kernel",
            ),
            (json!({"kernel_append_params": "a || b"}), json!({}), "kernel_append_params"),
            (json!({}), json!({"capabilities": "cpu_vt:true,boot_mode:legacy"}), "'legacy'"),
            (json!({}), json!({"capabilities": {"boot_mode": "x"}}), "'x'"),
        ];
        for (info, properties, part) in cases {
            let mut record = complete();
            record.driver_info.extend(object(info));
            record.properties = object(properties);
            let answer = rows(&record, &[port()]);
            assert!(
                answer["boot"]["reason"].as_str().unwrap_or_default().contains(part),
                "{part}: {answer}"
            );
        }
        let mut silent = port();
        silent.pxe_enabled = false;
        assert!(
            rows(&complete(), &[silent])["boot"]["reason"]
                .as_str()
                .unwrap()
                .contains("pxe_enabled")
        );
    }

    #[test]
    fn a_node_that_shares_its_bmc_has_no_power() {
        let other = Uuid::from_u128(7);
        let around = Surroundings { bmc_sharers: &[other], ..Surroundings::default() };
        let reason = local(&complete(), &around).to_json()["power"]["reason"].to_string();
        assert!(reason.contains(&other.to_string()), "{reason}");
    }

    #[test]
    fn a_missing_kernel_of_the_coordinator_counts_only_without_one_of_the_node_s_own() {
        let problems = ["boot.kernel: no such file".to_owned()];
        let ports = [port()];
        let around =
            Surroundings { ports: &ports, ramdisk_problems: &problems, ..Surroundings::default() };
        assert!(!local(&complete(), &around).is_good("boot"));
        let mut record = complete();
        record
            .driver_info
            .extend(object(json!({"deploy_kernel": "http://h/k", "deploy_ramdisk": "http://h/r"})));
        assert!(local(&record, &around).is_good("boot"));
    }

    #[test]
    fn plain_http_is_named_and_no_failure() {
        let ports = [port()];
        let around =
            Surroundings { ports: &ports, insecure_plain_http: true, ..Surroundings::default() };
        let answer = local(&complete(), &around).to_json();
        assert_eq!(answer["deploy"]["result"], true);
        assert!(answer["deploy"]["reason"].as_str().unwrap().contains("insecure_plain_http"));
    }
}
