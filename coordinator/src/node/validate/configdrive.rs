//! The forms a config drive may have.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Largest config drive, decoded: Ironic's 64 MiB.
const LIMIT_BYTES: usize = 64 << 20;

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
    use serde_json::json;

    use super::*;

    #[test]
    fn each_form_of_a_config_drive_is_told_from_what_is_none() {
        let gz = STANDARD.encode([0x1f, 0x8b, 8, 0]);
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
            (json!(STANDARD.encode("plain iso")), false),
            (json!([1]), false),
        ] {
            let result = check(&drive);
            assert_eq!(result.is_ok(), good, "{drive}: {result:?}");
            assert!(!result.err().unwrap_or_default().contains("secret text"));
        }
    }
}
