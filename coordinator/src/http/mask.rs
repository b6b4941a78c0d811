//! Secrets never leave: every answer that carries driver or instance details goes through here.

use serde_json::Value;

/// What stands for a secret.
pub const MASK: &str = "******";

/// A key that contains one of these (lower-cased) holds a secret. Ironic's list, and the BMC key of IPMI.
const SECRET: [&str; 20] = [
    "adminpass",
    "admin_pass",
    "password",
    "auth_token",
    "new_pass",
    "secret",
    "sys_pswd",
    "token",
    "configdrive",
    "chappassword",
    "chapsecret",
    "encrypted_key",
    "private_key",
    "sslkey",
    "passphrase",
    "snmp_auth_key",
    "snmp_priv_key",
    "hex_kg_key",
    "request_authorization",
    "nonce",
];

/// Replaces every secret inside `value`, at any depth, and passwords inside URLs.
pub fn mask(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (key, value) in object.iter_mut() {
                if is_secret(key) {
                    *value = Value::from(MASK);
                } else {
                    mask(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::String(text) => {
            if let Some(masked) = without_password(text) {
                *text = masked;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// `instance_info` on the wire: as [`mask`], and the resolved `image_url` (Ironic: it may be a signed URL).
pub fn mask_instance_info(value: &mut Value) {
    mask(value);
    if let Some(url) = value.get_mut("image_url") {
        *url = Value::from(MASK);
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    SECRET.iter().any(|part| key.contains(part))
}

/// `text` with its password masked, when it is a URL that has one.
#[must_use]
pub fn without_password(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user_info, _host) = authority.rsplit_once('@')?;
    let (user, _password) = user_info.split_once(':')?;
    let after = rest.get(user_info.len()..)?;
    Some(format!("{scheme}://{user}:{MASK}{after}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_masked_at_any_depth_and_in_any_case() {
        let mut value = json!({
            "ipmi_address": "192.0.2.1", "ipmi_password": "p", "IPMI_PASSWORD2": "p", "ipmi_hex_kg_key": "00",
            "nested": [{"agent_secret_token": {"a": 1}}, {"keep": 1}],
            "configdrive": {"user_data": "#!/bin/sh"},
        });
        mask(&mut value);
        assert_eq!(
            value,
            json!({
                "ipmi_address": "192.0.2.1", "ipmi_password": MASK, "IPMI_PASSWORD2": MASK, "ipmi_hex_kg_key": MASK,
                "nested": [{"agent_secret_token": MASK}, {"keep": 1}],
                "configdrive": MASK,
            })
        );
    }

    #[test]
    fn a_password_inside_a_url_is_masked_and_the_rest_stays() {
        for (text, expected) in [
            ("http://u:p@h/x", Some("http://u:******@h/x")),
            ("http://u:p@ss@h:1/x@y", Some("http://u:******@h:1/x@y")),
            ("https://u@h/x", None),
            ("http://h/a:b@c", None),
            ("no url: a@b", None),
        ] {
            assert_eq!(without_password(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn the_resolved_image_url_is_masked_and_the_source_is_not() {
        let mut value = json!({"image_source": "http://h/x", "image_url": "http://h/x?sig=1"});
        mask_instance_info(&mut value);
        assert_eq!(value, json!({"image_source": "http://h/x", "image_url": MASK}));
    }
}
