//! What an `ipmi` node's `driver_info` must hold.

use std::net::IpAddr;

use serde_json::Value;

use crate::node::Object;

/// Everything wrong with the BMC's address and credentials.
pub(super) fn problems(info: &Object) -> Vec<String> {
    let mut problems = Vec::new();
    let given = |key: &str| info.get(key).is_some_and(|value| !value.is_null());
    let required = ["ipmi_address", "ipmi_username", "ipmi_password"];
    let missing: Vec<String> =
        required.iter().filter(|key| !given(key)).map(|key| format!("'{key}'")).collect();
    if !missing.is_empty() {
        problems.push(format!(
            "Missing the following IPMI credentials in node's driver_info: [{}].",
            missing.join(", ")
        ));
    }
    if let Some(address) = info.get("ipmi_address").filter(|value| !value.is_null())
        && !address.as_str().is_some_and(is_host)
    {
        problems
            .push(format!("ipmi_address must be an IP address or a host name; it is {address}."));
    }
    // 16 bytes of user name and 20 of password: IPMI 2.0, sections 13.20 and 22.30.
    for (key, limit) in [("ipmi_username", 16), ("ipmi_password", 20)] {
        if let Some(problem) = info.get(key).and_then(|value| text_problem(key, value, limit)) {
            problems.push(problem);
        }
    }
    problems.extend(options(info));
    problems
}

fn options(info: &Object) -> Vec<String> {
    let mut problems = Vec::new();
    let number = |key: &str| info.get(key).filter(|value| !value.is_null()).map(as_number);
    if number("ipmi_port").is_some_and(|port| !port.is_some_and(|port| (1..=65535).contains(&port)))
    {
        problems.push("ipmi_port must be a number from 1 to 65535.".to_owned());
    }
    if number("ipmi_cipher_suite").is_some_and(|suite| !matches!(suite, Some(3 | 17))) {
        problems.push(
            "ipmi_cipher_suite must be 17 or 3; the other suites are not supported.".to_owned(),
        );
    }
    if let Some(level) = info.get("ipmi_priv_level").filter(|value| !value.is_null())
        && !matches!(level.as_str(), Some("ADMINISTRATOR" | "OPERATOR" | "USER" | "CALLBACK"))
    {
        problems
            .push("ipmi_priv_level must be ADMINISTRATOR, OPERATOR, USER or CALLBACK.".to_owned());
    }
    if let Some(version) = info.get("ipmi_protocol_version").filter(|value| !value.is_null())
        && as_text(version) != "2.0"
    {
        problems.push(
            "ipmi_protocol_version must be 2.0; IPMI 1.5 sends passwords unprotected.".to_owned(),
        );
    }
    if let Some(bridging) = info.get("ipmi_bridging").filter(|value| !value.is_null())
        && bridging.as_str() != Some("no")
    {
        problems.push("ipmi_bridging must be no; bridging is not supported.".to_owned());
    }
    if let Some(key) = info.get("ipmi_hex_kg_key").filter(|value| !value.is_null()) {
        let good = key.as_str().is_some_and(|key| {
            key.len() % 2 == 0
                && key.len() <= 40
                && key.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        if !good {
            problems.push(
                "ipmi_hex_kg_key must be an even number of at most 40 hexadecimal digits."
                    .to_owned(),
            );
        }
    }
    problems
}

/// A name or password; the client turns digits into numbers, so those are text as well. Never repeats the value.
fn text_problem(key: &str, value: &Value, limit: usize) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(_) | Value::Number(_) => (as_text(value).len() > limit)
            .then(|| format!("{key} must have at most {limit} bytes (IPMI 2.0).")),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => Some(format!("{key} must be text.")),
    }
}

fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn as_number(value: &Value) -> Option<u64> {
    as_text(value).trim().parse().ok()
}

/// An IP address, or a host name by RFC 1123.
fn is_host(text: &str) -> bool {
    if text.parse::<IpAddr>().is_ok() {
        return true;
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let digits_only = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.len() <= 253 && !digits_only && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::node::sample::object;

    #[test]
    fn each_wrong_setting_is_named_and_no_password_is_repeated() {
        let base =
            json!({"ipmi_address": "bmc-1.example", "ipmi_username": "", "ipmi_password": "p"});
        assert_eq!(problems(&object(base.clone())), Vec::<String>::new());
        for (key, value) in [
            ("ipmi_address", json!("10.1.2")),
            ("ipmi_address", json!("10.1.2.300")),
            ("ipmi_address", json!("a b")),
            ("ipmi_address", json!(7)),
            ("ipmi_address", json!("-x.example")),
            ("ipmi_username", json!("a".repeat(17))),
            ("ipmi_password", json!("hunter2".repeat(4))),
            ("ipmi_password", json!(["hunter2"])),
            ("ipmi_port", json!("0")),
            ("ipmi_port", json!(70000)),
            ("ipmi_cipher_suite", json!(0)),
            ("ipmi_priv_level", json!("ROOT")),
            ("ipmi_protocol_version", json!("1.5")),
            ("ipmi_bridging", json!("dual")),
            ("ipmi_hex_kg_key", json!("abc")),
        ] {
            let mut info = object(base.clone());
            info.insert(key.into(), value.clone());
            let found = problems(&info).join(" ");
            assert!(found.contains(key), "{key} {value}: {found}");
            assert!(!found.contains("hunter2"), "{found}");
        }
    }

    #[test]
    fn numbers_as_the_client_sends_them_are_accepted() {
        let info = object(json!({
            "ipmi_address": "::1", "ipmi_username": "1234", "ipmi_password": 1234, "ipmi_port": "6230",
            "ipmi_cipher_suite": "17", "ipmi_protocol_version": 2.0,
        }));
        assert_eq!(problems(&info), Vec::<String>::new());
    }
}
