//! Secrets never leave: every answer that carries driver or instance details goes through here.

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::Value;
use url::Url;

use super::representation::plain;
use crate::node::Object;

pub use crate::node::MASK;

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

/// A value that is written with every secret in it replaced, at any depth, and with passwords inside URLs masked.
#[derive(Debug, Clone, Copy)]
pub struct Masked<'a>(pub &'a Value);

/// [`Masked`] for an object, and `also` hides one more key of its own.
#[derive(Debug, Clone, Copy)]
pub struct MaskedObject<'a> {
    /// The object.
    pub object: &'a Object,
    /// The further key.
    pub also: Option<&'static str>,
}

impl Serialize for Masked<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(object) => MaskedObject { object, also: None }.serialize(serializer),
            Value::Array(items) => serializer.collect_seq(items.iter().map(Masked)),
            Value::String(text) => match without_password(text) {
                Some(masked) => serializer.serialize_str(&masked),
                None => serializer.serialize_str(text),
            },
            other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => {
                other.serialize(serializer)
            }
        }
    }
}

impl Serialize for MaskedObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hidden = |key: &str| is_secret(key) || self.also == Some(key);
        let mut map = serializer.serialize_map(Some(self.object.len()))?;
        for (key, value) in self.object {
            if hidden(key) {
                map.serialize_entry(key, MASK)?;
            } else {
                map.serialize_entry(key, &Masked(value))?;
            }
        }
        map.end()
    }
}

/// `value` as [`Masked`] writes it.
#[must_use]
pub fn mask(value: &Value) -> Value {
    plain(Masked(value))
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

/// A URL for sentences, whatever it is: its password masked, its query and fragment too, which is where signatures and tokens are.
/// What is no URL and may have a password (`http//user:password@host`) is not shown at all.
#[must_use]
pub fn for_people(text: &str) -> String {
    let Some(mut url) = Url::parse(text).ok().filter(Url::has_host) else {
        if text.contains('@') {
            return format!("the text of {} characters that was given", text.chars().count());
        }
        return match text.find(['?', '#']) {
            Some(at) => format!("{}{MASK}", text.split_at(at + 1).0),
            None => text.to_owned(),
        };
    };
    // Neither can fail for a URL with a host.
    if url.password().is_some() {
        url.set_password(Some(MASK)).ok();
    } else if !url.username().is_empty() {
        url.set_username(MASK).ok();
    }
    if url.query().is_some() {
        url.set_query(Some(MASK));
    }
    if url.fragment().is_some() {
        url.set_fragment(Some(MASK));
    }
    url.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_masked_at_any_depth_and_in_any_case() {
        let value = json!({
            "ipmi_address": "192.0.2.1", "ipmi_password": "p", "IPMI_PASSWORD2": "p", "ipmi_hex_kg_key": "00",
            "nested": [{"agent_secret_token": {"a": 1}}, {"keep": 1}],
            "configdrive": {"user_data": "#!/bin/sh"},
        });
        assert_eq!(
            mask(&value),
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
    fn a_url_in_a_sentence_has_neither_password_nor_signature() {
        for (text, expected) in [
            ("https://u:p@h/x?X-Amz-Signature=s3cret&y=1", "https://u:******@h/x?******"),
            ("ftp//h/x?sig=s3cret", "ftp//h/x?******"),
            ("http://h/x", "http://h/x"),
            ("http//alice:hunter2@h/x", "the text of 23 characters that was given"),
            ("http:alice:hunter2@h/x", "http://alice:******@h/x"),
            ("http://alice:hunt#er2@h/x", "the text of 25 characters that was given"),
            ("https://t0ken@h/x#s3cret", "https://******@h/x#******"),
            ("ftp//h/x#s3cret", "ftp//h/x#******"),
        ] {
            assert_eq!(for_people(text), expected);
        }
    }

    #[test]
    fn the_resolved_image_url_is_masked_and_the_source_is_not() {
        let value = json!({"image_source": "http://h/x", "image_url": "http://h/x?sig=1"});
        let object = value.as_object().unwrap();
        let shown = plain(MaskedObject { object, also: Some("image_url") });
        assert_eq!(shown, json!({"image_source": "http://h/x", "image_url": MASK}));
    }
}
