//! `GET /v1/nodes/{id}/inventory`: what the last inspection found. Ours: the inventories before it, and what became different.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::error::ApiError;
use super::nodes::find;
use super::representation::{plain, time};
use super::request::Query;
use super::version::Version;
use crate::app::App;
use crate::inventory::diff;
use crate::store::{Record, RecordKind};

/// `GET …/inventory`.
///
/// # Errors
///
/// 404 for an unknown node and for one that was never inspected.
pub async fn show(
    State(app): State<App>,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&app, &ident).await?;
    let stored = app.store.inventory(node.uuid).await?;
    let stored = stored.ok_or_else(|| ApiError::NotFound {
        what: "Inventory for node",
        ident: node.uuid.to_string(),
    })?;
    Ok(Json(shown(stored)))
}

/// Ironic's two parts: the inventory, and whatever else the ramdisk sent.
fn shown(mut stored: Value) -> Value {
    let Some(inventory) = stored.get_mut("inventory").map(Value::take) else {
        return json!({"inventory": stored, "plugin_data": {}});
    };
    if let Some(rest) = stored.as_object_mut() {
        rest.retain(|key, _| key != "inventory");
    }
    json!({"inventory": inventory, "plugin_data": stored})
}

/// Parameters of `…/inventory/diff`.
pub(super) const COMPARED: [(&str, u16); 3] = [("from", 1), ("to", 1), ("since", 1)];

/// What a ramdisk is booted for.
const OCCASIONS: [&str; 5] = ["inspect", "deploy", "clean", "service", "rescue"];

/// `GET …/inventory/history`, oldest first.
///
/// # Errors
///
/// 404.
pub async fn history(
    State(app): State<App>,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let kept = kept(&app, &ident).await?;
    let shown: Vec<Value> = kept.iter().map(summary).collect();
    Ok(Json(json!({ "inventories": shown })))
}

/// `GET …/inventory/history/{uuid}`.
///
/// # Errors
///
/// 404.
pub async fn entry(
    State(app): State<App>,
    Path((ident, entry)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let kept = kept(&app, &ident).await?;
    let record = find_kept(&kept, &entry)?;
    let mut whole = summary(record);
    if let (Value::Object(whole), Value::Object(parts)) = (&mut whole, shown(document(record))) {
        whole.extend(parts);
    }
    Ok(Json(whole))
}

/// `GET …/inventory/diff[?from=UUID|since=OCCASION][&to=UUID]`: from the one before to the newest; `since=clean`: from the last
/// one that a cleaning saw.
///
/// # Errors
///
/// 400 for the query, 404, also where there are not two inventories to compare.
pub async fn compared(
    State(app): State<App>,
    version: Version,
    query: Query,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    query.only(&COMPARED, version)?;
    let kept = kept(&app, &ident).await?;
    let missing = |what: &str| ApiError::NotFound { what: "Inventory", ident: what.to_owned() };
    let to = match query.get("to") {
        Some(to) => find_kept(&kept, to)?,
        None => kept.last().ok_or_else(|| missing("of any boot"))?,
    };
    let mut before = kept.iter().rev().skip_while(|one| one.uuid != to.uuid).skip(1);
    let from = match (query.get("from"), query.get("since")) {
        (Some(_), Some(_)) => {
            return Err(ApiError::Invalid(
                "from and since name the same end: give one.".to_owned(),
            ));
        }
        (Some(from), None) => find_kept(&kept, from)?,
        (None, Some(since)) if !OCCASIONS.contains(&since) => {
            let known = OCCASIONS.join(", ");
            return Err(ApiError::Invalid(format!("since={since} must be one of {known}.")));
        }
        (None, Some(since)) => before
            .find(|one| one.text("occasion") == Some(since))
            .ok_or_else(|| missing(&format!("of a {since} before it")))?,
        (None, None) => before.next().ok_or_else(|| missing("before it"))?,
    };
    let changes = diff::diff(&document(from), &document(to));
    let words: Vec<&str> = changes.iter().map(|change| change.words.as_str()).collect();
    let words = if words.is_empty() { "nothing changed".to_owned() } else { words.join("; ") };
    Ok(Json(
        json!({ "from": summary(from), "to": summary(to), "summary": words, "changes": plain(&changes) }),
    ))
}

async fn kept(app: &App, ident: &str) -> Result<Vec<Record>, ApiError> {
    let node = find(app, ident).await?;
    Ok(app.store.records(RecordKind::Inventory, Some(node.uuid)).await?)
}

fn find_kept<'a>(kept: &'a [Record], ident: &str) -> Result<&'a Record, ApiError> {
    let found = kept.iter().find(|one| one.uuid.to_string() == ident);
    found.ok_or_else(|| ApiError::NotFound { what: "Inventory", ident: ident.to_owned() })
}

fn document(record: &Record) -> Value {
    record.fields.get("document").cloned().unwrap_or_default()
}

fn summary(record: &Record) -> Value {
    json!({
        "uuid": record.uuid,
        "taken_at": time(record.created_at),
        "updated_at": record.updated_at.map(time),
        "occasion": record.text("occasion"),
        "boot_id": record.text("boot_id"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inventory_is_shown_in_two_parts_however_it_was_sent() {
        let disks = json!({"disks": []});
        assert_eq!(shown(disks.clone()), json!({"inventory": disks, "plugin_data": {}}));
        assert_eq!(
            shown(json!({"inventory": disks, "root_disk": {}})),
            json!({"inventory": disks, "plugin_data": {"root_disk": {}}})
        );
    }
}
