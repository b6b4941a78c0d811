//! The forms a config drive may have.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde_json::Value;

/// Largest config drive, decoded: Ironic's 64 MiB.
const LIMIT_BYTES: usize = 64 << 20;
/// What is unpacked here: enough for an ISO 9660 volume descriptor.
const HEAD_BYTES: u64 = 34 << 10;
/// Where that descriptor is: sector 16 of 2048 bytes (ECMA-119, 6.2.1 and 8.4).
const ISO_DESCRIPTOR: usize = 16 * 2048;
/// How it begins: type 1, `CD001`, version 1 (ECMA-119, 8.4.1 to 8.4.3).
const ISO_PRIMARY: &[u8] = b"\x01CD001\x01";
/// The volume identifier in it: bytes 41 to 72 (ECMA-119, 8.4.7).
const ISO_LABEL: std::ops::Range<usize> = ISO_DESCRIPTOR + 40..ISO_DESCRIPTOR + 72;
/// The end of a FAT boot sector (Microsoft's FAT specification 1.03, `Signature_word`).
const FAT_SIGNATURE: [u8; 2] = [0x55, 0xaa];

/// Whether `drive` is a config drive the agent can make or fetch: an object, an http(s) URL, or base64 of a gzipped image.
///
/// # Errors
///
/// One sentence with what is wrong. It never repeats the content, which holds secrets.
pub fn check(drive: &Value) -> Result<(), String> {
    match drive {
        Value::Null => Ok(()),
        Value::Object(_) => object(drive),
        Value::String(text) if text.contains("://") => address(text),
        Value::String(text) => packed(text),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            Err("configdrive must be an object, a URL, or base64 of a gzipped image.".into())
        }
    }
}

fn object(drive: &Value) -> Result<(), String> {
    let mut problems = Vec::new();
    for (key, value) in drive.as_object().into_iter().flatten() {
        let object_or_none = value.is_object() || value.is_null();
        match key.as_str() {
            "meta_data" | "network_data" | "vendor_data" if !object_or_none => {
                problems.push(format!("configdrive.{key} must be an object."));
            }
            "meta_data" | "network_data" | "vendor_data" => {}
            "user_data" if value.is_number() || value.is_boolean() => {
                problems.push("configdrive.user_data must be text, an object or a list.".into());
            }
            "user_data" => {}
            _ => problems.push(format!(
                "configdrive.{key} is unknown; known are meta_data, user_data, network_data, vendor_data."
            )),
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.join(" ")) }
}

fn address(text: &str) -> Result<(), String> {
    match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(()),
        _ => Err("configdrive is a URL that is not http or https.".into()),
    }
}

fn packed(text: &str) -> Result<(), String> {
    let compact: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    if compact.len() / 4 * 3 > LIMIT_BYTES {
        return Err(format!("configdrive has more than {LIMIT_BYTES} bytes."));
    }
    let bytes = STANDARD
        .decode(compact)
        .map_err(|error| format!("configdrive is not base64: {}.", position(&error)))?;
    // The first two bytes of every gzip member: RFC 1952, 2.3.1.
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Err("configdrive is base64 of something that is not gzipped; it must be base64(gzip(ISO image)).".into());
    }
    file_system(&bytes)
}

/// Whether the gzipped bytes begin as an image that a system finds by its label. The rest is the agent's to check.
fn file_system(packed: &[u8]) -> Result<(), String> {
    let mut head = Vec::new();
    let read = GzDecoder::new(packed).take(HEAD_BYTES).read_to_end(&mut head);
    if read.is_err() {
        return Err(
            "configdrive is base64 of a broken gzip stream; it must be base64(gzip(ISO image))."
                .into(),
        );
    }
    if head.get(510..512) == Some(&FAT_SIGNATURE) {
        return Ok(());
    }
    if head.get(ISO_DESCRIPTOR..ISO_DESCRIPTOR + ISO_PRIMARY.len()) != Some(ISO_PRIMARY) {
        return Err("configdrive is gzip of something that is neither an ISO 9660 nor a FAT image; make it with genisoimage -V config-2.".into());
    }
    let label = head.get(ISO_LABEL).unwrap_or_default();
    if !label.trim_ascii().eq_ignore_ascii_case(b"config-2") {
        return Err("configdrive is an ISO image whose label is not config-2; make it with genisoimage -V config-2.".into());
    }
    Ok(())
}

/// Where the text stops being base64, without the byte itself.
fn position(error: &base64::DecodeError) -> String {
    match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => {
            format!("character {} is not of its alphabet", at + 1)
        }
        base64::DecodeError::InvalidLength(length) => {
            format!("{length} characters are not a whole number of bytes")
        }
        base64::DecodeError::InvalidPadding => "its padding is wrong".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use serde_json::json;

    use super::*;

    fn gzipped(bytes: &[u8]) -> String {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(bytes).unwrap();
        STANDARD.encode(packed.finish().unwrap())
    }

    /// The smallest thing with a primary volume descriptor.
    fn iso(label: &str) -> Vec<u8> {
        let mut bytes = vec![b' '; 40 << 10];
        bytes[32768..32775].copy_from_slice(ISO_PRIMARY);
        bytes[32808..32808 + label.len()].copy_from_slice(label.as_bytes());
        bytes
    }

    #[test]
    fn each_form_of_a_config_drive_is_told_from_what_is_none() {
        let gz = gzipped(&iso("config-2"));
        for (drive, good) in [
            (json!(null), true),
            (json!({"meta_data": {"hostname": "x"}, "user_data": "#!/bin/sh"}), true),
            (json!({"user_data": {"a": 1}, "network_data": {}, "vendor_data": null}), true),
            (json!("https://h/drive.gz"), true),
            (json!(gz), true),
            (json!(format!("{}\n{}", &gz[..4], &gz[4..])), true),
            (json!({"meta_data": "x"}), false),
            (json!({"user_dta": "x"}), false),
            (json!({"user_data": 5}), false),
            (json!("ftp://h/x"), false),
            (json!("secret text"), false),
            (json!(STANDARD.encode([0x1f, 0x8b, 8, 0])), false),
            (json!(gzipped(&iso("cidata"))), false),
            (json!(gzipped(b"secret text")), false),
            (json!(STANDARD.encode("plain iso")), false),
            (json!([1]), false),
        ] {
            let result = check(&drive);
            assert_eq!(result.is_ok(), good, "{drive}: {result:?}");
            assert!(!result.err().unwrap_or_default().contains("secret text"));
        }
    }
}
