//! A record as its clients send and read it. Pure.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::rules::Form;
use super::{Resource, Rule};
use crate::http::error::ApiError;
use crate::http::fields;
use crate::http::representation::{links, time};
use crate::http::version::Version;
use crate::store::{Record, RecordKind};

impl Resource {
    /// Every field a client may see, with its version.
    #[must_use]
    pub fn table(&self) -> Vec<fields::Field> {
        let own = self.rules.iter().map(|rule| (rule.name, rule.since));
        [("uuid", 1), ("created_at", 1), ("updated_at", 1)].into_iter().chain(own).collect()
    }

    pub(super) fn rule(&self, name: &str) -> Option<&'static Rule> {
        self.rules.iter().find(|rule| rule.name == name)
    }

    /// The record as `version` shows it; `only`: the fields asked for.
    #[must_use]
    pub fn shown(
        &self,
        record: &Record,
        version: Version,
        base: &str,
        only: Option<&[String]>,
    ) -> Value {
        let wanted = |name: &str| only.is_none_or(|only| only.iter().any(|one| one == name));
        let mut shown = Map::new();
        for (name, _) in self.table().iter().filter(|field| version.0 >= field.1 && wanted(field.0))
        {
            shown.insert((*name).to_owned(), self.value(record, name));
        }
        let path = format!("{}/{}", self.path, record.uuid);
        shown.insert("links".to_owned(), links(base, &path));
        if only.is_none() {
            for below in match self.kind {
                RecordKind::Chassis => &["nodes"][..],
                RecordKind::Portgroup => &["ports"][..],
                RecordKind::VolumeConnector
                | RecordKind::VolumeTarget
                | RecordKind::DeployTemplate
                | RecordKind::Runbook
                | RecordKind::InspectionRule
                | RecordKind::Allocation
                | RecordKind::Inventory => &[],
            } {
                shown.insert((*below).to_owned(), links(base, &format!("{path}/{below}")));
            }
        }
        Value::Object(shown)
    }

    pub(super) fn value(&self, record: &Record, name: &str) -> Value {
        match name {
            "uuid" => json!(record.uuid),
            "created_at" => Value::from(time(record.created_at)),
            "updated_at" => record.updated_at.map(time).into(),
            "name" => json!(record.name),
            "node_uuid" => json!(record.node),
            _ => record.fields.get(name).cloned().unwrap_or_else(|| {
                self.rule(name).map_or(Value::Null, |rule| rule.form.default_value())
            }),
        }
    }

    /// Sets checked values into a record; every problem at once.
    pub(super) fn assign(&self, record: &mut Record, values: &Map<String, Value>) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, value) in values {
            let Some(rule) = self.rule(name) else { continue };
            match rule.form.check(name, value) {
                Err(problem) => problems.push(problem),
                Ok(value) if name == "name" => record.name = value.as_str().map(str::to_owned),
                Ok(value) if name == "node_uuid" => {
                    record.node = value.as_str().and_then(|text| text.parse().ok());
                }
                Ok(value) => {
                    record.fields.insert(name.clone(), value);
                }
            }
        }
        for rule in self.rules.iter().filter(|rule| rule.required) {
            let value = self.value(record, rule.name);
            let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
            let named = problems.iter().any(|problem| problem.contains(rule.name));
            if empty && !named {
                problems.push(format!(
                    "Schema error for {}: '{}' is a required property and must not be empty.",
                    self.kind.noun().to_lowercase(),
                    rule.name
                ));
            }
        }
        let parts = self.unique.iter().map(|name| (name, self.value(record, name)));
        let parts: Vec<_> = parts.filter(|(_, value)| !value.is_null()).collect();
        record.key = (!parts.is_empty() && parts.len() == self.unique.len()).then(|| {
            let words = parts.iter().map(|(name, value)| format!("{name} {}", plain(value)));
            words.collect::<Vec<_>>().join(", ")
        });
        problems
    }
}

/// The record that a body asks for.
///
/// # Errors
///
/// 400 naming every problem, 406.
pub fn made(
    resource: &Resource,
    body: &Value,
    version: Version,
    now: jiff::Timestamp,
) -> Result<Record, ApiError> {
    let noun = resource.kind.noun().to_lowercase();
    // A chassis has nothing that it must have, and the client then sends no body.
    let empty = Map::new();
    let body = match body {
        Value::Null => &empty,
        Value::Object(body) => body,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return Err(ApiError::Invalid(format!(
                "Schema error for {noun}: the body must be an object."
            )));
        }
    };
    fields::refuse_newer(&resource.table(), body.keys().map(String::as_str), version)?;
    let mut problems = Vec::new();
    let settable = |key: &str| {
        key == "uuid"
            || resource.rule(key).is_some_and(|rule| !matches!(rule.form, Form::Computed(_)))
    };
    let unknown: Vec<String> =
        body.keys().filter(|key| !settable(key)).map(|key| format!("'{key}'")).collect();
    if !unknown.is_empty() {
        problems.push(format!(
            "Schema error for {noun}: Additional properties are not allowed ({} unexpected).",
            unknown.join(", ")
        ));
    }
    let uuid = match body.get("uuid").filter(|uuid| !uuid.is_null()) {
        None => Uuid::now_v7(),
        Some(value) => value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| {
            problems.push(format!("uuid must be a UUID, not {value}."));
            Uuid::nil()
        }),
    };
    let mut record = Record {
        kind: resource.kind,
        uuid,
        name: None,
        node: None,
        key: None,
        fields: Map::new(),
        created_at: now,
        updated_at: None,
    };
    problems.extend(resource.assign(&mut record, body));
    if problems.is_empty() { Ok(record) } else { Err(ApiError::problems(&problems)) }
}

/// Fields that a client may change.
#[must_use]
pub fn changeable(resource: &Resource) -> Vec<&'static str> {
    let settable = resource.rules.iter().filter(|rule| !matches!(rule.form, Form::Computed(_)));
    settable.map(|rule| rule.name).collect()
}

/// A value as people write it.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
