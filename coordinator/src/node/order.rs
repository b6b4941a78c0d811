//! Makes orders from what a node says. Pure.

use ironwright_api::{Clean, CleanStep, Deploy, Image, Order, ReadbackMode, Work};
use serde_json::Value;
use uuid::Uuid;

use super::{Node, validate};

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

/// The deploy order for a node, without its secrets: config drive and image access stay in the node and are added when the
/// order is sent.
///
/// # Errors
///
/// [`OrderError`], naming the key.
pub fn deploy(node: &Node) -> Result<Order, OrderError> {
    let image = validate::image(node).map_err(OrderError::Image)?;
    let hints =
        node.instance_info.get("root_device").or_else(|| node.properties.get("root_device"));
    let deploy = Deploy {
        image: Image { access: None, ..image },
        root_device: hints.cloned().unwrap_or(Value::Null),
        configdrive: Value::Null,
        readback: readback(node)?,
        node_name: node.name.clone().unwrap_or_default(),
        node_uuid: node.uuid,
    };
    Ok(order(Work::Deploy(Box::new(deploy))))
}

/// The order of an automated cleaning: metadata erase.
#[must_use]
pub fn automated_clean() -> Order {
    clean(vec![CleanStep {
        interface: "deploy".to_owned(),
        step: "erase_devices_metadata".to_owned(),
        args: Value::Null,
    }])
}

/// The order of a cleaning with these steps.
#[must_use]
pub fn clean(steps: Vec<CleanStep>) -> Order {
    order(Work::Clean(Clean { steps, ..Clean::default() }))
}

/// The order of an inspection.
#[must_use]
pub fn inspect() -> Order {
    order(Work::Inspect)
}

fn order(work: Work) -> Order {
    Order { order_id: Uuid::now_v7(), attempt: 1, work, steps: Vec::new() }
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
    fn an_image_that_could_not_be_proven_is_refused_in_the_words_of_validate() {
        for info in [
            json!({}),
            json!({"image_source": 7}),
            json!({"image_source": "http://h/i", "image_checksum": "d41d8"}),
        ] {
            let node = node_with(info);
            let problems = validate::image(&node).unwrap_err();
            assert_eq!(deploy(&node).unwrap_err(), OrderError::Image(problems));
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
}
