//! The three forms of a config drive, and the files of the object form.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::ConfigDriveError;

/// The forms of a config drive in an order.
#[derive(Clone, PartialEq)]
pub enum Form {
    /// None was ordered.
    Absent,
    /// JSON documents.
    Object(Box<Documents>),
    /// base64 of a gzipped file system.
    Text(String),
    /// An http(s) address of the text form or of the file system itself.
    Url(String),
}

/// The documents of the object form, types checked.
#[derive(Clone, Default, PartialEq)]
pub struct Documents {
    meta_data: Map<String, Value>,
    user_data: Value,
    network_data: Option<Map<String, Value>>,
    vendor_data: Option<Map<String, Value>>,
}

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Absent => "Absent",
            Self::Object(_) => "Object",
            Self::Text(_) => "Text",
            Self::Url(_) => "Url",
        })
    }
}

impl std::fmt::Debug for Documents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Documents").finish_non_exhaustive()
    }
}

impl Form {
    /// Tells the forms apart and checks the object form's schema. An empty text is no config drive.
    pub(super) fn parse(value: &Value) -> Result<Self, ConfigDriveError> {
        match value {
            Value::Null => Ok(Self::Absent),
            Value::String(text) if text.trim().is_empty() => Ok(Self::Absent),
            Value::String(text) if is_url(text) => Ok(Self::Url(text.trim().to_owned())),
            Value::String(text) => Ok(Self::Text(text.clone())),
            Value::Object(map) => Ok(Self::Object(Box::new(Documents::parse(map)?))),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                Err(ConfigDriveError::Type { found: type_name(value) })
            }
        }
    }
}

impl Documents {
    fn parse(map: &Map<String, Value>) -> Result<Self, ConfigDriveError> {
        let mut documents = Self::default();
        for (key, value) in map {
            match key.as_str() {
                "meta_data" => {
                    documents.meta_data = object("meta_data", value)?.unwrap_or_default();
                }
                "user_data" => documents.user_data = user_data(value)?,
                "network_data" => documents.network_data = object("network_data", value)?,
                "vendor_data" => documents.vendor_data = object("vendor_data", value)?,
                _ => return Err(ConfigDriveError::UnknownKey { key: key.clone() }),
            }
        }
        Ok(documents)
    }

    /// File names with contents, as cloud-init and OpenStack name them. `meta_data.uuid` and `.name` default to the node's.
    pub(super) fn files(
        &self,
        node_name: &str,
        node_uuid: Uuid,
    ) -> Result<Vec<(&'static str, Vec<u8>)>, ConfigDriveError> {
        let mut meta_data = self.meta_data.clone();
        let uuid = Value::String(node_uuid.to_string());
        meta_data.entry("uuid").or_insert(uuid);
        if !node_name.is_empty() {
            meta_data.entry("name").or_insert_with(|| Value::String(node_name.to_owned()));
        }
        let mut files = vec![("meta_data.json", print("meta_data", &meta_data)?)];
        match &self.user_data {
            Value::Null => {}
            Value::String(text) => files.push(("user_data", text.clone().into_bytes())),
            other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                files.push(("user_data", print("user_data", other)?));
            }
        }
        if let Some(network_data) = &self.network_data {
            files.push(("network_data.json", print("network_data", network_data)?));
        }
        if let Some(vendor_data) = &self.vendor_data {
            files.push(("vendor_data2.json", print("vendor_data", vendor_data)?));
        }
        Ok(files)
    }
}

/// An object, or null for none.
fn object(
    key: &'static str,
    value: &Value,
) -> Result<Option<Map<String, Value>>, ConfigDriveError> {
    match value {
        Value::Null => Ok(None),
        Value::Object(map) => Ok(Some(map.clone())),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(ConfigDriveError::Document { key, found: type_name(value), expected: "an object" })
        }
    }
}

/// Text, or JSON that becomes text.
fn user_data(value: &Value) -> Result<Value, ConfigDriveError> {
    match value {
        Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => Ok(value.clone()),
        Value::Bool(_) | Value::Number(_) => Err(ConfigDriveError::Document {
            key: "user_data",
            found: type_name(value),
            expected: "text, an object, an array or null",
        }),
    }
}

fn print(key: &'static str, value: &impl serde::Serialize) -> Result<Vec<u8>, ConfigDriveError> {
    serde_json::to_vec(value).map_err(|source| ConfigDriveError::Print { key, source })
}

fn is_url(text: &str) -> bool {
    let text = text.trim_start();
    let starts =
        |scheme: &str| text.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme));
    starts("http://") || starts("https://")
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
