//! `GET /v1/nodes/{id}/inventory`: what the last inspection found.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::error::ApiError;
use super::nodes::find;
use crate::app::App;

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
