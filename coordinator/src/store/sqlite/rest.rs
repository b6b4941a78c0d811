//! Ports, history and inventory in SQLite.

use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::sqlite::{SqliteConnection, SqlitePool};
use uuid::Uuid;

use super::{failed, from_text, refused, to_text};
use crate::node::Port;
use crate::store::{HistoryEntry, PortFilter, StoreError};

fn unique(port: &Port) -> [(&'static str, &'static str, String); 2] {
    [
        ("port.uuid", "port uuid", port.uuid.to_string()),
        ("port.address", "port address", port.address.clone()),
    ]
}

pub(super) async fn create_port(to: &mut SqliteConnection, port: &Port) -> Result<(), StoreError> {
    let sql = "INSERT INTO port (uuid, node_uuid, address, document) VALUES (?, ?, ?, ?)";
    write_port(
        to,
        sql,
        [port.uuid.to_string(), port.node_uuid.to_string(), port.address.clone()],
        port,
    )
    .await
}

pub(super) async fn update_port(to: &mut SqliteConnection, port: &Port) -> Result<(), StoreError> {
    let sql = "UPDATE port SET node_uuid = ?2, address = ?3, document = ?4 WHERE uuid = ?1";
    write_port(
        to,
        sql,
        [port.uuid.to_string(), port.node_uuid.to_string(), port.address.clone()],
        port,
    )
    .await
}

async fn write_port(
    to: &mut SqliteConnection,
    sql: &'static str,
    [uuid, node_uuid, address]: [String; 3],
    port: &Port,
) -> Result<(), StoreError> {
    let query = sqlx::query(sql).bind(uuid).bind(node_uuid).bind(address).bind(to_text(port)?);
    query.execute(to).await.map(drop).map_err(|error| refused("write a port", error, &unique(port)))
}

pub(super) async fn port(pool: &SqlitePool, uuid: Uuid) -> Result<Option<Port>, StoreError> {
    document(pool, "SELECT document FROM port WHERE uuid = ?", uuid, "read a port").await
}

pub(super) async fn ports(pool: &SqlitePool, filter: &PortFilter) -> Result<Vec<Port>, StoreError> {
    let limit = if filter.limit == 0 { -1 } else { i64::try_from(filter.limit).unwrap_or(-1) };
    let texts: Vec<String> = sqlx::query_scalar(
        "SELECT document FROM port
         WHERE (?1 IS NULL OR node_uuid = ?1) AND (?2 IS NULL OR address = ?2)
           AND seq > COALESCE((SELECT seq FROM port WHERE uuid = ?3), 0)
         ORDER BY seq LIMIT ?4",
    )
    .bind(filter.node.map(|uuid| uuid.to_string()))
    .bind(filter.address.clone())
    .bind(filter.marker.map(|uuid| uuid.to_string()))
    .bind(limit)
    .fetch_all(pool)
    .await
    .map_err(failed("list ports"))?;
    texts.iter().map(|text| from_text(text)).collect()
}

pub(super) async fn delete_port(to: &mut SqliteConnection, uuid: Uuid) -> Result<bool, StoreError> {
    let done =
        sqlx::query("DELETE FROM port WHERE uuid = ?").bind(uuid.to_string()).execute(to).await;
    done.map(|done| done.rows_affected() > 0).map_err(failed("delete a port"))
}

pub(super) async fn node_by_addresses(
    pool: &SqlitePool,
    addresses: &[String],
) -> Result<Option<Uuid>, StoreError> {
    let attempt = "find a node by its addresses";
    let owners: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT node_uuid FROM port WHERE address IN (SELECT value FROM json_each(?)) LIMIT 2",
    )
    .bind(to_text(&addresses)?)
    .fetch_all(pool)
    .await
    .map_err(failed(attempt))?;
    let [owner] = &owners[..] else { return Ok(None) };
    Uuid::parse_str(owner)
        .map(Some)
        .map_err(|error| StoreError::Database { attempt, source: Box::new(error) })
}

pub(super) async fn add_history(
    to: &mut SqliteConnection,
    node: Uuid,
    entry: &HistoryEntry,
) -> Result<(), StoreError> {
    let attempt = "write a node's history";
    // A trigger keeps the newest.
    let done = sqlx::query("INSERT INTO history (node_uuid, document) VALUES (?, ?)")
        .bind(node.to_string())
        .bind(to_text(entry)?)
        .execute(to)
        .await;
    done.map(drop).map_err(failed(attempt))
}

pub(super) async fn history(
    pool: &SqlitePool,
    node: Uuid,
) -> Result<Vec<HistoryEntry>, StoreError> {
    let texts: Vec<String> =
        sqlx::query_scalar("SELECT document FROM history WHERE node_uuid = ? ORDER BY seq")
            .bind(node.to_string())
            .fetch_all(pool)
            .await
            .map_err(failed("read a node's history"))?;
    texts.iter().map(|text| from_text(text)).collect()
}

pub(super) async fn put_inventory(
    to: &mut SqliteConnection,
    node: Uuid,
    inventory: &Value,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO inventory (node_uuid, document) VALUES (?, ?)
               ON CONFLICT (node_uuid) DO UPDATE SET document = excluded.document";
    let done = sqlx::query(sql).bind(node.to_string()).bind(to_text(inventory)?).execute(to).await;
    done.map(drop).map_err(failed("write an inventory"))
}

pub(super) async fn inventory(pool: &SqlitePool, node: Uuid) -> Result<Option<Value>, StoreError> {
    document(pool, "SELECT document FROM inventory WHERE node_uuid = ?", node, "read an inventory")
        .await
}

async fn document<T: DeserializeOwned>(
    pool: &SqlitePool,
    sql: &'static str,
    key: Uuid,
    attempt: &'static str,
) -> Result<Option<T>, StoreError> {
    let text: Option<String> = sqlx::query_scalar(sql)
        .bind(key.to_string())
        .fetch_optional(pool)
        .await
        .map_err(failed(attempt))?;
    text.as_deref().map(from_text).transpose()
}
