//! How a node's image is reached: mirrors, credentials, proxies, authorities.
//!
//! `driver_info/image_http_proxy`, `image_https_proxy`, `image_no_proxy` and the base64 of `image_request_authorization` are
//! Ironic's. Ours are under `instance_info/ironwright`: `mirrors`, a list of URLs, and `image_ca`, PEM.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ironwright_api::ImageAccess;
use serde_json::Value;

use super::text;
use crate::http::mask::for_people;
use crate::node::Node;

/// More mirrors than anybody has.
const MIRRORS_MAX: usize = 16;

/// Credentials, proxies and authorities of the node's image; none when there are none.
///
/// # Errors
///
/// Every problem, one sentence each; secrets are not repeated.
pub fn access(node: &Node) -> Result<Option<ImageAccess>, Vec<String>> {
    let mut problems = Vec::new();
    let mut access =
        ImageAccess { authorization: authorization(node, &mut problems), ..ImageAccess::default() };
    access.http_proxy = proxy(node, "image_http_proxy", &mut problems);
    access.https_proxy = proxy(node, "image_https_proxy", &mut problems);
    access.no_proxy = text(&node.driver_info, "image_no_proxy").map(str::to_owned);
    match ours(node, "image_ca") {
        None => {}
        Some(Value::String(pem)) if pem.contains("-----BEGIN CERTIFICATE-----") => {
            access.ca_pem = Some(pem.clone());
        }
        Some(_) => problems.push(
            "instance_info/ironwright/image_ca must be PEM text with certificates.".to_owned(),
        ),
    }
    match problems.is_empty() {
        true => Ok((access != ImageAccess::default()).then_some(access)),
        false => Err(problems),
    }
}

/// Other URLs of the same image, tried when one fails.
///
/// # Errors
///
/// What is wrong with the list.
pub(super) fn mirrors(node: &Node) -> Result<Vec<String>, String> {
    let wrong = |what: String| {
        Err(format!(
            "instance_info/ironwright/mirrors must be a list of http or https URLs; {what}."
        ))
    };
    match ours(node, "mirrors") {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) if list.len() > MIRRORS_MAX => {
            wrong(format!("it has {} entries, {MIRRORS_MAX} are the most", list.len()))
        }
        Some(Value::Array(list)) => {
            let bad = list.iter().find(|entry| !entry.as_str().is_some_and(is_http));
            match bad {
                Some(bad) => wrong(format!("one is {}", shown(bad))),
                None => Ok(list.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
            }
        }
        Some(other) => wrong(format!("it is {}", shown(other))),
    }
}

fn ours<'a>(node: &'a Node, key: &str) -> Option<&'a Value> {
    node.instance_info.get("ironwright")?.get(key).filter(|value| !value.is_null())
}

fn authorization(node: &Node, problems: &mut Vec<String>) -> Option<String> {
    let value =
        node.instance_info.get("image_request_authorization").filter(|value| !value.is_null())?;
    let decoded = value.as_str().and_then(|value| STANDARD.decode(value.trim()).ok());
    let header = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let is_header =
        |text: &String| text.contains(' ') && text.chars().all(|letter| !letter.is_control());
    let header = header.filter(is_header);
    if header.is_none() {
        problems.push(
            "instance_info/image_request_authorization must be the base64 of a whole Authorization header value, such as 'Bearer ...'."
                .to_owned(),
        );
    }
    header
}

fn proxy(node: &Node, key: &str, problems: &mut Vec<String>) -> Option<String> {
    let value = node.driver_info.get(key).filter(|value| !value.is_null())?;
    let url = value.as_str().filter(|url| is_http(url));
    if url.is_none() {
        problems.push(format!(
            "driver_info/{key} must be an http or https URL; it is {}.",
            shown(value)
        ));
    }
    url.map(str::to_owned)
}

/// Whether `text` is an http or https URL with a host.
pub(super) fn is_http(text: &str) -> bool {
    url::Url::parse(text)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// A value as people may see it.
pub(super) fn shown(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| for_people(&value.to_string()), |text| format!("'{}'", for_people(text)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::node::sample::{node, object};

    #[test]
    fn everything_about_the_way_to_the_image_is_taken_over() {
        let mut record = node();
        assert_eq!(access(&record), Ok(None));
        record.instance_info = object(json!({
            "image_request_authorization": STANDARD.encode("Bearer fake-token"),
            "ironwright": {"mirrors": ["http://b/i", "https://c/i"], "image_ca": "-----BEGIN CERTIFICATE-----"},
        }));
        record.driver_info =
            object(json!({"image_http_proxy": "http://p:3128", "image_no_proxy": "a,b"}));
        let found = access(&record).unwrap().unwrap();
        assert_eq!(found.authorization.as_deref(), Some("Bearer fake-token"));
        assert_eq!((found.http_proxy.as_deref(), found.https_proxy), (Some("http://p:3128"), None));
        assert_eq!(mirrors(&record).unwrap(), ["http://b/i", "https://c/i"]);
    }

    #[test]
    fn what_cannot_be_used_is_named_all_at_once_and_no_secret_is_repeated() {
        let mut record = node();
        record.instance_info = object(json!({
            "image_request_authorization": "fake-secret!", "ironwright": {"mirrors": ["file:///i"], "image_ca": 7},
        }));
        record.driver_info =
            object(json!({"image_http_proxy": "ftp://u:fake-pw@p", "image_https_proxy": 1}));
        let text = access(&record).unwrap_err().join("\n");
        for part in [
            "image_request_authorization",
            "image_http_proxy",
            "image_https_proxy must be",
            "it is 1.",
            "image_ca",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("fake-secret") && !text.contains("fake-pw"), "{text}");
        assert!(mirrors(&record).unwrap_err().contains("one is 'file:///i'"));
    }
}
