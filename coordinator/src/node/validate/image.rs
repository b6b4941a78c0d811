//! `instance_info` of a node as the image of a deploy order.

use ironwright_api::{Checksum, ChecksumAlgorithm, Image};

use super::access::{access, is_http, mirrors, shown};
use super::partition::partition;
use super::{missing, text};
use crate::node::Node;

const REMEDY: &str = "Set image_os_hash_algo to sha256 or sha512 and image_os_hash_value to the digest, or image_checksum to its 64 or 128 hexadecimal digits.";

/// What `instance_info` says to deploy.
///
/// # Errors
///
/// Every problem, one sentence each: what is missing in Ironic's words, what is wrong with its remedy.
pub fn image(node: &Node) -> Result<Image, Vec<String>> {
    let source = source(node);
    let checksum = checksum(node);
    let mut absent = Vec::new();
    if matches!(source, Ok(None)) {
        absent.push("instance_info.image_source");
    }
    if matches!(checksum, Ok(None)) {
        absent.push("instance_info.image_checksum");
    }
    let mut problems = Vec::new();
    if !absent.is_empty() {
        problems.push(missing("deploy image", node, &absent));
    }
    if absent.contains(&"instance_info.image_checksum") {
        problems.push(REMEDY.to_owned());
    }
    let disk_format = disk_format(node).unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    let partition = partition(node).unwrap_or_else(|more| {
        problems.extend(more);
        None
    });
    let mirrors = mirrors(node).unwrap_or_else(|problem| {
        problems.push(problem);
        Vec::new()
    });
    let access = access(node).unwrap_or_else(|more| {
        problems.extend(more);
        None
    });
    match (source, checksum) {
        (Ok(Some(url)), Ok(Some(checksum))) if problems.is_empty() => {
            let urls = std::iter::once(url).chain(mirrors).collect();
            Ok(Image { urls, checksum, disk_format, access, partition })
        }
        (source, checksum) => {
            problems.extend(source.err());
            problems.extend(checksum.err());
            Err(problems)
        }
    }
}

fn source(node: &Node) -> Result<Option<String>, String> {
    let Some(source) = node.instance_info.get("image_source").filter(|source| !source.is_null())
    else {
        return Ok(None);
    };
    match source.as_str() {
        Some("") => Ok(None),
        Some(url) if is_http(url) => Ok(Some(url.to_owned())),
        _ => Err(format!(
            "instance_info.image_source must be an http or https URL; it is {}.",
            shown(source)
        )),
    }
}

fn disk_format(node: &Node) -> Result<Option<String>, String> {
    match text(&node.instance_info, "image_disk_format") {
        None => Ok(None),
        Some(format @ ("raw" | "qcow2")) => Ok(Some(format.to_owned())),
        Some(format) => {
            Err(format!("instance_info.image_disk_format must be raw or qcow2; it is '{format}'."))
        }
    }
}

/// The digest: algorithm and value, or `image_checksum`.
fn checksum(node: &Node) -> Result<Option<Checksum>, String> {
    let info = &node.instance_info;
    let (algorithm, value) = (text(info, "image_os_hash_algo"), text(info, "image_os_hash_value"));
    match (algorithm, value, text(info, "image_checksum")) {
        (Some(algorithm), Some(value), _) => named(algorithm, value).map(Some),
        (Some(_), None, _) => {
            Err(missing("deploy image", node, &["instance_info.image_os_hash_value"]))
        }
        (None, Some(_), _) => {
            Err(missing("deploy image", node, &["instance_info.image_os_hash_algo"]))
        }
        (None, None, None) => Ok(None),
        (None, None, Some(checksum)) => guessed(checksum).map(Some),
    }
}

fn named(algorithm: &str, value: &str) -> Result<Checksum, String> {
    let algorithm = match algorithm.to_lowercase().as_str() {
        "sha256" => ChecksumAlgorithm::Sha256,
        "sha512" => ChecksumAlgorithm::Sha512,
        other => {
            return Err(format!(
                "instance_info.image_os_hash_algo '{other}' is not accepted as proof. {REMEDY}"
            ));
        }
    };
    if is_url(value) {
        return Ok(Checksum { algorithm, value: value.to_owned() });
    }
    if !is_hex(value) || value.len() != algorithm.hex_len() {
        return Err(format!(
            "instance_info.image_os_hash_value must be {} hexadecimal digits for {}, or the http URL of a checksum file; it has {} characters.",
            algorithm.hex_len(),
            algorithm.name(),
            value.len()
        ));
    }
    Ok(Checksum { algorithm, value: value.to_lowercase() })
}

/// `image_checksum`: the number of digits names the algorithm; of a checksum file, its name does.
fn guessed(checksum: &str) -> Result<Checksum, String> {
    if is_url(checksum) {
        let sha512 = checksum.to_lowercase().contains("sha512");
        let algorithm = if sha512 { ChecksumAlgorithm::Sha512 } else { ChecksumAlgorithm::Sha256 };
        return Ok(Checksum { algorithm, value: checksum.to_owned() });
    }
    let value = checksum.to_lowercase();
    match (is_hex(&value), value.len()) {
        (true, 64) => Ok(Checksum { algorithm: ChecksumAlgorithm::Sha256, value }),
        (true, 128) => Ok(Checksum { algorithm: ChecksumAlgorithm::Sha512, value }),
        (true, 32) => Err(format!(
            "instance_info.image_checksum is an md5 digest: md5 proves nothing about an image. Use sha256 or sha512. {REMEDY}"
        )),
        _ => Err(format!(
            "instance_info.image_checksum has {} characters and is no sha256 or sha512 digest. {REMEDY}",
            value.len()
        )),
    }
}

fn is_url(value: &str) -> bool {
    value.starts_with("http://") || value.starts_with("https://")
}

fn is_hex(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::node::sample::{node, object};

    fn asked(info: serde_json::Value) -> Result<Image, String> {
        let mut record = node();
        record.instance_info = object(info);
        image(&record).map_err(|problems| problems.join(" "))
    }

    #[test]
    fn the_digest_s_length_or_name_decides_the_algorithm() {
        let (a64, a128) = ("A".repeat(64), "b".repeat(128));
        for (info, algorithm, value) in [
            (json!({"image_checksum": a64}), "sha256", "a".repeat(64)),
            (json!({"image_checksum": a128}), "sha512", a128.clone()),
            (
                json!({"image_os_hash_algo": "SHA512", "image_os_hash_value": a128}),
                "sha512",
                a128.clone(),
            ),
            (
                json!({"image_checksum": "http://h/SHA512SUMS"}),
                "sha512",
                "http://h/SHA512SUMS".into(),
            ),
            (
                json!({"image_checksum": "https://h/x.sha256"}),
                "sha256",
                "https://h/x.sha256".into(),
            ),
            (
                json!({"image_checksum": "c".repeat(32), "image_os_hash_algo": "sha256", "image_os_hash_value": a64}),
                "sha256",
                "a".repeat(64),
            ),
        ] {
            let mut info = info;
            info["image_source"] = json!("http://h/x");
            let image = asked(info.clone()).unwrap();
            assert_eq!(
                (image.checksum.algorithm.name(), image.checksum.value),
                (algorithm, value),
                "{info}"
            );
        }
    }

    #[test]
    fn md5_is_refused_by_naming_what_to_use() {
        let text = asked(json!({"image_source": "http://h/x", "image_checksum": "e1d99d6d0ef2144a8d672b0420c547b5"})).unwrap_err();
        for part in ["md5", "sha256", "sha512", "image_os_hash_algo", "image_os_hash_value"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn everything_missing_or_wrong_is_named() {
        let good = "a".repeat(64);
        for (info, part) in [
            (
                json!({}),
                "Missing are: ['instance_info.image_source', 'instance_info.image_checksum']",
            ),
            (json!({"image_checksum": good}), "Missing are: ['instance_info.image_source']"),
            (
                json!({"image_source": "http://h/x"}),
                "Missing are: ['instance_info.image_checksum']",
            ),
            (
                json!({"image_source": "http://h/x", "image_os_hash_algo": "sha256"}),
                "image_os_hash_value",
            ),
            (
                json!({"image_source": "http://h/x", "image_os_hash_value": good}),
                "image_os_hash_algo",
            ),
            (
                json!({"image_source": "http://h/x", "image_os_hash_algo": "md5", "image_os_hash_value": good}),
                "'md5'",
            ),
            (
                json!({"image_source": "http://h/x", "image_os_hash_algo": "sha512", "image_os_hash_value": good}),
                "128",
            ),
            (json!({"image_source": "file:///x", "image_checksum": good}), "image_source must be"),
            (
                json!({"image_source": "http://h/x", "image_checksum": good, "image_disk_format": "vmdk"}),
                "vmdk",
            ),
            (
                json!({"image_source": "http://h/x", "image_checksum": good, "image_type": "iso"}),
                "whole-disk or partition",
            ),
            (json!({"image_source": "ftp://u:hunter2@h/x", "image_checksum": "zz"}), "no sha256"),
            (
                json!({"image_source": "ftp://h/x?X-Amz-Signature=hunter2", "image_checksum": good}),
                "it is 'ftp://h/x?******'",
            ),
            (
                json!({"image_source": ["http://h/x?X-Amz-Signature=hunter2"], "image_checksum": good}),
                "it is [\"http://h/x?******",
            ),
        ] {
            let text = asked(info.clone()).unwrap_err();
            assert!(text.contains(part) && !text.contains("hunter2"), "{info}: {text}");
        }
    }
}
