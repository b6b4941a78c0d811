//! Nodes in SQLite.

use jiff::Timestamp;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use super::{failed, from_text, refused, to_text};
use crate::node::{Node, PowerState};
use crate::store::{Children, NodeFilter, NodeSummary, StoreError};

pub(super) async fn create(pool: &SqlitePool, node: &Node) -> Result<Node, StoreError> {
    let node = Node { version: 1, ..node.clone() };
    let sql = "INSERT INTO node (uuid, name, instance_uuid, driver, provision_state, power_state, maintenance,
        resource_class, fault, parent_node, version, due, document)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, ?)";
    columns(sqlx::query(sql).bind(node.uuid.to_string()), &node)
        .bind(node.version)
        .bind(to_text(&node)?)
        .execute(pool)
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

fn node(row: &SqliteRow) -> Result<Node, StoreError> {
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
    pool: &SqlitePool,
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
        .execute(pool)
        .await
        .map_err(|error| refused("write a node", error, &unique(&new)))?;
    if done.rows_affected() == 0 { Err(StoreError::Conflict(node.uuid)) } else { Ok(new) }
}

pub(super) async fn delete(pool: &SqlitePool, uuid: Uuid) -> Result<(), StoreError> {
    let done =
        sqlx::query("DELETE FROM node WHERE uuid = ?").bind(uuid.to_string()).execute(pool).await;
    done.map(drop).map_err(failed("delete a node"))
}

/// The columns a list may be sorted by. Anything else sorts by creation; the API checks before it asks.
const SORTABLE: [&str; 9] = [
    "uuid",
    "name",
    "driver",
    "provision_state",
    "power_state",
    "maintenance",
    "resource_class",
    "instance_uuid",
    "fault",
];

/// Runs a list over `fields` with the filter's conditions, order and page.
async fn list(
    pool: &SqlitePool,
    fields: &str,
    filter: &NodeFilter,
) -> Result<Vec<SqliteRow>, StoreError> {
    let key =
        filter.sort_key.as_deref().and_then(|key| SORTABLE.into_iter().find(|known| *known == key));
    // Column names come from the constants above; everything from outside is bound.
    let key = key.map_or_else(|| "''".to_owned(), |key| format!("COALESCE({key}, '')"));
    let (after, direction) = if filter.descending { ("<", "DESC") } else { (">", "ASC") };
    let sql = format!(
        "SELECT {fields} FROM node
         WHERE (?1 IS NULL OR provision_state = ?1) AND (?2 IS NULL OR maintenance = ?2)
           AND (?3 IS NULL OR driver = ?3) AND (?4 IS NULL OR resource_class = ?4)
           AND (?5 IS NULL OR instance_uuid = ?5) AND (?6 IS NULL OR (instance_uuid IS NOT NULL) = ?6)
           AND (?7 IS NULL OR fault = ?7)
           AND (?8 IS NULL OR NOT EXISTS (SELECT 1 FROM node WHERE uuid = ?8)
                OR ({key}, seq) {after} (SELECT {key}, seq FROM node WHERE uuid = ?8))
           AND (?10 = 0 OR (?10 = 1 AND parent_node IS NULL) OR parent_node = ?11)
         ORDER BY {key} {direction}, seq {direction} LIMIT ?9"
    );
    let limit = if filter.limit == 0 { -1 } else { i64::try_from(filter.limit).unwrap_or(-1) };
    let (children, parent) = match filter.children {
        Children::Shown => (0, None),
        Children::Hidden => (1, None),
        Children::Of(parent) => (2, Some(parent.to_string())),
    };
    sqlx::query(AssertSqlSafe(sql))
        .bind(filter.provision_state.clone())
        .bind(filter.maintenance)
        .bind(filter.driver.clone())
        .bind(filter.resource_class.clone())
        .bind(filter.instance_uuid.map(|uuid| uuid.to_string()))
        .bind(filter.associated)
        .bind(filter.fault.clone())
        .bind(filter.marker.map(|uuid| uuid.to_string()))
        .bind(limit)
        .bind(children)
        .bind(parent)
        .fetch_all(pool)
        .await
        .map_err(failed("list nodes"))
}

pub(super) async fn whole(pool: &SqlitePool, filter: &NodeFilter) -> Result<Vec<Node>, StoreError> {
    list(pool, "document, version", filter).await?.iter().map(node).collect()
}

pub(super) async fn summaries(
    pool: &SqlitePool,
    filter: &NodeFilter,
) -> Result<Vec<NodeSummary>, StoreError> {
    let fields = "uuid, name, instance_uuid, power_state, provision_state, maintenance";
    list(pool, fields, filter).await?.iter().map(summary).collect()
}

fn summary(row: &SqliteRow) -> Result<NodeSummary, StoreError> {
    let read = || -> Result<_, sqlx::Error> {
        let instance: Option<String> = row.try_get("instance_uuid")?;
        Ok(NodeSummary {
            uuid: parse(row.try_get("uuid")?)?,
            name: row.try_get("name")?,
            instance_uuid: instance.as_deref().map(parse).transpose()?,
            power_state: row.try_get("power_state")?,
            provision_state: row.try_get("provision_state")?,
            maintenance: row.try_get("maintenance")?,
        })
    };
    read().map_err(failed("list nodes"))
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
