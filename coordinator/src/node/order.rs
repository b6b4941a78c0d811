//! Makes orders from what a node says. Pure.

use ironwright_api::{
    Automated, Checksum, ChecksumAlgorithm, Clean, CleanStep, Deploy, EraseSettings, Image, Order,
    ReadbackMode, Work,
};
use serde_json::Value;
use uuid::Uuid;

use super::Node;
use crate::settings::CleanSettings;

/// Why no deploy order can be made from a node's `instance_info`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// There is no image.
    #[error("instance_info/image_source is missing; set it to an http(s) URL")]
    NoImage,
    /// Only http(s) images are supported.
    #[error("instance_info/image_source {0:?} is not an http(s) URL")]
    Source(String),
    /// There is no checksum.
    #[error(
        "instance_info has no checksum; set image_os_hash_algo (sha256 or sha512) and image_os_hash_value, or image_checksum"
    )]
    NoChecksum,
    /// Algorithm and value come together.
    #[error("instance_info/image_os_hash_algo and image_os_hash_value must be set together")]
    HalfChecksum,
    /// An algorithm that proves nothing, or an unknown one.
    #[error("instance_info/image_os_hash_algo {0:?} is not supported; use sha256 or sha512")]
    Algorithm(String),
    /// A value that no digest can have.
    #[error(
        "the image checksum is neither a sha256 (64) nor a sha512 (128 hexadecimal digits) nor a URL: {0:?}"
    )]
    Digest(String),
    /// An unknown read-back mode.
    #[error("instance_info/ironwright/readback {0:?} is not full, sampled or none")]
    Readback(String),
}

/// The deploy order for a node, without its config drive: that stays in `instance_info` and is added when the order is
/// sent.
///
/// # Errors
///
/// [`OrderError`], naming the key.
pub fn deploy(node: &Node) -> Result<Order, OrderError> {
    let text = |key: &str| {
        node.instance_info.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
    };
    let source = text("image_source").ok_or(OrderError::NoImage)?;
    if !is_url(source) {
        return Err(OrderError::Source(source.to_owned()));
    }
    let checksum =
        checksum(text("image_os_hash_algo"), text("image_os_hash_value"), text("image_checksum"))?;
    let hints =
        node.instance_info.get("root_device").or_else(|| node.properties.get("root_device"));
    let deploy = Deploy {
        image: Image {
            urls: vec![source.to_owned()],
            checksum,
            disk_format: text("image_disk_format").map(str::to_owned),
            access: None,
        },
        root_device: hints.cloned().unwrap_or(Value::Null),
        configdrive: Value::Null,
        readback: readback(node)?,
        node_name: node.name.clone().unwrap_or_default(),
        node_uuid: node.uuid,
    };
    Ok(order(Work::Deploy(Box::new(deploy))))
}

/// The order of an automated cleaning: the agent's catalogue with the settings' priorities. `steps` is for agents before
/// catalogues: they know the metadata erase only.
#[must_use]
pub fn automated_clean(node: &Node, settings: &CleanSettings) -> Order {
    let metadata = CleanStep {
        interface: "deploy".to_owned(),
        step: "erase_devices_metadata".to_owned(),
        args: Value::Null,
    };
    let automated = Some(Automated { priorities: settings.priorities() });
    let erase = erase(node, settings);
    order(Work::Clean(Clean { steps: vec![metadata], automated, erase }))
}

/// The order of a cleaning with these steps.
#[must_use]
pub fn clean(node: &Node, steps: Vec<CleanStep>, settings: &CleanSettings) -> Order {
    order(Work::Clean(Clean { steps, automated: None, erase: erase(node, settings) }))
}

/// How disks are erased. What `skip_block_devices` says is handed on as it is: an entry that is no hint must fail at the
/// agent, not leave a disk unprotected.
fn erase(node: &Node, settings: &CleanSettings) -> EraseSettings {
    let skip = match node.properties.get("skip_block_devices") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(hints)) => hints.clone(),
        Some(other) => vec![other.clone()],
    };
    EraseSettings {
        allow_weaker: settings.allow_weaker_erase,
        least: settings.least_category,
        concurrency: settings.concurrency,
        skip_read_only: settings.skip_read_only,
        skip,
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

/// Whether the order, once complete, must not travel in the clear.
#[must_use]
pub fn has_secrets(node: &Node) -> bool {
    node.instance_info.get("configdrive").is_some_and(|drive| !drive.is_null())
}

fn order(work: Work) -> Order {
    Order { order_id: Uuid::now_v7(), attempt: 1, work, steps: Vec::new() }
}

fn is_url(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.starts_with("http://") || lower.starts_with("https://")
}

fn checksum(
    algorithm: Option<&str>,
    value: Option<&str>,
    plain: Option<&str>,
) -> Result<Checksum, OrderError> {
    let (algorithm, value) = match (algorithm, value, plain) {
        (Some(name), Some(value), _) => (Some(parse_algorithm(name)?), value),
        (None, None, Some(plain)) => (None, plain),
        (None, None, None) => return Err(OrderError::NoChecksum),
        (Some(_), None, _) | (None, Some(_), _) => return Err(OrderError::HalfChecksum),
    };
    if is_url(value) {
        let algorithm = algorithm.unwrap_or(ChecksumAlgorithm::Sha256);
        return Ok(Checksum { algorithm, value: value.to_owned() });
    }
    let hex = value.bytes().all(|byte| byte.is_ascii_hexdigit());
    let by_length = [ChecksumAlgorithm::Sha256, ChecksumAlgorithm::Sha512]
        .into_iter()
        .find(|algorithm| hex && algorithm.hex_len() == value.len());
    match (algorithm, by_length) {
        (Some(named), Some(fits)) if named != fits => Err(OrderError::Digest(value.to_owned())),
        (_, Some(algorithm)) => Ok(Checksum { algorithm, value: value.to_ascii_lowercase() }),
        (_, None) => Err(OrderError::Digest(value.to_owned())),
    }
}

fn parse_algorithm(name: &str) -> Result<ChecksumAlgorithm, OrderError> {
    [ChecksumAlgorithm::Sha256, ChecksumAlgorithm::Sha512]
        .into_iter()
        .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
        .ok_or_else(|| OrderError::Algorithm(name.to_owned()))
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
        match deploy(&node_with(instance_info))?.work {
            Work::Deploy(deploy) => Ok(*deploy),
            Work::Inspect | Work::Clean(_) | Work::Unknown => panic!("not a deploy"),
        }
    }

    #[test]
    fn every_form_of_checksum_becomes_an_algorithm_and_a_value() {
        let (short, long) = ("AB".repeat(32), "0".repeat(128));
        for (given, algorithm, value) in [
            (
                json!({"image_os_hash_algo": "SHA256", "image_os_hash_value": short}),
                ChecksumAlgorithm::Sha256,
                "ab".repeat(32),
            ),
            (json!({"image_checksum": long}), ChecksumAlgorithm::Sha512, long.clone()),
            (
                json!({"image_checksum": "http://h/SHA256SUMS"}),
                ChecksumAlgorithm::Sha256,
                "http://h/SHA256SUMS".to_owned(),
            ),
        ] {
            let mut info = json!({"image_source": "https://h/a.qcow2"});
            info.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
            assert_eq!(made(info).unwrap().image.checksum, Checksum { algorithm, value });
        }
    }

    #[test]
    fn an_image_that_could_not_be_proven_is_refused_by_name() {
        for (info, expected) in [
            (json!({}), OrderError::NoImage),
            (
                json!({"image_source": "file:///etc/passwd"}),
                OrderError::Source("file:///etc/passwd".into()),
            ),
            (json!({"image_source": "http://h/i"}), OrderError::NoChecksum),
            (
                json!({"image_source": "http://h/i", "image_os_hash_algo": "sha256"}),
                OrderError::HalfChecksum,
            ),
            (
                json!({"image_source": "http://h/i", "image_os_hash_algo": "md5", "image_os_hash_value": "0"}),
                OrderError::Algorithm("md5".into()),
            ),
            (
                json!({"image_source": "http://h/i", "image_checksum": "d41d8"}),
                OrderError::Digest("d41d8".into()),
            ),
            (
                json!({"image_source": "http://h/i", "image_os_hash_algo": "sha512", "image_os_hash_value": "0".repeat(64)}),
                OrderError::Digest("0".repeat(64)),
            ),
        ] {
            assert_eq!(made(info).unwrap_err(), expected);
        }
    }

    fn cleaned(properties: &Value, settings: &CleanSettings) -> Clean {
        let mut node = node_with(json!({}));
        node.properties = properties.as_object().unwrap().clone();
        match automated_clean(&node, settings).work {
            Work::Clean(clean) => clean,
            Work::Inspect | Work::Deploy(_) | Work::Unknown => panic!("not a clean"),
        }
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
    fn the_stored_order_carries_no_config_drive() {
        let node = node_with(
            json!({"image_source": "http://h/i", "image_checksum": "0".repeat(64), "configdrive": {"user_data": "secret"}}),
        );
        assert!(has_secrets(&node));
        assert!(!serde_json::to_string(&deploy(&node).unwrap()).unwrap().contains("secret"));
    }
}
