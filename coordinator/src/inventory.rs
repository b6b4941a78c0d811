//! The inventories of a node over time, and what became different between two of them.
//!
//! One is kept for each boot of the ramdisk that showed one: what an agent learns later in the same boot replaces what it said
//! first. The newest [`KEPT`] stay. They go with the node.

pub mod diff;

use ironwright_api::Work;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{App, Severity};
use crate::node::Node;
use crate::store::{Record, RecordKind, StoreError};

/// Inventories kept for a node.
pub const KEPT: usize = 20;

/// Sentences of a difference that are written into the node's history at most.
const TOLD: usize = 20;

/// Keeps what the boot `boot_id` of a node's ramdisk showed. When a new boot shows something else than the one before, the
/// node's history says what.
///
/// # Errors
///
/// The store's.
pub async fn keep(
    app: &App,
    node: &Node,
    boot_id: Uuid,
    document: &Value,
) -> Result<(), StoreError> {
    let mut all = app.store.records(RecordKind::Inventory, Some(node.uuid)).await?;
    let now = app.clock.now();
    let boot = boot_id.to_string();
    if let Some(mut record) =
        all.iter().rev().find(|one| one.text("boot_id") == Some(&boot)).cloned()
    {
        record.fields.insert("document".to_owned(), document.clone());
        record.updated_at = Some(now);
        return app.store.update_record(&record).await.map(drop);
    }
    let record = record(node, &boot, document, now);
    app.store.create_record(&record).await?;
    if let Some(before) = all.last() {
        tell(app, node.uuid, before, document).await;
    }
    while all.len() >= KEPT {
        app.store.delete_record(RecordKind::Inventory, all.remove(0).uuid).await?;
    }
    Ok(())
}

fn record(node: &Node, boot: &str, document: &Value, now: Timestamp) -> Record {
    let fields = json!({ "boot_id": boot, "occasion": occasion(node), "document": document });
    Record {
        kind: RecordKind::Inventory,
        uuid: Uuid::now_v7(),
        name: None,
        node: Some(node.uuid),
        key: None,
        fields: fields.as_object().cloned().unwrap_or_default(),
        created_at: now,
        updated_at: None,
    }
}

/// What the ramdisk was booted for.
fn occasion(node: &Node) -> &'static str {
    match node.work.as_ref().map(|work| &work.order.work) {
        Some(Work::Inspect) => "inspect",
        Some(Work::Deploy(_)) => "deploy",
        Some(Work::Clean(_)) => "clean",
        Some(Work::Service(_)) => "service",
        Some(Work::Rescue(_)) => "rescue",
        Some(Work::Unknown) | None => "unknown",
    }
}

/// Writes what is different into the node's history.
async fn tell(app: &App, node: Uuid, before: &Record, document: &Value) {
    let old = before.fields.get("document").unwrap_or(&Value::Null);
    let changes = diff::diff(old, document);
    if changes.is_empty() {
        return;
    }
    let mut words: Vec<&str> =
        changes.iter().take(TOLD).map(|change| change.words.as_str()).collect();
    let more = format!("{} more", changes.len().saturating_sub(TOLD));
    if changes.len() > TOLD {
        words.push(&more);
    }
    let since = before.text("occasion").unwrap_or_default();
    let sentence = format!("hardware changed since the last {since}: {}", words.join("; "));
    app.note(node, Severity::Error, "inventory", sentence).await;
}
