//! What a field of a record may be. Pure.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::http::ports::address;
use crate::http::states::{deploy_step, one_step};
use crate::node::attributes::{flag, text};

/// What a field may be.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    /// Text of at most so many characters, or null.
    Text(usize),
    /// A name: URL-safe text that is no UUID.
    Name,
    /// A name that is a trait: `CUSTOM_` and capital letters, digits, underscores.
    TraitName,
    /// A flag and its default.
    Flag(bool),
    /// An object; null is an empty one.
    Object,
    /// The UUID of a node.
    Node,
    /// A MAC address.
    Mac,
    /// A whole number from 0 on.
    Count,
    /// A whole number and its default.
    Number(i64),
    /// One of these texts; the first is the default.
    OneOf(&'static [&'static str]),
    /// Steps; whether each has a priority.
    Steps(bool),
    /// A list of texts.
    Texts,
    /// A list of objects.
    Objects,
    /// Not a client's to set; its default.
    Computed(Computed),
}

/// Defaults of fields that are ours.
#[derive(Debug, Clone, Copy)]
pub enum Computed {
    /// `null`
    Null,
    /// `{}`
    Object,
}

impl Form {
    /// What an absent or removed field is.
    #[must_use]
    pub fn default_value(self) -> Value {
        match self {
            Self::Flag(default) => Value::from(default),
            Self::Object | Self::Computed(Computed::Object) => json!({}),
            Self::Steps(_) | Self::Texts | Self::Objects => json!([]),
            Self::OneOf(known) => known.first().copied().into(),
            Self::Number(default) => Value::from(default),
            Self::Text(_)
            | Self::Name
            | Self::TraitName
            | Self::Node
            | Self::Mac
            | Self::Count
            | Self::Computed(Computed::Null) => Value::Null,
        }
    }

    /// Whether it is a document, by which nothing is sorted.
    #[must_use]
    pub fn is_document(self) -> bool {
        let default = self.default_value();
        default.is_object() || default.is_array()
    }

    /// The JSON type, in words of a schema.
    #[must_use]
    pub fn schema(self) -> Value {
        match self {
            Self::Text(limit) => json!({"type": ["string", "null"], "maxLength": limit}),
            Self::Name | Self::TraitName | Self::Mac => json!({"type": ["string", "null"]}),
            Self::Node => json!({"type": ["string", "null"], "format": "uuid"}),
            Self::Flag(default) => {
                json!({"type": ["boolean", "string", "null"], "default": default})
            }
            Self::Object => json!({"type": ["object", "null"]}),
            Self::Count => json!({"type": ["integer", "string"], "minimum": 0}),
            Self::Number(default) => json!({"type": ["integer", "null"], "default": default}),
            Self::OneOf(known) => json!({"type": ["string", "null"], "examples": known}),
            Self::Steps(_) | Self::Objects => {
                json!({"type": ["array", "null"], "items": {"type": "object"}})
            }
            Self::Texts => json!({"type": ["array", "null"], "items": {"type": "string"}}),
            Self::Computed(_) => json!({"readOnly": true}),
        }
    }

    /// The value as it is kept; null is the default.
    ///
    /// # Errors
    ///
    /// One sentence that names the field, the value and what it may be.
    pub fn check(self, name: &str, value: &Value) -> Result<Value, String> {
        if value.is_null() {
            return Ok(self.default_value());
        }
        let wrong = |what: &str| Err(format!("{name} must be {what}; it is {value}."));
        match self {
            Self::Text(limit) => Ok(text(name, value, limit)?.into()),
            Self::Name => match value.as_str() {
                Some(word) if is_name(word) => Ok(value.clone()),
                _ => wrong("text of letters, digits and -._~ that is no UUID"),
            },
            Self::TraitName => match value.as_str() {
                Some(word) if is_custom_trait(word) => Ok(value.clone()),
                _ => wrong("a trait: CUSTOM_ and capital letters, digits and underscores"),
            },
            Self::Flag(_) => Ok(flag(name, value)?.into()),
            Self::Object if value.is_object() => Ok(value.clone()),
            Self::Object => wrong("an object"),
            Self::Node => match value.as_str().map(Uuid::try_parse) {
                Some(Ok(uuid)) => Ok(Value::from(uuid.to_string())),
                _ => Err(format!("Expected a UUID for {name} but received {value}.")),
            },
            Self::Mac => Ok(address(value.as_str().unwrap_or_default())?.into()),
            // The client sends numbers as text too.
            Self::Count => {
                let word = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                word.parse::<u32>().map(Value::from).or_else(|_| wrong("a whole number from 0 on"))
            }
            Self::Number(_) if value.is_i64() => Ok(value.clone()),
            Self::Number(_) => wrong("a whole number"),
            Self::OneOf(known) if value.as_str().is_some_and(|word| known.contains(&word)) => {
                Ok(value.clone())
            }
            Self::OneOf(known) => wrong(&format!("one of {}", known.join(", "))),
            Self::Steps(prioritised) => steps(name, value, prioritised),
            Self::Texts if all(value, Value::is_string) => Ok(value.clone()),
            Self::Texts => wrong("a list of texts"),
            Self::Objects if all(value, Value::is_object) => Ok(value.clone()),
            Self::Objects => wrong("a list of objects"),
            Self::Computed(_) => Err(format!("{name} cannot be set.")),
        }
    }
}

fn all(value: &Value, good: impl Fn(&Value) -> bool) -> bool {
    value.as_array().is_some_and(|items| items.iter().all(good))
}

fn steps(name: &str, value: &Value, prioritised: bool) -> Result<Value, String> {
    let Some(steps) = value.as_array() else {
        return Err(format!("{name} must be a list of steps; it is {value}."));
    };
    for (at, step) in steps.iter().enumerate() {
        let read = match prioritised {
            true => deploy_step(step).map(drop),
            // Runbooks number their steps instead of weighing them.
            false => one_step(step).map(drop),
        };
        read.map_err(|problem| format!("{name}: step {}: {problem}", at + 1))?;
    }
    Ok(value.clone())
}

fn is_name(word: &str) -> bool {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    !word.is_empty()
        && word.len() <= 255
        && word.bytes().all(safe)
        && Uuid::try_parse(word).is_err()
}

fn is_custom_trait(word: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    word.len() <= 255
        && word.len() > "CUSTOM_".len()
        && word.starts_with("CUSTOM_")
        && word.bytes().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_the_wrong_form_is_refused_by_field_and_value() {
        for (form, value) in [
            (Form::Name, json!("a b")),
            (Form::Name, json!("7a1ce8d0-9679-4d87-8f54-b11f6e8adb8f")),
            (Form::TraitName, json!("GOLD")),
            (Form::Object, json!([])),
            (Form::Node, json!("n0")),
            (Form::Count, json!(-1)),
            (Form::Number(0), json!("x")),
            (Form::OneOf(&["main"]), json!("other")),
            (Form::Texts, json!([1])),
            (Form::Objects, json!(["x"])),
            (Form::Steps(true), json!([{"interface": "bios", "step": "x"}])),
            (Form::Steps(false), json!([{"interface": "x", "step": "x", "order": 1}])),
        ] {
            let problem = form.check("field", &value).unwrap_err();
            assert!(problem.contains("field"), "{form:?} {problem}");
        }
    }

    #[test]
    fn null_is_the_default_and_good_values_are_kept() {
        for (form, value, expected) in [
            (Form::Flag(true), json!(null), json!(true)),
            (Form::Flag(true), json!("False"), json!(false)),
            (Form::Count, json!("3"), json!(3)),
            (Form::Mac, json!("52-54-00-AA-00-01"), json!("52:54:00:aa:00:01")),
            (Form::OneOf(&["a", "b"]), json!(null), json!("a")),
            (
                Form::Steps(false),
                json!([{"interface": "bios", "step": "x", "order": 1}]),
                json!([{"interface": "bios", "step": "x", "order": 1}]),
            ),
        ] {
            assert_eq!(form.check("field", &value).unwrap(), expected, "{form:?}");
        }
    }
}
