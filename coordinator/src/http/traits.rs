//! `/v1/nodes/{id}/traits`.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::error::ApiError;
use super::nodes::{find, update};
use super::request::Body;
use crate::app::App;
use crate::node::Node;

/// Most traits of a node, and longest trait: Ironic's.
const MOST: usize = 50;
const LONGEST: usize = 255;

/// `GET …/traits`.
///
/// # Errors
///
/// 404.
pub async fn list(
    State(app): State<App>,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({"traits": of(&find(&app, &ident).await?)})))
}

/// `PUT …/traits {"traits": [...]}`: 204.
///
/// # Errors
///
/// 400, 404.
pub async fn replace(
    State(app): State<App>,
    Path(ident): Path<String>,
    Body(body): Body,
) -> Result<StatusCode, ApiError> {
    let wrong = || ApiError::Invalid("The body must be {\"traits\": [text, …]}.".into());
    let asked = body["traits"].as_array().ok_or_else(wrong)?;
    let asked: Option<BTreeSet<String>> =
        asked.iter().map(|one| one.as_str().map(str::to_owned)).collect();
    let asked = asked.ok_or_else(wrong)?;
    store(&app, &ident, |_| asked.clone()).await
}

/// `DELETE …/traits`: 204.
///
/// # Errors
///
/// 404.
pub async fn clear(
    State(app): State<App>,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    store(&app, &ident, |_| BTreeSet::new()).await
}

/// `PUT …/traits/{trait}`: 204.
///
/// # Errors
///
/// 400, 404.
pub async fn add(
    State(app): State<App>,
    Path((ident, name)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    store(&app, &ident, |mut traits| {
        traits.insert(name.clone());
        traits
    })
    .await
}

/// `DELETE …/traits/{trait}`: 204.
///
/// # Errors
///
/// 404.
pub async fn remove(
    State(app): State<App>,
    Path((ident, name)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    if !of(&find(&app, &ident).await?).contains(&name) {
        return Err(ApiError::NotFound { what: "Trait", ident: name });
    }
    store(&app, &ident, |mut traits| {
        traits.remove(&name);
        traits
    })
    .await
}

fn of(node: &Node) -> BTreeSet<String> {
    let traits = node.other.get("traits").and_then(Value::as_array).into_iter().flatten();
    traits.filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

async fn store(
    app: &App,
    ident: &str,
    decide: impl Fn(BTreeSet<String>) -> BTreeSet<String>,
) -> Result<StatusCode, ApiError> {
    update(app, ident, |node| {
        let traits = decide(of(node));
        check(&traits)?;
        let mut changed = node.clone();
        changed.other.insert("traits".to_owned(), json!(traits));
        Ok(changed)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn check(traits: &BTreeSet<String>) -> Result<(), ApiError> {
    if traits.len() > MOST {
        return Err(ApiError::Invalid(format!("A node cannot have more than {MOST} traits.")));
    }
    let good = |name: &str| {
        name.len() <= LONGEST
            && name.starts_with(|first: char| first.is_ascii_uppercase())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    };
    match traits.iter().find(|name| !good(name)) {
        None => Ok(()),
        Some(name) => Err(ApiError::Invalid(format!(
            "Invalid trait '{name}': a standard trait, or CUSTOM_ with capital letters, digits and underscores."
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trait_is_capital_letters_digits_and_underscores() {
        for (name, good) in [
            ("CUSTOM_GOLD_1", true),
            ("HW_CPU_X86_VMX", true),
            ("custom_x", false),
            ("CUSTOM-X", false),
            ("", false),
        ] {
            assert_eq!(check(&BTreeSet::from([name.to_owned()])).is_ok(), good, "{name}");
        }
    }
}
