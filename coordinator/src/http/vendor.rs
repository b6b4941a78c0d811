//! `/v1/nodes/{id}/vendor_passthru`: what only one kind of BMC does. With vendor interface `ipmitool`: raw commands and the
//! reset of the BMC, under Ironic's names and arguments.
//!
//! Ironic answers before it is done; here the client waits and learns how it ended.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{Method as HttpMethod, StatusCode};
use ironwright_ipmi::{RawRequest, Reset};
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::interfaces::unsupported;
use super::nodes::find;
use super::request::{Body, Query};
use crate::actions;
use crate::app::App;
use crate::node::attributes::flag;
use crate::node::interfaces::class_of;
use crate::power::Vendor;

/// A method of the vendor interface `ipmitool`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    SendRaw,
    BmcReset,
}

impl Method {
    const ALL: [Self; 2] = [Self::BmcReset, Self::SendRaw];

    fn name(self) -> &'static str {
        match self {
            Self::SendRaw => "send_raw",
            Self::BmcReset => "bmc_reset",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::SendRaw => {
                "Sends bytes to the BMC. Required: raw_bytes, network function, command and data as text, e.g. '0x06 0x01'."
            }
            Self::BmcReset => {
                "Resets the BMC. Optional: warm (default true), false for a cold reset."
            }
        }
    }

    fn argument(self) -> &'static str {
        match self {
            Self::SendRaw => "raw_bytes",
            Self::BmcReset => "warm",
        }
    }

    /// What the BMC is told.
    fn read(self, arguments: &Map<String, Value>) -> Result<Vendor, ApiError> {
        if let Some(other) = arguments.keys().find(|key| *key != self.argument()) {
            return Err(ApiError::Invalid(format!(
                "{} has no argument '{other}'; it takes {}.",
                self.name(),
                self.argument()
            )));
        }
        let argument = arguments.get(self.argument()).filter(|argument| !argument.is_null());
        match self {
            Self::SendRaw => match argument {
                Some(Value::String(text)) if !text.trim().is_empty() => {
                    raw(text).map(Vendor::Raw).map_err(ApiError::Invalid)
                }
                _ => Err(ApiError::Invalid(
                    "Parameter raw_bytes (string of bytes) was not specified.".to_owned(),
                )),
            },
            Self::BmcReset => {
                let warm = argument.map_or(Ok(true), |warm| flag("warm", warm));
                let warm = warm.map_err(ApiError::Invalid)?;
                Ok(Vendor::Reset(if warm { Reset::Warm } else { Reset::Cold }))
            }
        }
    }
}

/// Reads `0x06 0x01 …`: network function, command, data. Decimal numbers are read too, as ipmitool does.
fn raw(text: &str) -> Result<RawRequest, String> {
    let mut bytes = Vec::new();
    for (at, word) in text.split_ascii_whitespace().enumerate() {
        bytes.push(byte(word).ok_or_else(|| {
            format!(
                "raw_bytes: byte {} is '{word}'; each must be a number from 0x00 to 0xff (or 0 to 255), with spaces between.",
                at + 1
            )
        })?);
    }
    let [net_fn, command, data @ ..] = bytes.as_slice() else {
        return Err(format!(
            "raw_bytes '{}' has one byte; at least network function and command are needed.",
            text.trim()
        ));
    };
    RawRequest::new(*net_fn, *command, data.to_vec())
        .map_err(|error| format!("raw_bytes: {error}."))
}

/// `0x` and hexadecimal digits, or a decimal number without leading zeros, which other programs read as octal.
fn byte(word: &str) -> Option<u8> {
    let hexadecimal = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
    let digits = hexadecimal.unwrap_or(word);
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) || digits.len() > 3 {
        return None;
    }
    match hexadecimal {
        Some(digits) => u8::from_str_radix(digits, 16).ok(),
        None if digits.len() > 1 && digits.starts_with('0') => None,
        None => digits.parse().ok(),
    }
}

/// `GET …/vendor_passthru/methods`: what the node's vendor interface does, in Ironic's form.
///
/// # Errors
///
/// 404.
pub async fn methods(
    State(app): State<App>,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&app, &ident).await?;
    let known = if class_of(&node, "vendor") == Some("ipmitool") { &Method::ALL[..] } else { &[] };
    let described = known.iter().map(|method| {
        let about = json!({
            "async": true, "attach": false, "description": method.description(), "http_methods": ["POST"],
            "require_exclusive_lock": true,
        });
        (method.name().to_owned(), about)
    });
    Ok(Json(Value::Object(described.collect())))
}

/// `POST …/vendor_passthru?method=NAME` or `…/vendor_passthru/NAME`: 202. The data that a raw command was answered with is
/// in `ironwright.reply`, written as `raw_bytes` is.
///
/// # Errors
///
/// 400 for a method, HTTP method or argument that is none, and where the node's vendor interface is off; 404; 409 while
/// the node is driven; 500 with the BMC's answer where it does not do it.
pub async fn call(
    State(app): State<App>,
    http_method: HttpMethod,
    Path(path): Path<Vec<(String, String)>>,
    query: Query,
    Body(body): Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let part = |name: &str| path.iter().find(|part| part.0 == name).map(|part| part.1.as_str());
    let node = find(&app, part("node").unwrap_or_default()).await?;
    let class = class_of(&node, "vendor");
    if class.is_none_or(|class| class == "no-vendor") {
        return Err(unsupported(&node, "vendor passthru"));
    }
    let name = part("method").or_else(|| query.get("method"));
    let name =
        name.ok_or_else(|| ApiError::Invalid("Missing mandatory parameter: method".into()))?;
    let method = Method::ALL
        .into_iter()
        .find(|method| class == Some("ipmitool") && method.name() == name)
        .ok_or_else(|| ApiError::Invalid(format!("No handler for method {name}")))?;
    if http_method != HttpMethod::POST {
        return Err(ApiError::Invalid(format!(
            "The method {name} does not support HTTP {http_method}"
        )));
    }
    let arguments = match body {
        Value::Null => Map::new(),
        Value::Object(arguments) => arguments,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return Err(ApiError::Invalid("The arguments must be an object.".into()));
        }
    };
    let reply = actions::vendor(&app, &node, &method.read(&arguments)?).await?;
    let reply: Vec<String> = reply.iter().map(|byte| format!("{byte:#04x}")).collect();
    Ok((StatusCode::ACCEPTED, Json(json!({"ironwright": {"reply": reply.join(" ")}}))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_bytes_are_read_as_ipmitool_reads_them_and_nothing_else() {
        for (text, net_fn, command, data) in [
            ("0x06 0x01", 6, 1, vec![]),
            ("  0x0 8\t0x03 0X08 ", 0, 8, vec![3, 8]),
            ("0x30 0x70 255 0xfF 0", 0x30, 0x70, vec![255, 255, 0]),
        ] {
            let found = raw(text).unwrap();
            assert_eq!(
                (found.net_fn(), found.command(), found.data()),
                (net_fn, command, &data[..])
            );
        }
        for (text, part) in [
            ("0x06", "at least network function and command"),
            ("0x06 1a", "byte 2 is '1a'"),
            ("0x06 010", "byte 2 is '010'"),
            ("0x06 0x100", "byte 2 is '0x100'"),
            ("0x06 256", "byte 2"),
            ("0x06 -1", "byte 2"),
            ("0x06 +1", "byte 2"),
            ("0x06,0x01", "byte 1"),
            ("0x06 0x", "byte 2"),
            ("0x06 0x01 ; reboot", "byte 3 is ';'"),
            ("0x07 0x01", "network function 0x07"),
            ("0x40 0x01", "network function 0x40"),
        ] {
            let error = raw(text).unwrap_err();
            assert!(error.contains(part) && error.starts_with("raw_bytes"), "{text}: {error}");
        }
        let long = format!("0x06 0x01{}", " 0".repeat(241));
        assert!(raw(&long).unwrap_err().contains("241 data bytes"));
    }
}
