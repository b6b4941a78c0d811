//! Ironic's `image_info` as the deploy it asks for. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ironwright_api::{
    Checksum, ChecksumAlgorithm, Deploy, EraseSettings, Image, ImageAccess, PartitionImage,
    ReadbackMode,
};
use serde_json::Value;
use uuid::Uuid;

/// The deploy that the arguments of a `write_image` step ask for, without root device hints; or everything that is wrong.
///
/// # Errors
/// One sentence a problem, each naming the key.
pub fn deploy(args: &Value) -> Result<Deploy, Vec<String>> {
    let info = &args["image_info"];
    let mut problems = Vec::new();
    let partition = partition(info).unwrap_or_else(|more| {
        problems.extend(more);
        None
    });
    let urls = info["urls"].as_array().into_iter().flatten();
    let urls: Vec<String> = urls.filter_map(Value::as_str).map(str::to_owned).collect();
    if urls.is_empty() {
        problems.push("image_info/urls names no URL".to_owned());
    }
    let checksum = checksum(info).map_err(|why| problems.push(why)).ok();
    let disk_format = format(&info["disk_format"]).map_err(|why| problems.push(why)).ok();
    let access = access(info).map_err(|why| problems.push(why)).ok();
    let drive = [&args["configdrive"], &info["configdrive"]];
    let configdrive = drive.into_iter().find(|drive| !drive.is_null()).unwrap_or(&Value::Null);
    let (Some(checksum), Some(disk_format), Some(access), true) =
        (checksum, disk_format, access, problems.is_empty())
    else {
        return Err(problems);
    };
    let node_uuid = text(&info["node_uuid"]).and_then(|uuid| uuid.parse().ok());
    Ok(Deploy {
        image: Image { urls, checksum, disk_format, access, partition },
        root_device: Value::Null,
        configdrive: configdrive.clone(),
        readback: ReadbackMode::Full,
        node_name: String::new(),
        node_uuid: node_uuid.unwrap_or_else(Uuid::nil),
        steps: Vec::new(),
        erase: EraseSettings::default(),
        plugins: Vec::new(),
    })
}

/// What is made around a partition image; a conductor says nothing of the kind of a whole-disk image.
fn partition(info: &Value) -> Result<Option<PartitionImage>, Vec<String>> {
    if info["image_type"].as_str() != Some("partition") {
        return Ok(None);
    }
    let mut problems = Vec::new();
    let number = |key: &str| {
        let value = &info[key];
        value.as_u64().or_else(|| value.as_str()?.parse().ok())
    };
    if number("ephemeral_mb").unwrap_or(0) > 0 || info["preserve_ephemeral"] == true {
        problems.push(
            "image_info/ephemeral_mb asks for an ephemeral partition, which this agent does not make: set ephemeral_gb to 0"
                .to_owned(),
        );
    }
    if info["deploy_boot_mode"].as_str() == Some("bios") {
        problems.push(
            "image_info/deploy_boot_mode is bios: a partition image needs UEFI; use a whole-disk image".to_owned(),
        );
    }
    let root_mib =
        number("root_mb").or_else(|| number("root_gb").map(|gib: u64| gib.saturating_mul(1024)));
    let partition = PartitionImage {
        root_mib: root_mib.unwrap_or(0),
        swap_mib: number("swap_mb").unwrap_or(0),
    };
    if problems.is_empty() { Ok(Some(partition)) } else { Err(problems) }
}

/// The digest: `os_hash_algo` with `os_hash_value`, else `checksum`, whose length tells what it is.
fn checksum(info: &Value) -> Result<Checksum, String> {
    let (algorithm, value) = (text(&info["os_hash_algo"]), text(&info["os_hash_value"]));
    let old = text(&info["checksum"]);
    let by_length = |value: &str| match value.len() {
        64 => Some(ChecksumAlgorithm::Sha256),
        128 => Some(ChecksumAlgorithm::Sha512),
        _ => None,
    };
    let (algorithm, value) = match (algorithm, value, old) {
        (Some("sha256"), Some(value), _) => (ChecksumAlgorithm::Sha256, value),
        (Some("sha512"), Some(value), _) => (ChecksumAlgorithm::Sha512, value),
        (Some(other), Some(_), _) => {
            return Err(format!(
                "image_info/os_hash_algo is {other}: this agent proves sha256 and sha512 only"
            ));
        }
        (_, _, Some(old)) if crate::image::is_address(old) => {
            // A checksum file says by the length of its digests what they are; without a name for it sha256 is the usual one.
            (ChecksumAlgorithm::Sha256, old)
        }
        (_, _, Some(old)) => match by_length(old) {
            Some(algorithm) => (algorithm, old),
            None => {
                return Err(format!(
                    "image_info/checksum has {} characters: md5 and other weak digests prove nothing; set \
                     instance_info/image_os_hash_algo to sha256 or sha512, and image_os_hash_value",
                    old.chars().count()
                ));
            }
        },
        (_, _, None) => {
            return Err("image_info has neither os_hash_algo with os_hash_value nor a checksum: an image without one cannot \
                        be proven"
                .to_owned());
        }
    };
    let value = match crate::image::is_address(value) {
        true => value.to_owned(),
        false => value.to_ascii_lowercase(),
    };
    Ok(Checksum { algorithm, value })
}

/// What was declared; `gpt` is Ironic's word for a raw image with a partition table.
fn format(value: &Value) -> Result<Option<String>, String> {
    match text(value) {
        None | Some("unknown") => Ok(None),
        Some("gpt" | "raw") => Ok(Some("raw".to_owned())),
        Some("qcow2") => Ok(Some("qcow2".to_owned())),
        Some(other) => Err(format!("image_info/disk_format is {other}: use raw or qcow2")),
    }
}

fn access(info: &Value) -> Result<Option<ImageAccess>, String> {
    let proxies = &info["proxies"];
    let own = |value: &Value| text(value).map(str::to_owned);
    let access = ImageAccess {
        authorization: authorization(info)?,
        http_proxy: own(&proxies["http"]),
        https_proxy: own(&proxies["https"]),
        no_proxy: own(&info["no_proxy"]),
        ca_pem: None,
    };
    Ok((access != ImageAccess::default()).then_some(access))
}

/// The whole header value, which wins, or the user and password of basic authentication.
fn authorization(info: &Value) -> Result<Option<String>, String> {
    if let Some(packed) = text(&info["image_request_authorization"]) {
        let bytes = STANDARD.decode(packed).map_err(|_| {
            "image_info/image_request_authorization is not base64 of an Authorization value"
                .to_owned()
        })?;
        return String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| "image_info/image_request_authorization is not text".to_owned());
    }
    match text(&info["image_server_auth_strategy"]) {
        None | Some("noauth") => Ok(None),
        Some("http_basic") => {
            let field = |key: &str| text(&info[key]).unwrap_or_default().to_owned();
            let (user, password) = (field("image_server_user"), field("image_server_password"));
            Ok(Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))))
        }
        Some(other) => Err(format!(
            "image_info/image_server_auth_strategy is {other}: use http_basic or noauth"
        )),
    }
}

fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SHA256: &str = "AAbbccddeeff00112233445566778899aabbccddeeff00112233445566778899";

    #[test]
    fn what_a_conductor_sends_becomes_the_same_deploy_as_our_own_order() {
        let info = json!({
            "id": "img.qcow2", "urls": ["http://h/img.qcow2"], "disk_format": null, "container_format": null,
            "stream_raw_images": true, "os_hash_algo": "sha256", "os_hash_value": SHA256,
            "node_uuid": "7a1ce8d0-9679-4d87-8f54-b11f6e8adb8f", "configdrive": "H4sI",
            "image_server_auth_strategy": "http_basic", "image_server_user": "u", "image_server_password": "p",
            "proxies": {"http": "http://proxy:3128"}, "later": 1,
        });
        let deploy = deploy(&json!({"image_info": info, "configdrive": null})).unwrap();
        assert_eq!(deploy.image.urls, ["http://h/img.qcow2"]);
        assert_eq!(deploy.image.checksum.value, SHA256.to_ascii_lowercase());
        assert_eq!(deploy.configdrive, "H4sI");
        let access = deploy.image.access.unwrap();
        assert_eq!(access.authorization.as_deref(), Some("Basic dTpw"));
        assert_eq!(access.http_proxy.as_deref(), Some("http://proxy:3128"));
    }

    #[test]
    fn a_partition_image_has_the_conductors_sizes() {
        let info = |root: Value| {
            json!({"image_info": {
                "urls": ["http://h/root.qcow2"], "os_hash_algo": "sha256", "os_hash_value": SHA256, "image_type": "partition",
                "kernel": "k", "ramdisk": "r", "root_mb": root, "root_gb": 10, "swap_mb": "512", "ephemeral_mb": 0,
                "deploy_boot_mode": "uefi",
            }})
        };
        let sizes = |root| deploy(&info(root)).unwrap().image.partition;
        assert_eq!(sizes(json!(2048)), Some(PartitionImage { root_mib: 2048, swap_mib: 512 }));
        assert_eq!(sizes(Value::Null), Some(PartitionImage { root_mib: 10240, swap_mib: 512 }));
    }

    #[test]
    fn everything_that_cannot_be_used_is_named_at_once() {
        let info = json!({
            "urls": [], "disk_format": "vmdk", "image_type": "partition", "ephemeral_mb": 1, "deploy_boot_mode": "bios",
            "checksum": "d41d8cd98f00b204e9800998ecf8427e", "image_server_auth_strategy": "kerberos",
        });
        let problems = deploy(&json!({ "image_info": info })).unwrap_err().join("; ");
        for part in ["ephemeral_gb to 0", "needs UEFI", "names no URL", "md5", "vmdk", "kerberos"] {
            assert!(problems.contains(part), "{part}: {problems}");
        }
        let none = deploy(&json!({"image_info": {"urls": ["http://h/i"]}})).unwrap_err();
        assert!(none[0].contains("cannot be proven"), "{none:?}");
    }
}
