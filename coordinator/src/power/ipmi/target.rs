//! Reads `driver_info` by Ironic's names.

use ironwright_ipmi::{Privilege, Suite, Target};
use serde_json::Value;

use crate::node::Object;
use crate::power::BmcError;

/// The BMC and account that `driver_info` names. What this client cannot do is refused, not ignored.
pub(super) fn from_driver_info(info: &Object) -> Result<Target, BmcError> {
    let address = text(info, "ipmi_address")
        .ok_or_else(|| wrong("ipmi_address", "is missing; set the BMC's address"))?;
    let username = text(info, "ipmi_username").unwrap_or_default();
    let password = text(info, "ipmi_password").unwrap_or_default();
    let mut target = Target::new(address, username, password.into());
    if let Some(port) = text(info, "ipmi_port") {
        target.port = port
            .trim()
            .parse()
            .map_err(|_| wrong("ipmi_port", "must be a number from 1 to 65535"))?;
    }
    if let Some(suite) = text(info, "ipmi_cipher_suite") {
        let known = [Suite::Suite17, Suite::Suite3];
        let named = known.into_iter().find(|known| known.number().to_string() == suite.trim());
        target.suites = vec![named.ok_or_else(|| wrong("ipmi_cipher_suite", "must be 17 or 3"))?];
    }
    if let Some(level) = text(info, "ipmi_priv_level") {
        target.privilege = match level.to_ascii_uppercase().as_str() {
            "ADMINISTRATOR" => Privilege::Administrator,
            "OPERATOR" => Privilege::Operator,
            "USER" => Privilege::User,
            _ => return Err(wrong("ipmi_priv_level", "must be ADMINISTRATOR, OPERATOR or USER")),
        };
    }
    if let Some(key) = text(info, "ipmi_hex_kg_key").filter(|key| !key.is_empty()) {
        target.kg = Some(hex(&key).ok_or_else(|| {
            wrong("ipmi_hex_kg_key", "must be an even number of hexadecimal digits")
        })?);
    }
    if text(info, "ipmi_protocol_version").is_some_and(|version| version != "2.0") {
        return Err(wrong("ipmi_protocol_version", "must be 2.0; IPMI 1.5 is not supported"));
    }
    if text(info, "ipmi_bridging").is_some_and(|bridging| bridging != "no") {
        return Err(wrong("ipmi_bridging", "must be no; bridging is not supported"));
    }
    Ok(target)
}

fn wrong(key: &'static str, problem: &str) -> BmcError {
    BmcError::Setting { key, problem: problem.to_owned() }
}

/// Text, or a number: clients turn digits into numbers.
fn text(info: &Object, key: &str) -> Option<String> {
    match info.get(key)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let even = text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.as_bytes().chunks(2).map(pair).collect::<Option<Vec<u8>>>().filter(|_| even)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "reads better with json! at every call")]
    fn read(info: Value) -> Result<Target, BmcError> {
        from_driver_info(info.as_object().unwrap())
    }

    #[test]
    fn ironics_names_become_a_target() {
        let target = read(json!({
            "ipmi_address": "bmc.example", "ipmi_username": "root", "ipmi_password": 1234, "ipmi_port": "6230",
            "ipmi_cipher_suite": 3, "ipmi_priv_level": "OPERATOR", "ipmi_hex_kg_key": "0aFF", "ipmi_bridging": "no",
        }))
        .unwrap();
        assert_eq!(
            (target.address.as_str(), target.port, target.username.as_str()),
            ("bmc.example", 6230, "root")
        );
        assert_eq!(target.password.expose_secret(), "1234");
        assert_eq!(
            (target.suites, target.privilege, target.kg),
            (vec![Suite::Suite3], Privilege::Operator, Some(vec![10, 255]))
        );
        let plain = read(json!({"ipmi_address": "b"})).unwrap();
        assert_eq!((plain.port, plain.suites), (623, vec![Suite::Suite17, Suite::Suite3]));
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_its_key() {
        for (key, value) in [
            ("ipmi_address", json!(null)),
            ("ipmi_port", json!("telnet")),
            ("ipmi_cipher_suite", json!(0)),
            ("ipmi_priv_level", json!("CALLBACK")),
            ("ipmi_hex_kg_key", json!("+1")),
            ("ipmi_hex_kg_key", json!("abc")),
            ("ipmi_protocol_version", json!("1.5")),
            ("ipmi_bridging", json!("single")),
        ] {
            let mut info = json!({"ipmi_address": "b"});
            info[key] = value;
            assert!(
                read(info).unwrap_err().to_string().starts_with(&format!("driver_info/{key} "))
            );
        }
    }
}
