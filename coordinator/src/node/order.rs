//! Makes orders from what a node says. Pure.

use ironwright_api::{
    Automated, Clean, CleanStep, Deploy, EraseSettings, Image, NodeRaid, Order, PluginBundle,
    ReadbackMode, Service, Work,
};
use serde_json::Value;
use uuid::Uuid;

use super::interfaces::class_of;
use super::{Node, validate};
use crate::settings::CleanSettings;

/// Why no deploy order can be made from a node's `instance_info`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// The image cannot be told, reached or proven; every problem, as `validate` says it.
    #[error("{}", .0.join(" "))]
    Image(Vec<String>),
    /// An unknown read-back mode.
    #[error("instance_info/ironwright/readback {0:?} is not full, sampled or none")]
    Readback(String),
}

/// What deploys a node, without its secrets: config drive and image access stay in the node and are added when the
/// order is sent.
///
/// # Errors
///
/// [`OrderError`], naming the key.
pub fn deploy(
    node: &Node,
    settings: &CleanSettings,
    plugins: Vec<PluginBundle>,
) -> Result<Deploy, OrderError> {
    let image = validate::image(node).map_err(OrderError::Image)?;
    Ok(Deploy {
        image: Image { access: None, ..image },
        root_device: root_device(node),
        configdrive: Value::Null,
        readback: readback(node)?,
        node_name: node.name.clone().unwrap_or_default(),
        node_uuid: node.uuid,
        steps: Vec::new(),
        erase: erase(node, settings),
        plugins,
    })
}

fn root_device(node: &Node) -> Value {
    let hints =
        node.instance_info.get("root_device").or_else(|| node.properties.get("root_device"));
    hints.cloned().unwrap_or(Value::Null)
}

/// An automated cleaning: the agent's catalogue with the settings' priorities. `steps` is for agents before catalogues: they
/// know the metadata erase only.
#[must_use]
pub fn automated_clean(node: &Node, settings: &CleanSettings, plugins: Vec<PluginBundle>) -> Work {
    let metadata = CleanStep {
        interface: "deploy".to_owned(),
        step: "erase_devices_metadata".to_owned(),
        args: Value::Null,
    };
    let mut automated = Automated { priorities: settings.priorities(), ..Automated::default() };
    rebuild_arrays(node, &mut automated);
    let automated = Some(automated);
    let erase = erase(node, settings);
    Work::Clean(Clean { steps: vec![metadata], automated, erase, plugins })
}

/// A cleaning with the steps that are handed to it.
pub fn clean(
    node: &Node,
    settings: &CleanSettings,
    plugins: &[PluginBundle],
) -> impl Fn(Vec<CleanStep>) -> Work + use<> {
    let (erase, plugins) = (erase(node, settings), plugins.to_vec());
    move |steps| {
        let (erase, plugins) = (erase.clone(), plugins.clone());
        Work::Clean(Clean { steps, automated: None, erase, plugins })
    }
}

/// A service with the steps that are handed to it.
pub fn service(
    node: &Node,
    settings: &CleanSettings,
    plugins: &[PluginBundle],
) -> impl Fn(Vec<CleanStep>) -> Work + use<> {
    let all = Service {
        steps: Vec::new(),
        root_device: root_device(node),
        erase: erase(node, settings),
        plugins: plugins.to_vec(),
    };
    move |steps| Work::Service(Service { steps, ..all.clone() })
}

/// Adds to an order, of which nothing has begun, the plugins that came since it was made. None is taken out: what one that is gone
/// would have done must not be left out without a word.
pub fn offer(work: &mut Work, bundles: Vec<PluginBundle>) {
    let listed = match work {
        Work::Clean(clean) => &mut clean.plugins,
        Work::Service(service) => &mut service.plugins,
        Work::Deploy(deploy) if !deploy.steps.is_empty() => &mut deploy.plugins,
        Work::Deploy(_) | Work::Inspect | Work::Rescue(_) | Work::Unknown => return,
    };
    for bundle in bundles {
        if !listed.iter().any(|known| known.sha256 == bundle.sha256) {
            listed.push(bundle);
        }
    }
}

/// The step that builds arrays.
const BUILD: &str = "raid.create_configuration";

/// In `driver_internal_info`: an automated cleaning erased the node's arrays, and none built them anew yet.
pub const ARRAYS_DUE: &str = "ironwright_arrays_due";

/// Erasing disks erases the arrays on them: those that a node has by its record are built anew afterwards, unless the operator
/// gave that step a priority. So are those that an earlier cleaning erased and did not come to build.
fn rebuild_arrays(node: &Node, automated: &mut Automated) {
    let has_arrays = raid(node).is_some_and(|raid| {
        let disks = raid.config.get("logical_disks").and_then(Value::as_array);
        let recorded = disks.is_some_and(|disks| !disks.is_empty());
        !raid.target.is_null() && (recorded || node.driver_internal_info.contains_key(ARRAYS_DUE))
    });
    if has_arrays {
        automated.priorities.entry(BUILD.to_owned()).or_insert(1);
    }
    if builds_arrays(automated) {
        automated.args.insert(BUILD.to_owned(), serde_json::json!({"delete_existing": true}));
    }
}

/// Whether an automated cleaning builds arrays in the end.
#[must_use]
pub fn builds_arrays(automated: &Automated) -> bool {
    automated.priorities.get(BUILD).is_some_and(|priority| *priority > 0)
}

/// What the node's record says of its arrays, where an agent builds them.
#[must_use]
pub fn raid(node: &Node) -> Option<NodeRaid> {
    let of = |field: &str| {
        let value = node
            .other
            .get(field)
            .filter(|value| value.as_object().is_some_and(|value| !value.is_empty()));
        value.cloned().unwrap_or(Value::Null)
    };
    let raid = NodeRaid { target: of("target_raid_config"), config: of("raid_config") };
    let is_ours = class_of(node, "raid") == Some("agent");
    (is_ours && raid != NodeRaid::default()).then_some(raid)
}

/// How disks are erased. What `skip_block_devices` says is handed on as it is: an entry that is no hint must fail at the
/// agent, not leave a disk unprotected.
fn erase(node: &Node, settings: &CleanSettings) -> EraseSettings {
    EraseSettings {
        allow_weaker: settings.allow_weaker_erase,
        least: settings.least_category,
        concurrency: settings.concurrency,
        skip_read_only: settings.skip_read_only,
        skip: skipped(node),
    }
}

fn skipped(node: &Node) -> Vec<Value> {
    match node.properties.get("skip_block_devices") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(hints)) => hints.clone(),
        Some(other) => vec![other.clone()],
    }
}

/// What is wrong with the node's `skip_block_devices`; none: nothing.
#[must_use]
pub fn skip_problem(node: &Node) -> Option<String> {
    let problem = |what: &str| {
        Some(format!(
            "properties/skip_block_devices {what}; it is a list of root device hints, one object a disk that is left alone"
        ))
    };
    match node.properties.get("skip_block_devices") {
        None | Some(Value::Null) => None,
        Some(Value::Array(hints)) => hints
            .iter()
            .position(|hint| hint.as_object().is_none_or(serde_json::Map::is_empty))
            .and_then(|at| {
                problem(&format!("has an entry ({}) that is no object of hints", at + 1))
            }),
        Some(_) => problem("is no list"),
    }
}

/// The order of an inspection.
#[must_use]
pub fn inspect() -> Order {
    order(Work::Inspect)
}

/// A new order.
#[must_use]
pub fn order(work: Work) -> Order {
    Order { order_id: Uuid::now_v7(), attempt: 1, work, steps: Vec::new(), raid: None }
}

fn readback(node: &Node) -> Result<ReadbackMode, OrderError> {
    let asked = node.instance_info.get("ironwright").and_then(|ours| ours.get("readback"));
    match asked {
        None | Some(Value::Null) => Ok(ReadbackMode::Full),
        Some(value) => serde_json::from_value(value.clone())
            .map_err(|_| OrderError::Readback(value.as_str().unwrap_or("not text").to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::node::tests::node_with;

    fn made(instance_info: Value) -> Result<Deploy, OrderError> {
        deploy(&node_with(instance_info), &CleanSettings::default(), Vec::new())
    }

    #[test]
    fn an_image_that_could_not_be_proven_is_refused_in_the_words_of_validate() {
        for info in [
            json!({}),
            json!({"image_source": 7}),
            json!({"image_source": "http://h/i", "image_checksum": "d41d8"}),
        ] {
            let node = node_with(info);
            let problems = validate::image(&node).unwrap_err();
            let refused = deploy(&node, &CleanSettings::default(), Vec::new()).unwrap_err();
            assert_eq!(refused, OrderError::Image(problems));
        }
    }

    #[test]
    fn the_stored_order_carries_no_secret() {
        let info = json!({
            "image_source": "http://h/i", "image_checksum": "0".repeat(64), "configdrive": {"user_data": "secret"},
            "image_request_authorization": "QmVhcmVyIGZha2UtdG9rZW4=", "ironwright": {"mirrors": ["http://m/i"]},
        });
        let made = made(info).unwrap();
        assert_eq!(made.image.urls, ["http://h/i", "http://m/i"]);
        assert_eq!((made.image.access, made.configdrive), (None, Value::Null));
    }

    fn cleaned(properties: &Value, settings: &CleanSettings) -> Clean {
        let mut node = node_with(json!({}));
        node.properties = properties.as_object().unwrap().clone();
        let Work::Clean(clean) = automated_clean(&node, settings, Vec::new()) else {
            panic!("not a clean")
        };
        clean
    }

    #[test]
    fn an_automated_cleaning_carries_the_settings_and_old_agents_find_their_step() {
        let plain = cleaned(&json!({}), &CleanSettings::default());
        assert_eq!(plain.automated, Some(Automated::default()), "the agent's own priorities");
        assert_eq!(plain.erase, EraseSettings::default());
        assert_eq!(plain.steps[0].step, "erase_devices_metadata");
        let settings = CleanSettings {
            erase_devices_priority: Some(0),
            allow_weaker_erase: true,
            concurrency: 9,
            ..CleanSettings::default()
        };
        let clean = cleaned(&json!({"skip_block_devices": [{"serial": "x"}]}), &settings);
        let priorities = &clean.automated.as_ref().unwrap().priorities;
        assert_eq!(serde_json::to_value(priorities).unwrap(), json!({"deploy.erase_devices": 0}));
        assert!(clean.erase.allow_weaker && clean.erase.concurrency == 9);
        assert_eq!(clean.erase.skip, [json!({"serial": "x"})]);
    }

    #[test]
    fn a_skip_list_that_would_protect_nothing_is_a_problem_and_is_not_dropped() {
        for (properties, expected) in [
            (json!({}), None),
            (json!({"skip_block_devices": [{"name": "/dev/sda"}]}), None),
            (json!({"skip_block_devices": "sda"}), Some("is no list")),
            (json!({"skip_block_devices": [{"name": "/dev/sda"}, "sdb"]}), Some("entry (2)")),
            (json!({"skip_block_devices": [{}]}), Some("entry (1)")),
        ] {
            let mut node = node_with(json!({}));
            node.properties = properties.as_object().unwrap().clone();
            let found = skip_problem(&node);
            assert_eq!(found.is_some(), expected.is_some(), "{properties}");
            assert!(found.unwrap_or_default().contains(expected.unwrap_or_default()));
        }
        let handed_on = cleaned(&json!({"skip_block_devices": "sda"}), &CleanSettings::default());
        assert_eq!(handed_on.erase.skip, [json!("sda")]);
    }

    #[test]
    fn arrays_that_the_node_has_are_built_anew_after_the_erase() {
        let arrays = json!({"logical_disks": [{"raid_level": "1"}]});
        for (interface, target, config, expected) in [
            ("agent", &arrays, &arrays, Some(1)),
            ("agent", &arrays, &json!({}), None),
            ("agent", &json!({}), &arrays, None),
            ("no-raid", &arrays, &arrays, None),
        ] {
            let mut node = node_with(json!({}));
            node.other.insert("raid_interface".into(), json!(interface));
            node.other.insert("target_raid_config".into(), target.clone());
            node.other.insert("raid_config".into(), config.clone());
            let Work::Clean(clean) = automated_clean(&node, &CleanSettings::default(), Vec::new())
            else {
                panic!("not a clean")
            };
            let automated = clean.automated.unwrap();
            assert_eq!(
                automated.priorities.get(BUILD).copied(),
                expected,
                "{interface} {target} {config}"
            );
            assert_eq!(automated.args.contains_key(BUILD), expected.is_some());
            assert_eq!(raid(&node).is_some(), interface == "agent");
        }
    }
}
