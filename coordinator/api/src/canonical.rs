//! The exact bytes that signatures cover: the same on every machine and in every version.

use serde_json::Value;

use crate::certificate::{Certificate, Seal};

/// First line of what a coordinator signs, so that its signature is none of an agent's.
const COUNTERSIGNED: &str = "ironwright-countersigned-certificate-1";

impl Certificate {
    /// What the agent signs: JSON with object keys sorted by code point at every depth, no white space. There are no
    /// fractions in a certificate, whose text could differ.
    ///
    /// # Errors
    /// serde's, when a map key is no text: none here is.
    pub fn canonical_text(&self) -> Result<String, serde_json::Error> {
        let mut value = serde_json::to_value(self)?;
        sort(&mut value);
        serde_json::to_string(&value)
    }

    /// What the coordinator signs: a line of its own, the agent's key and signature, then [`Certificate::canonical_text`].
    ///
    /// # Errors
    /// As [`Certificate::canonical_text`].
    pub fn countersigned_text(&self, agent: &Seal) -> Result<String, serde_json::Error> {
        let text = self.canonical_text()?;
        Ok(format!("{COUNTERSIGNED}\n{}\n{}\n{text}", agent.public_key, agent.signature))
    }
}

fn sort(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.sort_keys();
            map.values_mut().for_each(sort);
        }
        Value::Array(items) => items.iter_mut().for_each(sort),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_at_every_depth_and_lists_keep_their_order() {
        let mut value: Value =
            serde_json::from_str(r#"{"b": [{"z": 1, "a": 2}, 3], "a": {"d": null, "c": "x y"}}"#)
                .unwrap();
        sort(&mut value);
        assert_eq!(value.to_string(), r#"{"a":{"c":"x y","d":null},"b":[{"a":2,"z":1},3]}"#);
    }
}
