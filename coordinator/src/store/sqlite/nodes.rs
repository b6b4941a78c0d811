//! Nodes in SQLite.

use jiff::Timestamp;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use uuid::Uuid;

use super::{failed, from_text, refused, to_text};
use crate::node::{Node, PowerState};
use crate::store::StoreError;

pub(super) async fn create(to: &mut SqliteConnection, node: &Node) -> Result<Node, StoreError> {
    let node = Node { version: 1, ..node.clone() };
    let sql = "INSERT INTO node (uuid, name, instance_uuid, driver, provision_state, power_state, maintenance,
        resource_class, fault, parent_node, version, due, document)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, ?)";
    columns(sqlx::query(sql).bind(node.uuid.to_string()), &node)
        .bind(node.version)
        .bind(to_text(&node)?)
        .execute(to)
        .await
        .map_err(|error| refused("add a node", error, &unique(&node)))?;
    Ok(node)
}

type Query = sqlx::query::Query<'static, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

/// Binds the listed columns, in the order of the statements here.
fn columns(query: Query, node: &Node) -> Query {
    query
        .bind(node.name.clone())
        .bind(node.instance_uuid.map(|uuid| uuid.to_string()))
        .bind(node.driver.clone())
        .bind(node.provision_state.text())
        .bind(node.power_state.map(PowerState::text))
        .bind(node.maintenance)
        .bind(node.resource_class.clone())
        .bind(node.fault.clone())
        .bind(node.parent().map(|parent| parent.to_string()))
}

fn unique(node: &Node) -> [(&'static str, &'static str, String); 3] {
    let instance = node.instance_uuid.map(|uuid| uuid.to_string()).unwrap_or_default();
    [
        ("node.uuid", "node uuid", node.uuid.to_string()),
        ("node.name", "node name", node.name.clone().unwrap_or_default()),
        ("node.instance_uuid", "instance uuid", instance),
    ]
}

pub(super) async fn one(pool: &SqlitePool, ident: &str) -> Result<Option<Node>, StoreError> {
    let attempt = "read a node";
    let (sql, value) = match Uuid::parse_str(ident) {
        Ok(uuid) => ("SELECT document, version FROM node WHERE uuid = ?", uuid.to_string()),
        Err(_) => ("SELECT document, version FROM node WHERE name = ?", ident.to_owned()),
    };
    let row = sqlx::query(sql).bind(value).fetch_optional(pool).await.map_err(failed(attempt))?;
    row.map(|row| node(&row)).transpose()
}

pub(super) fn node(row: &SqliteRow) -> Result<Node, StoreError> {
    let attempt = "read a node";
    let text: &str = row.try_get("document").map_err(failed(attempt))?;
    let version = row.try_get("version").map_err(failed(attempt))?;
    Ok(Node { version, ..from_text(text)? })
}

/// See [`crate::store::Store::bmc_sharers`]. Reads every document: asked for by people, not in loops.
pub(super) async fn bmc_sharers(pool: &SqlitePool, node: &Node) -> Result<Vec<Uuid>, StoreError> {
    let attempt = "look for nodes with the same BMC";
    let Some((address, port)) = node.bmc_place() else { return Ok(Vec::new()) };
    let sql = "SELECT uuid FROM node WHERE uuid != ? AND driver = 'ipmi'
        AND lower(json_extract(document, '$.driver_info.ipmi_address')) = ?
        AND CAST(coalesce(json_extract(document, '$.driver_info.ipmi_port'), 623) AS INTEGER) = ?";
    let rows = sqlx::query(sql)
        .bind(node.uuid.to_string())
        .bind(address)
        .bind(i64::from(port))
        .fetch_all(pool)
        .await
        .map_err(failed(attempt))?;
    let uuid = |row: SqliteRow| row.try_get::<String, _>("uuid").map_err(failed(attempt));
    let texts: Vec<String> = rows.into_iter().map(uuid).collect::<Result<_, _>>()?;
    Ok(texts.iter().filter_map(|text| Uuid::parse_str(text).ok()).collect())
}

pub(super) async fn update(
    to: &mut SqliteConnection,
    node: &Node,
    due: Option<Timestamp>,
) -> Result<Node, StoreError> {
    let new = Node { version: node.version + 1, ..node.clone() };
    let sql = "UPDATE node SET name = ?, instance_uuid = ?, driver = ?, provision_state = ?, power_state = ?,
        maintenance = ?, resource_class = ?, fault = ?, parent_node = ?, version = ?, due = ?, document = ?
        WHERE uuid = ? AND version = ?";
    let done = columns(sqlx::query(sql), &new)
        .bind(new.version)
        .bind(due.map(Timestamp::as_millisecond))
        .bind(to_text(&new)?)
        .bind(node.uuid.to_string())
        .bind(node.version)
        .execute(to)
        .await
        .map_err(|error| refused("write a node", error, &unique(&new)))?;
    if done.rows_affected() == 0 { Err(StoreError::Conflict(node.uuid)) } else { Ok(new) }
}

pub(super) async fn delete(to: &mut SqliteConnection, uuid: Uuid) -> Result<(), StoreError> {
    let done =
        sqlx::query("DELETE FROM node WHERE uuid = ?").bind(uuid.to_string()).execute(to).await;
    done.map(drop).map_err(failed("delete a node"))
}

fn parse(text: &str) -> Result<Uuid, sqlx::Error> {
    Uuid::parse_str(text).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

pub(super) async fn due(
    pool: &SqlitePool,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Uuid>, StoreError> {
    let attempt = "read which nodes are due";
    let texts: Vec<String> =
        sqlx::query_scalar("SELECT uuid FROM node WHERE due <= ? ORDER BY due LIMIT ?")
            .bind(now.as_millisecond())
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(pool)
            .await
            .map_err(failed(attempt))?;
    texts.iter().map(|text| parse(text).map_err(failed(attempt))).collect()
}

pub(super) async fn next_due(pool: &SqlitePool) -> Result<Option<Timestamp>, StoreError> {
    let found: Option<i64> = sqlx::query_scalar("SELECT MIN(due) FROM node")
        .fetch_one(pool)
        .await
        .map_err(failed("read which nodes are due"))?;
    Ok(found.map(|due| Timestamp::from_millisecond(due).unwrap_or(Timestamp::MIN)))
}
